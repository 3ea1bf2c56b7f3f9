"""`dametric ls`: what there is, a line each."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated

import typer

from dametric.base.options import OptionField, range_of
from dametric.errors import UsageError, unknown

MEANT = {
    **dict.fromkeys(("augmentation", "augmentations", "transforms", "das"), "augs"),
    **dict.fromkeys(("arch", "archs", "architectures", "networks", "teachers", "students"), "models"),
    **dict.fromkeys(("dataset", "datasets", "sets", "images"), "data"),
}
"""Other words for the lists, which are spelt too differently to be taken for typing errors."""


def ls(what: Annotated[str, typer.Argument(metavar="augs|metrics|models|data|grid")]) -> None:
    """List what there is, a line each.

    \b
    Examples:
      dametric ls augs
      dametric ls grid
    """
    found = lines(what)
    width = max(len(name) for name, _ in found)
    for name, line in found:
        print(f"{name:<{width}}  {line}")


def lines(what: str) -> list[tuple[str, str]]:
    """Names and their one-line descriptions."""
    names = ("augs", "metrics", "models", "data", "grid")
    if what not in names and what.lower() in MEANT:
        raise UsageError(f"unknown list '{what}': did you mean {MEANT[what.lower()]}?")
    if what not in names:
        raise unknown("list", what, names)
    if what == "grid":
        return _grid()
    # made by `python -m experiments.lists` of what takes seconds to load; a test holds the two together
    text = (files("dametric.cli") / "lists.json").read_text(encoding="utf-8")
    return [(name, line) for name, line in json.loads(text)[what]]


def _grid() -> list[tuple[str, str]]:
    from dametric.base.options import options_of
    from dametric.sweeps.reading import BLOCKS, GROUPS, KEYS

    blocks = {
        "about": "what the study is for",
        "data": "an image set, or a list of them",
        "teachers": "NAME: a recipe, a checkpoint's file, or nothing: the architecture of that name, as published",
        "pairs": "teacher -> student, or {teacher: NAME, student: [ARCH, ARCH]}",
        "augmentations": "specifications, paper, or {cutmix: {alpha: [0.5, 2]}}",
        "seeds": "0-2, or a list",
        "training": "options of dametric distill",
        "eval_every": "how often test images are looked at: a number of epochs, or last",
        "keep": "what is kept of finished runs' weights: last or none",
        "deterministic": "true: on a GPU, what was interrupted goes on to the same bits",
        "lockstep": "how many students of one teacher and seed are trained together",
        "accuracy_images": "test images for the accuracy of a given teacher, before the work: a number, or all",
        "include": "rows to add: data, teacher, student, aug, seed, and training options",
        "exclude": "rows to leave out, by the same keys; * stands for anything",
        "score": "how to score every teacher, or every pair, if a student is named",
    }
    inside = {"data": "data", "teacher": "teachers.NAME", "training": "training", "score": "score"}
    keys = []
    for name, known in KEYS.items():
        about = {each.name: each for each in options_of(*GROUPS[name])}
        keys += [(f"{inside[name]}.{key}", _key(kind, about.get(key))) for key, kind in known.items()]
    return [*((name, blocks[name]) for name in BLOCKS), *keys]


def _key(kind: object, each: OptionField | None) -> str:
    """What a key of a grid takes: kind, range, meaning, default."""
    words = {int: "whole number", float: "number", bool: "true or false", str: "text", "numbers": "numbers"}
    shown = words.get(kind, "names")
    if each is None:
        return str(shown)
    shown = " | ".join(each.choices) or f"{shown} {range_of(each.about)}".strip()
    usual = each.about.without or each.default
    return f"{shown}; {each.about.help}" + ("" if usual is None else f" [default: {usual}]")
