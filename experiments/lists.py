"""What `dametric ls` lists of code that takes seconds to load: ``python -m experiments.lists`` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path

import torch

import dametric
from dametric.augment import AUGS, describe
from dametric.augment.catalogue import SETS
from dametric.base.files import write_atomic
from dametric.data import DATA
from dametric.errors import UsageError
from dametric.metrics import METRICS
from dametric.models import MODELS, build
from dametric.stats import family

FILE = Path(dametric.__file__).parent / "cli" / "lists.json"
Lines = list[tuple[str, str]]


def lists() -> dict[str, Lines]:
    """Names and a line for each, by list."""
    return {"augs": _augs(), "metrics": _metrics(), "models": _models(), "data": _data()}


def _augs() -> Lines:
    own = ("./augs.py:fn, pkg.mod:fn", "your own callable on uint8 batches (B, C, H, W); parameters as in :fn:p=0.5")
    chance = ("NAME:p=0.5", "any of these with a probability, drawn for each image; p is 1 where no default is named")
    group = ("oneof(A,B)", "one of several, drawn for each image, all equally likely; also oneof(A,B+C):p=0.5")
    named = [(name, f"{describe(name)}; family {family(name)}") for name in AUGS]
    pick = (
        "pick(A):by=kld:runs=2",
        "what ranks highest of runs batches of A, as cutmixpick of cutmix; also pick:base=mixup,alpha=2,by=kld",
    )
    timm = ("rand-m9-n2-mstd0.5", "timm's strings of its RandAugment, with sections m, n, p, mstd, mmax, inc: see rand")
    curve = (
        "NAME:alpha=0.1..2/5",
        "a curve: five values in equal ratios, or in equal steps where the parameter is linear; in lists",
    )
    words = {"paper": "the paper's nine", "standard": "what people use", "strengths": "curves"}
    sets = [(name, f"{what}: {', '.join(SETS[name])}") for name, what in words.items()]
    return [*named, chance, group, pick, timm, curve, *sets, ("all", "every single name of this list"), own]


def _metrics() -> Lines:
    def detail(name: str) -> str:
        metric = METRICS[name]
        better = "" if metric.direction == "open" else f"; {metric.direction} is better"
        needs = "; needs --student" if "student" in metric.needs else ""
        return f"{metric.summary}{better}{needs} [{metric.reference}]"

    return [*((name, detail(name)) for name in METRICS), ("./metrics.py:NAME", "your own; see examples/metric.py")]


def _models() -> Lines:
    def detail(name: str) -> str:
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in build(name, 100, 32).parameters())
        try:
            with torch.device("meta"):
                build(name, 100, 64)
        except UsageError:
            return f"{count:,} parameters for 100 classes; 32 pixels only"
        return f"{count:,} parameters for 100 classes"

    others = [
        ("torchvision:NAME", "any classification network of torchvision"),
        ("timm:NAME", "any network of timm, when it is installed"),
        ("./nets.py:fn, pkg.mod:fn", "your own function of num_classes"),
    ]
    return [*((name, detail(name)) for name in MODELS), *others]


def _data() -> Lines:
    paths = "a folder train/CLASS/*.png (val|valid|test/), Hugging Face's Parquet or Arrow files, .npz, .npy, IDX"
    return [
        *DATA.items(),
        ("PATH", paths),
        ("./data.py:fn", "your own function of the split; see examples/data_source.py"),
    ]


if __name__ == "__main__":
    write_atomic(FILE, (json.dumps(lists(), indent=1, ensure_ascii=False) + "\n").encode())
