"""Metrics of held-out clean images: slow loops over the images themselves, null cases, and what they cost."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn

import dametric
from dametric.augment import ImageSpec, Keys, parse
from dametric.data import hold_out
from dametric.metrics import METRICS
from dametric.scoring.held_out import _SEED
from dametric.scoring.protocol import Protocol, units

BATCHES, B, HELD = 10, 12, 60
QUICK: dict[str, Any] = {"batches": BATCHES, "batch_size": B, "quiet": True, "device": "cpu", "dtype": "float64"}
NAMES = ["affinity_acc", "affinity_loss", "div_aff"]


@pytest.fixture(scope="module")
def data() -> dametric.ImageSet:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 4
    images = torch.randint(0, 130, (600, 3, 8, 8), generator=draw, dtype=torch.uint8)
    images[torch.arange(600), labels % 3] += (50 * (1 + labels // 3))[:, None, None].to(torch.uint8)
    return dametric.ImageSet.from_tensors(images, labels, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def teacher(data: dametric.ImageSet) -> nn.Module:
    """Least squares: right about most images."""
    network = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, 4))
    with torch.no_grad():
        x = network[:2]((data.images / 255 - 0.5) / 0.25)
        fit = torch.linalg.lstsq(nn.functional.pad(x, (0, 1), value=1.0), 6 * torch.eye(4)[data.labels]).solution
        network[2].weight.copy_(fit[:-1].T)
        network[2].bias.copy_(fit[-1])
    return network


def answers(teacher: nn.Module, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        return special.softmax(teacher.double()((images.double() / 255 - 0.5) / 0.25).numpy(), -1)


def mean_entropy(rows: np.ndarray) -> float:
    return float(special.entr(rows).sum(-1).mean())


def slow(teacher: nn.Module, data: dametric.ImageSet, spec: str) -> dict[str, float]:
    """One batch, one image at a time."""
    aug, base, protocol = parse(spec, ImageSpec(8, data.mean)), parse("flip"), Protocol(batch=B)
    _, held_out = hold_out(data, HELD)
    walk = units(replace(protocol, seed=_SEED), len(held_out))
    right, clean_right, rise = [], [], []
    for _ in range(HELD // B):
        ((index,), first, _) = next(walk)
        images, labels = held_out.images[index], held_out.labels[index].tolist()
        made = aug(images, Keys(_SEED, 1, B, first))
        a, r = answers(teacher, made.images), answers(teacher, images)
        for i, y in enumerate(labels):
            lam, other = (1.0, y) if made.lam is None else (float(made.lam[i]), labels[int(made.partner[i])])
            best = int(a[i].argmax())
            right.append(lam * (best == y) + (1 - lam) * (best == other))
            clean_right.append(float(r[i].argmax() == y))
            rise.append(math.log(r[i, y]) - lam * math.log(a[i, y]) - (1 - lam) * math.log(a[i, other]))
    informed = []
    for (index,), first, _ in (each for each, _ in zip(units(protocol, len(data)), range(BATCHES), strict=False)):
        keys = [Keys(0, 1, B, first).sub(f"redrawn{j}") if j else Keys(0, 1, B, first) for j in range(4)]
        views = [answers(teacher, aug(base(data.images[index], key.sub("base")).images, key).images) for key in keys]
        informed.append(mean_entropy(np.mean(views, 0)) - np.mean([mean_entropy(view) for view in views]))
    acc, loss = sum(right) / sum(clean_right), math.fsum(rise) / len(rise)
    return {"affinity_acc": acc, "affinity_loss": loss, "div_aff": math.log(np.mean(informed)) - loss}


def test_they_equal_slow_loops_over_the_images(teacher, data) -> None:
    options = {**QUICK, "metrics": NAMES, "held_out": HELD, "base_aug": "flip"}
    scores = dametric.score(teacher, data, ["cutout", "mixup", "cutmix", "identity"], **options)
    for row in scores.scores:
        found = {name: row["metrics"][name]["plugin"] for name in NAMES}
        assert found == pytest.approx(slow(teacher, data, row["aug"]), rel=1e-9, abs=1e-12), row["aug"]
    assert scores.config["held_out"]["images"] == HELD
    assert scores.config["held_out"]["split"] == "held-out"
    nothing = scores["identity"]["metrics"]
    assert (nothing["affinity_acc"]["value"], nothing["affinity_loss"]["value"]) == (1, 0)


def test_the_difference_of_a_score_of_both_streams_has_the_errors_of_both(teacher, data) -> None:
    options = {**QUICK, "held_out": HELD, "base_aug": "flip"}
    scores = dametric.score(teacher, data, ["cutout", "cutmix"], metrics=NAMES[::-1], **options)
    rows = {row["aug"]: row for row in scores.scores}
    for row in rows.values():
        values = row["metrics"]
        assert values["div_aff"]["se"] > values["affinity_loss"]["se"] > 0
        best = next(each for each in rows.values() if each["aug"] == row["difference"]["to"])
        gap = values["div_aff"]["value"] - best["metrics"]["div_aff"]["value"]
        assert row["difference"]["value"] == pytest.approx(gap, abs=1e-12)
    diversity = replace(METRICS["div_aff"], name="diversity", less=None)
    parts = [
        next(
            row["differences"]["cutmix"]["se"]
            for row in dametric.score(
                teacher, data, ["cutout", "cutmix"], metrics=[metric, "div_aff"], **options
            ).scores
            if row["aug"] == "cutout"
        )
        for metric in (diversity, METRICS["affinity_loss"])
    ]
    assert rows["cutout"]["differences"]["cutmix"]["se"] == pytest.approx(math.hypot(*parts), rel=1e-9)


def test_only_they_pay_for_held_out_images_and_the_other_metrics_do_not_move(teacher, data) -> None:
    augs, guard = ["cutout", "cutmix"], 4

    def of(metrics: list[str]) -> tuple[int, dict[str, Any]]:
        held_out = HELD if set(metrics) & set(NAMES) else None
        scores = dametric.score(teacher, data, augs, metrics=metrics, held_out=held_out, **QUICK)
        return scores.config["rows_forwarded"]["teacher"], {row["aug"]: row["metrics"] for row in scores.scores}

    held = HELD * (1 + len(augs))
    assert of(["t_conf"])[0] == B * (2 * BATCHES + guard)
    assert of(["t_conf", "affinity_acc", "affinity_loss"])[0] == B * (2 * BATCHES + guard) + held
    assert of(["div_aff"])[0] == B * (2 * 4 * BATCHES + guard) + held
    alone, beside = of(["t_stddev", "t_conf"])[1], of(["t_stddev", "t_conf", *NAMES])[1]
    for aug, metrics in alone.items():
        assert all(beside[aug][name] == value for name, value in metrics.items())
    scores = dametric.score(teacher, data, augs, metrics="affinity_acc", held_out=HELD, **{**QUICK, "batches": None})
    assert scores.config["rows_forwarded"]["teacher"] == B * 3 * guard + held  # nothing to wait for on the other images


def test_what_cannot_be_held_out_is_refused(teacher, data) -> None:
    def refused(message: str, images: Any = data, **options: Any) -> None:
        with pytest.raises(dametric.UsageError, match=message):
            dametric.score(teacher, images, "cutout", **{**QUICK, "metrics": NAMES, **options})

    refused("metric affinity_acc cannot be computed on a test split", replace(data, split="test"))
    refused("20 held-out images are fewer than two batches of 12", held_out=20)
    refused("held_out=60: none of the metrics needs held-out images", metrics="t_conf", held_out=60)
    refused("cannot be taken", held_out=500)
