"""The page of every command and its options, as the command line itself has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from dametric.cli import app

OPENING = """# Commands

Every command with its options, as `dametric COMMAND --help` prints them. Exit codes: 0 all is done, 1 a run failed,
2 something that cannot be, 3 work is left and the same command goes on, 130 Ctrl-C. Results are on stdout, progress and
warnings on stderr."""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its name as it is typed, `data check` too."""
    whole: Any = typer.main.get_command(app)
    for name, command in whole.commands.items():
        inside = getattr(command, "commands", None)
        yield from ((f"{name} {key}", each) for key, each in inside.items()) if inside else [(name, command)]


def page() -> str:
    """The page, a section for each command."""
    return "\n\n".join([OPENING, *(_section(name, command) for name, command in commands())]) + "\n"


def _section(name: str, command: Any) -> str:
    words, _, examples = (command.help or "").partition("\b")
    positional = {each.metavar or each.name.upper(): each.help or "" for each in _of_kind(command, "argument")}
    parts = [f"## dametric {name}", " ".join(words.split())]
    parts.append("```\n" + "\n".join(_examples(examples) or [" ".join(["dametric", name, *positional])]) + "\n```")
    rows = [f"| `{_flags(words)}` | {_cell(about)} |" for words, about in positional.items()]
    for each in _of_kind(command, "option"):
        record = each.get_help_record(_context(command))
        if record and each.name != "help":
            rows.append(f"| `{_flags(record[0])}` | {_cell(record[1])} |")
    return "\n\n".join([*parts, "\n".join(["| option | what it is |", "|---|---|", *rows])])


def _context(command: Any) -> Any:
    return command.make_context("dametric", [], resilient_parsing=True)


def _of_kind(command: Any, kind: str) -> list[Any]:
    return [each for each in command.params if each.param_type_name == kind]


def _examples(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(("dametric", "torchrun"))]


def _flags(text: str) -> str:
    kinds = {
        "<str>": "TEXT",
        "<int>": "N",
        "<int range>": "N",
        "<float>": "X",
        "<float range>": "X",
        "<list[str]>": "NAME",
    }
    return re.sub(r"<[^>]+>", lambda kind: kinds.get(kind[0], kind[0]), text).replace("|", "\\|")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
