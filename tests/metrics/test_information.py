"""How much is left of what tells images apart: closed forms, and that destroyed images win nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dametric
from dametric.metrics import METRICS, Design, Observation

METRIC = METRICS["information_kept"]


def kept(aug: Tensor, raw: Tensor) -> float:
    total = METRIC.observe(Observation(aug.double()[None], raw.double()[None], Design()))
    return float(METRIC.reduce(total, Design()))


def test_closed_forms() -> None:
    sure = torch.eye(8).repeat(4, 1)
    assert kept(sure, sure) == pytest.approx(1)
    assert kept(sure[:1].expand(32, 8), sure) == pytest.approx(0, abs=1e-12)  # sure, and the same of every image
    assert kept(torch.full((32, 8), 1 / 8), sure) == pytest.approx(0, abs=1e-12)  # ignorant
    mixed = (sure + sure.roll(1, 0)) / 2  # an ideal teacher of half-and-half mixes: log 8 - log 2 of log 8
    assert kept(mixed, sure) == pytest.approx(1 - math.log(2) / math.log(8))


def black(images: Tensor) -> Tensor:
    return torch.zeros_like(images)


def static(images: Tensor) -> Tensor:
    return torch.randint(0, 256, images.shape, dtype=torch.uint8)


def test_black_and_static_images_are_marked_and_come_last_although_their_spread_is_the_least() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(600) % 6
    images = torch.randint(0, 120, (600, 3, 8, 8), generator=generator, dtype=torch.uint8)
    images[torch.arange(600), label % 3] += 120  # the brightest channel, and in which half
    teacher = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3, 6))
    with torch.no_grad():
        teacher[2].weight.copy_(torch.eye(3).repeat(2, 1) * 4)
        teacher[2].bias.copy_(torch.tensor([0.5, 0.5, 0.5, 0, 0, 0]))
    augs = ["identity", black, static, "flip"]
    scores = dametric.score(teacher, (images, label), augs, batches=20, base_aug="identity", quiet=True)
    rows = {row["aug"]: row for row in scores.scores}
    order = [row["aug"] for row in scores.scores]
    assert rows["black"]["metrics"]["t_stddev"]["value"] < rows["identity"]["metrics"]["t_stddev"]["value"]
    assert {aug for aug in order if rows[aug]["destroyed"]} == set(order[2:]) == {"black", "static"}
    assert rows["identity"]["metrics"]["information_kept"]["value"] == pytest.approx(1, abs=1e-9)
    assert rows["black"]["metrics"]["information_kept"]["value"] == pytest.approx(0, abs=1e-9)
    assert rows["black"]["difference"]["to"] == order[0]

    # metrics that need no raw images are guarded by those of the first batches
    some: dict[str, Any] = {"metrics": ["t_conf"], "batches": 20, "base_aug": "identity", "quiet": True}
    alone = dametric.score(teacher, (images, label), [black, "flip"], **some)
    assert [row["aug"] for row in alone.scores if row["destroyed"]] == ["black"] == [alone.scores[-1]["aug"]]
    assert alone.config["rows_forwarded"]["teacher"] == (2 * 20 + 4) * 64
    first, again = (
        [row["metrics"] for row in one.scores]
        for one in (alone, dametric.score(teacher, (images, label), [black, "flip"], chunk=64, **some))
    )
    assert [row["information_kept"]["blocks"] for row in first] == [4, 4]
    for row, same in zip(first, again, strict=True):
        assert row["information_kept"]["value"] == pytest.approx(same["information_kept"]["value"], abs=1e-6)
    few = dametric.score(teacher, (images, label), [black, "flip"], **{**some, "batches": 4, "metrics": ["t_stddev"]})
    for row in few.scores:  # the same images, and the same rows of them
        (ours,) = [one for one in alone.scores if one["aug"] == row["aug"]]
        kept_of = [one["metrics"]["information_kept"]["value"] for one in (row, ours)]
        assert kept_of[0] == pytest.approx(kept_of[1], abs=1e-6)
