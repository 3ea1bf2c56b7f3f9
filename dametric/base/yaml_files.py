"""YAML that somebody else may have written, within limits."""

from __future__ import annotations

import re
from typing import Any

import yaml

from dametric.base import limits
from dametric.base.files import read_text
from dametric.errors import UsageError

# Safe loaders make plain values only; the one in C is a hundred times faster, where there is one.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST = 100  # blocks within blocks
_NESTED_IN_A_LINE = re.compile(rf"(?:[-?:][ \t]+){{{_DEEPEST}}}")


def read_yaml_file(path: str) -> Any:
    """The value in a YAML file.

    Raises
    ------
    UsageError
        If the file cannot be read, is not YAML, holds a key twice, or stands for more than
        `dametric.base.limits.YAML_VALUES` values.
    """
    try:
        text = read_text(path, limits.YAML_BYTES)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return parsed(text, path)


def parsed(text: str, where: str) -> Any:
    """The value that a YAML text stands for; see :func:`read_yaml_file`."""
    if _deep(text):
        raise UsageError(f"{where} has blocks within blocks, more than {_DEEPEST} deep")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _values(node, {}) > limits.YAML_VALUES:
                raise UsageError(f"{where} stands for more than {limits.YAML_VALUES:,} values: make it smaller")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except UsageError:
        raise
    except RecursionError as error:
        raise UsageError(f"{where} has blocks within blocks without end") from error
    # what has a tag, or looks like a date or a number, and is none fails in the constructors, in many ways
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise UsageError(f"{where} is not YAML: {' '.join(str(error).split())[:300]}") from error


def _deep(text: str) -> bool:
    """Whether the parser would have to go deeper than it should; brackets in words count too, and do little harm."""
    depth = deepest = 0
    for letter in text if text.count("[") + text.count("{") > _DEEPEST else "":
        depth = max(0, depth + (letter in "[{") - (letter in "]}"))
        deepest = max(deepest, depth)
    return deepest > _DEEPEST or _NESTED_IN_A_LINE.search(text) is not None


def _refuse_twice(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            raise yaml.YAMLError(f"'{key.value}' stands twice, the second time in line {key.start_mark.line + 1}")
        seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))


def _values(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values a node stands for, with everything that its aliases repeat."""
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise yaml.YAMLError("an alias stands within what it names")
        return count
    known[id(node)] = None
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        _refuse_twice(node)
        parts = [part for pair in node.value for part in pair]
    known[id(node)] = count = 1 + sum(_values(part, known) for part in parts)
    return count
