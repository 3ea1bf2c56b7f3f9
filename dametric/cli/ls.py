"""`dametric ls`: what there is, a line each."""

from __future__ import annotations

from typing import Annotated

import typer

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
    makers = {"augs": _augs, "metrics": _metrics, "models": _models, "data": _data, "grid": _grid}
    if what not in makers and what.lower() in MEANT:
        raise UsageError(f"unknown list '{what}': did you mean {MEANT[what.lower()]}?")
    if what not in makers:
        raise unknown("list", what, makers)
    return makers[what]()


def _augs() -> list[tuple[str, str]]:
    from dametric.augment import AUGS, PAPER, describe

    own = ("./augs.py:fn, pkg.mod:fn", "your own callable on uint8 batches (B, C, H, W); parameters as in :fn:p=0.5")
    return [*((name, describe(name)) for name in AUGS), ("paper", "the paper's nine: " + ", ".join(PAPER)), own]


def _metrics() -> list[tuple[str, str]]:
    from dametric.metrics import METRICS

    def detail(name: str) -> str:
        metric = METRICS[name]
        better = "" if metric.direction == "open" else f"; {metric.direction} is better"
        needs = "; needs --student" if "student" in metric.needs else ""
        return f"{metric.summary}{better}{needs} [{metric.reference}]"

    return [(name, detail(name)) for name in METRICS]


def _models() -> list[tuple[str, str]]:
    import torch

    from dametric.models import MODELS, build

    def detail(name: str) -> str:
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in build(name, 100, 32).parameters())
        try:
            with torch.device("meta"):
                build(name, 100, 64)
        except UsageError:
            return f"{count:,} parameters for 100 classes; 32 px only"
        return f"{count:,} parameters for 100 classes"

    others = [
        ("torchvision:NAME", "any classification network of torchvision"),
        ("timm:NAME", "any network of timm, when it is installed"),
        ("./nets.py:fn, pkg.mod:fn", "your own function of num_classes"),
    ]
    return [*((name, detail(name)) for name in MODELS), *others]


def _data() -> list[tuple[str, str]]:
    from dametric.data import DATA

    paths = (
        "PATH",
        "a folder train/CLASS/*.png (val|valid|test/), Hugging Face's Parquet or Arrow files, .npz, .npy, IDX",
    )
    return [*DATA.items(), paths]


def _grid() -> list[tuple[str, str]]:
    from dametric.sweep.reading import BLOCKS, KEYS

    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    words_of_lists = {"numbers": "numbers", "names": "words"}
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
        "lockstep": "how many students of one teacher and seed are trained together",
        "include": "rows to add: data, teacher, student, aug, seed, and training options",
        "exclude": "rows to leave out, by the same keys; * stands for anything",
        "score": "how to score every teacher, or every pair, if a student is named",
    }
    inside = {"data": "data", "teacher": "teachers.NAME", "training": "training", "score": "score"}
    keys = [
        (f"{inside[name]}.{key}", words_of_lists[kind] if isinstance(kind, str) else words[kind])
        for name, known in KEYS.items()
        for key, kind in known.items()
    ]
    return [*((name, blocks[name]) for name in BLOCKS), *keys]
