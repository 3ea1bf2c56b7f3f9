"""Mutants of source text, made by the operators of cosmic-ray, and the draw of them."""

from __future__ import annotations

import ast
import hashlib
import random
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("metrics", "scoring", "augment", "stats")
NAMES = sorted(set(OperatorProvider()) - {"VariableReplacer", "VariableInserter"})
"""The operators, without the two that need to be told which variable."""

Place = tuple[int, int]
Span = tuple[Place, Place]


@dataclass(frozen=True, order=True)
class Mutant:
    """One change at one place.

    Attributes
    ----------
    file : str
        Relative to the repository.
    line, column : int
        Where, counted from 1 and 0.
    operator : str
        cosmic-ray's name of it.
    occurrence : int
        Which of the places in the file where the operator applies.
    """

    file: str
    line: int
    column: int
    operator: str
    occurrence: int

    @property
    def source(self) -> str:
        """What the file's text was, in 12 digits: a result holds for that text only."""
        return hashlib.sha256(text_of(self.file).encode()).hexdigest()[:12]

    def text(self) -> str:
        """The file with the change."""
        return str(mutate_code(text_of(self.file), OperatorProvider()[self.operator](), self.occurrence))

    def change(self) -> tuple[str, str]:
        """The changed lines before and after, without what they share with their neighbours."""
        old, new = text_of(self.file).splitlines(), self.text().splitlines()
        top = shared(old, new)
        end = min(shared(old[::-1], new[::-1]), len(old) - top, len(new) - top)
        return _joined(old[top : len(old) - end]), _joined(new[top : len(new) - end])


def shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines, or characters, at the start are the same."""
    return next(
        (number for number, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)


@cache
def text_of(file: str) -> str:
    """The source text of a file of the repository."""
    return (ROOT / file).read_text(encoding="utf-8")


def files() -> list[str]:
    """Where mutants are drawn from."""
    paths = [path for room in ROOMS for path in (ROOT / "dametric" / room).rglob("*.py")]
    return sorted(str(path.relative_to(ROOT)) for path in [*paths, ROOT / "dametric" / "training" / "loss.py"])


def candidates(file: str) -> list[Mutant]:
    """Every mutant of a file that changes code, those included that Python refuses; in order of place and operator."""
    spans, gaps, found = silent(file), arithmetic(file), []
    nodes = list(ast_nodes(get_ast(text_of(file))))
    for name in NAMES:
        operator = OperatorProvider()[name]()
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, (line, column) in enumerate(places):
            if any(start <= (line, column) < end for start, end in spans):
                continue
            if name.startswith("ReplaceBinaryOperator") and not any(
                start <= (line, column) < end for start, end in gaps
            ):
                continue  # the * and / of a signature, the ** of a call
            found.append(Mutant(file, line, column, name, occurrence))
    return sorted(found)


def drawn(count: int, seed: int) -> list[Mutant]:
    """Mutants at random, each possible one as likely as any other.

    Parameters
    ----------
    count, seed : int

    Returns
    -------
    list of Mutant
        In the order of the draw, so that the first ones of it are a random sample too.
    """
    pool = [mutant for file in files() for mutant in candidates(file)]
    random.Random(seed).shuffle(pool)
    taken: list[Mutant] = []
    for mutant in pool:
        if len(taken) == count:
            break
        if accepted(mutant):
            taken.append(mutant)
    return taken


def accepted(mutant: Mutant) -> bool:
    """Whether Python compiles it without a complaint, and to something else than the original.

    A warning, as about ``is`` with a literal, would end the tests before they compute anything.
    """
    text = mutant.text()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return ast.dump(ast.parse(text)) != ast.dump(tree_of(mutant.file)) and compile(text, "", "exec") is not None
        except (SyntaxError, SyntaxWarning):
            return False


@cache
def tree_of(file: str) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(text_of(file))


def silent(file: str) -> list[Span]:
    """Where a change changes nothing that runs: annotations, names of types, ``__all__``, help texts."""
    return [_span(file, part) for node in ast.walk(tree_of(file)) for part in _silent_parts(node) if part is not None]


def _silent_parts(node: ast.AST) -> list[ast.expr | ast.stmt | None]:
    match node:
        case ast.arg() | ast.AnnAssign():
            return [node.annotation]
        case ast.FunctionDef():
            return [node.returns, *(one for one in node.decorator_list if ast.unparse(one) in ("overload", "override"))]
        case ast.If() if "TYPE_CHECKING" in ast.unparse(node.test):
            return [node]
        case ast.Call() if ast.unparse(node.func) in ("typer.Option", "typer.Argument", "cast"):
            return [node]
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return [node]
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp() | ast.Subscript()):
            return [node] if re.fullmatch("_?[A-Z][A-Za-z]*[a-z]", name) else []
        case _:
            return []


def arithmetic(file: str) -> list[Span]:
    """The gaps between two operands, where the sign of a binary operation is."""
    found = []
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.BinOp):
            found.append((_span(file, node.left)[1], _span(file, node.right)[0]))
    return found


def _span(file: str, node: ast.expr | ast.stmt) -> Span:
    lines = text_of(file).splitlines()

    def place(line: int, column: int) -> Place:
        return line, len(lines[line - 1].encode()[:column].decode())  # ast counts bytes

    return place(node.lineno, node.col_offset), place(node.end_lineno or 0, node.end_col_offset or 0)
