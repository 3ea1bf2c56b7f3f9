"""Augmentations whose rows are laid side by side, as on a GPU: the same contributions as one after the other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from dametric import score
from dametric.metrics import METRICS, Design, Metric, Observation
from dametric.scoring import engine, together
from dametric.scoring.together import Task, contributions

AUGS = ["identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix"]
AUGS += ["cutmixpick", "cutmixpick:by=student_entropy", "cutmix:partner=derangement"]


def observation(seed: int, design: Design, **more: Any) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.rand(3, 8, 5, generator=generator, dtype=torch.float64).softmax(2) for _ in range(2)]
    return Observation(rows[0], rows[1], design, **more)


def test_units_of_one_form_are_observed_once_and_come_back_to_their_augmentation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: Counter[int] = Counter()

    def observe(shown: Observation) -> dict[str, torch.Tensor]:
        calls[len(shown.aug)] += 1
        return {"sum": shown.aug.sum((1, 2)) + (0 if shown.lam is None else shown.lam.sum(1)), "first": shown.aug[:, 0]}

    contributor, other = (observe, 1, False), (observe, 2, False)
    plain, mixing = Design(), Design(lag=1)
    shown = {name: observation(ord(name), plain if name in "ac" else mixing) for name in "abcd"}
    shown["e"] = observation(9, plain, lam=torch.rand(3, 8, dtype=torch.float64))
    tasks = [Task((name, made_by), each) for name, each in shown.items() for made_by in (contributor, other)]
    alone = contributions(tasks, together=False)
    assert calls == {3: 10}
    calls.clear()
    side_by_side = contributions(tasks, together=True)
    assert calls == {6: 4, 3: 2}
    monkeypatch.setattr(together, "_NUMBERS", 3 * 8 * 5)
    assert list(alone) == list(side_by_side) == list(contributions(tasks, together=True))
    for key, contribution in alone.items():
        for name, values in contribution.items():
            assert torch.equal(values, side_by_side[key][name])


def test_scores_are_the_same_with_all_metrics(
    monkeypatch: pytest.MonkeyPatch, teacher: nn.Module, student: nn.Module, data
) -> None:
    def run() -> Any:
        settings = {"batch_size": 16, "batches": 6, "dtype": torch.float64, "quiet": True, "device": "cpu"}
        of_views = score(teacher, data, AUGS[:7], student=student, metrics=several, views=3, **settings)
        return *score(teacher, data, AUGS, student=student, metrics=names, **settings).scores, *of_views.scores

    every = {name: metric for name, metric in METRICS.items() if _of_a_pass(metric)}
    names = [name for name, metric in every.items() if metric.views == 1]
    several = [name for name, metric in every.items() if metric.views > 1]
    alone = run()
    monkeypatch.setattr(engine, "contributions", lambda tasks, together: contributions(tasks, together=True))
    for one, other in zip(alone, run(), strict=True):
        assert one["aug"] == other["aug"]
        for name, values in one["metrics"].items():
            assert values["value"] == pytest.approx(other["metrics"][name]["value"], rel=1e-12, nan_ok=True), name


def _of_a_pass(metric: Metric) -> bool:
    return "held_out" not in metric.needs and not metric.of_teacher and metric.name != "ts_useful"
