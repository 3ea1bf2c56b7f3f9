"""A chance rounding is no difference."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

import dametric
from dametric.analysis import analyse
from dametric.scoring.paired import _holds_zero

AUGS = ["identity", "cutout", "autoaugment", "mixup", "cutmix", "./augs.py:snow"]


class Constant(torch.nn.Module):
    """Says the same of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor([0.3, -1.1, 2.2, 0.7]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1) + 0.0 * images.flatten(1).sum(1, keepdim=True)


def test_rows_of_a_constant_teacher_are_tied() -> None:
    images = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = dametric.ImageSet.from_tensors(images, torch.arange(24) % 4, mean=(0.5,) * 3, std=(0.25,) * 3)
    found = dametric.score(
        Constant(), data, augs=["identity", "flip", "mixup"], metrics=["t_stddev", "t_entropy"], batches=6,
        batch_size=8, mean=(0.5,) * 3, std=(0.25,) * 3,
    )  # fmt: skip
    assert all(row["tied_with_best"] for row in found.scores)


@pytest.mark.parametrize(
    ("low", "high", "tied"),
    [(1e-18, 2e-18, True), (-2e-18, -1e-18, True), (1e-6, 2e-6, False), (-1.0, 1.0, True), (math.nan, math.nan, False)],
)
def test_an_interval_that_misses_zero_by_rounding_holds_it(low: float, high: float, tied: bool) -> None:
    assert _holds_zero(low, high) == tied


def test_scores_that_differ_by_rounding_order_nothing() -> None:
    table = pd.DataFrame({"aug": AUGS, "test_loss": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5], "seeds": 3})
    for scores in ([k * 1e-18 for k in range(6)], [1.5 + k * 2.2e-16 for k in range(6)]):
        found = analyse(table.assign(score=scores), resamples=99)
        assert found.answerable is False
        assert math.isnan(found.confirmatory[0].result.pvalue)
    kept = analyse(table.assign(score=[k * 1e-12 for k in range(6)]), resamples=99)
    assert not math.isnan(kept.confirmatory[0].result.pvalue)
