"""The page of everything that `dametric` has in Python, from signatures and docstrings as they are at work.

Options that functions share are named by their groups, which have a page of their own.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import griffe
from markdown.extensions.toc import slugify

import dametric
from dametric.base.option_groups import GROUPS

OPENING = """# Functions

Everything in `dir(dametric)`: `import dametric` loads the standard library alone, the rest comes when it is used. A
call of each in its order is in [the tour](python.md). What cannot be done raises `dametric.UsageError`, one line that
names the argument."""
HEAD = "| name | kind | what it is |"
_ROLE = re.compile(r":(?:func|class|mod|data|meth|attr):`~?([^`]+)`")


def names() -> list[str]:
    """The public names, functions first."""
    public = [name for name in dir(dametric) if not name.startswith("__")]
    return sorted(public, key=lambda name: (name[0].isupper(), name))


def page() -> str:
    """The page, a section for each name."""
    return "\n\n".join([OPENING, *(_section(name, getattr(dametric, name)) for name in names())]) + "\n"


def _section(name: str, thing: Any) -> str:
    own = inspect.unwrap(thing)  # without the options of the schema, which have a page of their own
    parts = [f"## {name}"]
    if inspect.isfunction(own):
        parts.append(f"```python\n{_signature(f'dametric.{name}', own)}\n```")
    parts += sections(inspect.getdoc(own) or "", _groups(own))
    if inspect.isclass(thing):
        parts += _methods(thing)
    return "\n\n".join(parts)


def _groups(function: Any) -> dict[str, type]:
    """The groups of options that a function takes, by the name of its parameter."""
    groups = {group.__name__: group for group in GROUPS}
    hints = getattr(function, "__annotations__", {}) if inspect.isfunction(function) else {}
    return {name: groups[hint] for name, hint in hints.items() if hint in groups}


def _signature(name: str, function: Callable[..., Any]) -> str:
    shown, groups = [], _groups(function)
    for each in inspect.signature(function).parameters.values():
        if each.name in groups:
            continue
        if each.kind is each.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        shown.append(each.name if each.default is each.empty else f"{each.name}={each.default!r}")
    shown += ["**options"] if groups else []
    line = f"{name}({', '.join(shown)})"
    if len(line) <= 88:
        return line
    inside = textwrap.wrap(", ".join(shown) + ",", 100, break_long_words=False, break_on_hyphens=False)
    return f"{name}(\n    " + "\n    ".join(inside) + "\n)"


def sections(text: str, groups: dict[str, type]) -> Iterator[str]:
    """The parts of a docstring as Markdown."""
    for section in griffe.Docstring(text).parse("numpy", warnings=False):
        kind, value = section.kind.value, section.value
        if kind == "text":
            yield _words(value, inline=False)
        elif kind == "examples":
            yield "**Examples**"
            yield from (_example(what.value, content) for what, content in value)
        elif any(getattr(each, "name", "") for each in value):
            rows = [f"| {_name(each)} | {_kind(each)} | {_about(each, groups)} |" for each in value]
            yield f"**{kind.capitalize()}**"
            yield "\n".join([HEAD, "|---|---|---|", *rows])
        else:
            rows = [": ".join(filter(None, (_kind(each), _about(each, groups)))) for each in value]
            yield f"**{kind.capitalize()}**"
            yield "\n".join(f"* {row}" for row in rows)


def _example(kind: str, content: str) -> str:
    return f"```python\n{content.rstrip()}\n```" if kind == "examples" else _words(content, inline=False)


def _about(each: Any, groups: dict[str, type]) -> str:
    if getattr(each, "name", "") != "**options":
        return _words(each.description)
    titles = [(group.__doc__ or "").strip().rstrip(".") for group in groups.values()]
    return "; ".join(f"[{title}](options.md#{slugify(title, '-')})" for title in titles)


def _name(each: Any) -> str:
    name = getattr(each, "name", "")
    return f"`{name}`" if name else ""


def _kind(each: Any) -> str:
    kind = str(each.annotation or "").replace("'", "").replace('"', "")
    return _words(kind.replace("path - like", "path-like"))


def _words(text: str, inline: bool = True) -> str:
    """Docstrings' own marks as Markdown has them."""
    text = _ROLE.sub(_reference, text).replace("``", "`")
    return " ".join(text.split()).replace("|", "\\|") if inline else text


def _reference(role: re.Match[str]) -> str:
    target = role[1]
    name = target.removeprefix("dametric.")
    return f"[`{target}`](#{name.lower()})" if name in names() else f"`{target}`"


def _methods(kind: type) -> Iterator[str]:
    rows = []
    for name, member in vars(kind).items():
        if name.startswith("_") or not isinstance(member, (FunctionType, classmethod, staticmethod, property)):
            continue
        first = (inspect.getdoc(member) or "").partition("\n\n")[0]
        call = "" if isinstance(member, property) else "()"
        rows.append(f"| `{name}{call}` | {_words(first)} |")
    if rows:
        yield "**Members**"
        yield "\n".join(["| member | what it is |", "|---|---|", *rows])
