"""`dametric ls`: what there is, a line each."""

from __future__ import annotations

from dametric.errors import unknown


def lines(what: str) -> list[tuple[str, str]]:
    """Names and their one-line descriptions."""
    makers = {"augs": _augs, "metrics": _metrics, "models": _models, "data": _data}
    if what not in makers:
        raise unknown("list", what, makers)
    return makers[what]()


def _augs() -> list[tuple[str, str]]:
    from dametric.augment import AUGS, PAPER, describe

    own = ("./augs.py:fn, pkg.mod:fn", "your own callable on uint8 batches (B, C, H, W)")
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

    from dametric.errors import UsageError
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

    paths = ("PATH", "a folder train/CLASS/*.png (val|valid|test/), Parquet shards in the Hugging Face layout, or .npz")
    return [*DATA.items(), paths]
