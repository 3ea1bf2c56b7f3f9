"""Laws of what is named after timm, against timm itself, where it is installed."""

from __future__ import annotations

import random
from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from dametric.augment import ImageSpec, Keys, parse
from dametric.augment.rand import NAMES, WARPS, of_string
from tests.loops import each

timm_policies = pytest.importorskip("timm.data.auto_augment", reason="timm is not installed")
from timm.data.mixup import Mixup  # noqa: E402
from timm.data.random_erasing import RandomErasing  # noqa: E402

COUNT, SIDE = 3000, 32
SAME = {"PosterizeIncreasing": "Posterize", "SolarizeIncreasing": "Solarize"}
SAME |= {f"{name}Increasing": name for name in ("Color", "Contrast", "Brightness", "Sharpness")}
SAME |= {"TranslateXRel": "TranslateX", "TranslateYRel": "TranslateY"}


@pytest.fixture(autouse=True)
def seeds() -> Any:
    """Fixed seeds of the generators that timm draws from, whose state is restored."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    random.setstate(python)
    np.random.set_state(array)  # noqa: NPY002


def drawn_by_timm(string: str) -> tuple[list[int], dict[str, list[float]], int]:
    """Operations an image, strengths by operation, and how often a warp was bicubic, in COUNT images."""
    transform = timm_policies.rand_augment_transform(string, {"translate_pct": 0.45, "img_mean": (124, 116, 104)})
    strengths: dict[str, list[float]] = defaultdict(list)
    happened, bicubic = [], [0]

    def note(image: Any, *arguments: float, name: str, **more: Any) -> Any:
        strengths[name].append(float(arguments[0]) if arguments else 0.0)
        bicubic[0] += name in WARPS and timm_policies._interpolation(more) == Image.Resampling.BICUBIC
        return image

    for operation in transform.ops:
        operation.aug_fn = partial(note, name=SAME.get(operation.name, operation.name))
    for _ in range(COUNT):
        before = sum(map(len, strengths.values()))
        transform(None)
        happened.append(sum(map(len, strengths.values())) - before)
    return happened, strengths, bicubic[0]


@each("string", ["rand-m9-n2-mstd0.5", "rand-m7-n3-mstd1.5-inc1-p0.8", "rand-m12-n2-mstd101-mmax20", "rand-m5-inc1"])
def test_rand_draws_what_timm_draws(string: str) -> None:
    happened, strengths, bicubic = drawn_by_timm(string)
    operation = parse(string).operations[0]
    draw = operation.draw(Keys(0, 1, COUNT), torch.Size((COUNT, 3, SIDE, SIDE)))
    number, strength = draw["operation"], draw["strength"]
    ours = torch.bincount((number >= 0).sum(1), minlength=4).numpy()
    theirs = np.bincount(happened, minlength=4)
    kept = (ours + theirs) > 0
    assert stats.chi2_contingency([ours[kept], theirs[kept]]).pvalue > 1e-4
    names = [*NAMES, *WARPS]
    counts = []
    for name in NAMES:
        places = torch.isin(number, torch.tensor([n for n, known in enumerate(names) if known == name]))
        counts.append((int(places.sum()), len(strengths[name])))
        here, there = strength[places].numpy(), np.array(strengths[name])
        # equal to rounding, or to a step of the tables
        assert stats.ks_2samp(here.round(6), there.round(6)).pvalue > 1e-4, name
    assert stats.chi2_contingency(counts).pvalue > 1e-4
    warps = sum(len(strengths[name]) for name in WARPS)
    ours_bicubic, ours_warps = int((number >= len(NAMES)).sum()), sum(counts[NAMES.index(name)][0] for name in WARPS)
    table = [[ours_bicubic, ours_warps - ours_bicubic], [bicubic, warps - bicubic]]
    assert stats.chi2_contingency(table).pvalue > 1e-4
    assert of_string(string) is not None


@each("mode", ["const", "rand", "pixel"])
def test_erasing_erases_what_timm_erases(mode: str) -> None:
    theirs = RandomErasing(0.5, max_area=0.33, mode=mode, device="cpu")(torch.full((COUNT, 3, 24, SIDE), 9.0))
    erased = (theirs != 9).all(1)
    aug = parse(f"erasing:mode={mode}:p=0.5", ImageSpec(SIDE, (0.5,)))
    images = torch.full((COUNT, 3, 24, SIDE), 9, dtype=torch.uint8)
    (draw,) = aug.draw(Keys(0, 1, COUNT), images.shape)
    areas = (draw["height"] * draw["width"] * draw["happens"]).numpy()
    there = erased.sum((1, 2)).numpy()
    rates = [[int((area > 0).sum()), int((area == 0).sum())] for area in (areas, there)]
    assert stats.chi2_contingency(rates).pvalue > 1e-4
    assert stats.ks_2samp(areas[areas > 0], there[there > 0]).pvalue > 1e-4
    for dimension, name in ((1, "width"), (2, "height")):
        side = erased.any(dimension).sum(1).numpy()
        here = draw[name][draw["happens"] & (draw["height"] > 0)].numpy()
        assert stats.ks_2samp(here, side[side > 0]).pvalue > 1e-4, name
    if mode != "const":
        out = aug.apply(images, (draw,)).images
        rows = (draw["happens"] & (draw["height"] > 0)).nonzero()[:, 0]
        colours = ((out[rows, 0, draw["top"][rows], draw["left"][rows]] - 127.5) / (255 * 0.25)).numpy()
        standard = theirs[:, 0][erased][:: 1 + int(erased.sum()) // 3000] if mode == "pixel" else None
        if standard is None:
            standard = torch.stack(
                [image[0][mask][0] for image, mask in zip(theirs, erased, strict=True) if mask.any()]
            )
        inside = standard.abs() < 1.9  # beyond 2 a colour is clipped here, where it is no normalised number
        assert stats.ks_2samp(colours[np.abs(colours) < 1.9], standard[inside].numpy()).pvalue > 1e-4


def test_the_switch_mixes_as_timms_mixup_does() -> None:
    theirs = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, prob=1.0, switch_prob=0.5, mode="elem", num_classes=2)
    images = torch.arange(COUNT, dtype=torch.float32).view(-1, 1, 1, 1).expand(COUNT, 1, SIDE, SIDE).clone()
    lam = theirs._mix_elem(images)[:, 0].double()
    cut = (images.flatten(1) == images[:, 0, 0, :1]).logical_not().any(1)
    whole = torch.isin(images.flatten(1)[:, 0], torch.arange(COUNT).float()) & ~cut  # a paste of nothing or of all
    pasted = cut | whole
    aug = parse("mixup-or-cutmix")
    (draw,) = aug.draw(Keys(0, 1, COUNT), torch.Size((COUNT, 1, SIDE, SIDE)))
    out = aug.apply(torch.zeros(COUNT, 1, SIDE, SIDE, dtype=torch.uint8), (draw,))
    assert out.lam is not None
    rates = [[int(mask.sum()), int((~mask).sum())] for mask in (draw["cut"], pasted)]
    assert stats.chi2_contingency(rates).pvalue > 1e-4
    assert stats.ks_2samp(out.lam[~draw["cut"]].numpy(), lam[~pasted].numpy()).pvalue > 1e-4
    assert stats.ks_2samp(out.lam[draw["cut"]].numpy(), lam[pasted].numpy()).pvalue > 1e-4
