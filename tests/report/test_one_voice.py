"""The bold line says what the verdict says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dametric import stats
from dametric.report import page
from dametric.report.advice import advise, lead
from dametric.report.evidence import _within_one
from dametric.report.material import Material

AUGS = ["identity", "cutout", "autoaugment", "mixup", "cutmix", "./augs.py:snow"]


def made(losses: Any, augs: list[str] = AUGS, direction: str = "lower", units: int = 1) -> Material:
    n = len(augs)
    rows = {"unit": np.repeat([f"u{i}" for i in range(units)], n), "aug": augs * units, "metric": "m"}
    frame = pd.DataFrame({**rows, "direction": direction, "score": [*np.arange(n) / 10] * units, "seeds": 3})
    frame = frame.assign(score_se=0.001, test_loss=[*losses] * units, test_loss_se=0.001)
    return Material(frame, stats.analyse(frame, resamples=99))


def test_the_bold_line_is_the_verdict() -> None:
    shown, not_shown = made(range(6)), made([3, 0, 5, 1, 4, 2])
    cannot = made(range(5), AUGS[:5])
    words = [lead(material, advise(material)) for material in (shown, not_shown, cannot)]
    assert words[0][0] == "Use identity: of 6 augmentations it has the best m, 0 ± 0.001 (lower is better)."
    assert words[1][0].startswith(
        "No recommendation: these students do not show that a better m means a better student"
    )
    assert words[2][0].startswith("No recommendation: these students cannot answer whether a better m")
    for first, *_ in words[1:]:
        assert "identity has the best m" in first
    for material, (first, *_), verdict in zip(
        (shown, not_shown, cannot), words, ("m predicts", "m is not shown", "Cannot answer"), strict=True
    ):
        assert any(line.startswith(verdict) for line in material.found["verdict"])
        assert ("Use" in first) == (verdict == "m predicts")
    head = page.build(cannot).take.columns
    assert "Best score" in head
    assert "Take" not in head


def test_several_units_have_one_voice_too() -> None:
    shown, not_shown = made(range(6), units=2), made([3, 0, 5, 1, 4, 2], units=2)
    assert lead(shown, advise(shown))[0] == "Use identity: in all 2 units it has the best m (lower is better)."
    first = lead(not_shown, advise(not_shown))[0]
    assert first.startswith("No recommendation: these students do not show")
    assert "identity: in all 2 units" in first
    different = [replace(one, best_scored=(name,)) for one, name in zip(advise(not_shown), "ab", strict=True)]
    assert lead(not_shown, different)[0].startswith("No recommendation: these students do not show")
    assert "take in each" not in lead(not_shown, different)[0]


def test_what_was_never_distilled_is_not_to_be_used() -> None:
    material = made(range(6), units=1)
    only = replace(advise(material)[0], best_scored=("new",), cost=float("nan"), points=float("nan"))
    assert lead(material, [only])[0].startswith("Distil with new before you use it: of 6 augmentations")
    assert lead(material, [only])[0].endswith("and no student of it is here.")
    assert lead(material, [only, only])[0].startswith("Distil with new, of which no student is here, before you use it")
    assert not any("Use new" in line for line in lead(material, [only]))


def test_a_metric_without_a_direction_recommends_nothing() -> None:
    material = made(range(6), direction="open")
    report = page.build(material)
    assert report.lead[0] == "No recommendation: no direction is stated for m, so none of its scores is the best."
    assert "two-sided p" in report.lead[1]
    assert not any("best score has" in line for line in [*report.lead, *report.reasons])
    assert "regret" not in {section.key for section in report.sections}


def test_figures_say_that_their_p_is_two_sided() -> None:
    material = made(range(6))
    (scatter,) = (section.chart for section in page.build(material).sections if section.key == "scatter")
    assert scatter is not None
    assert "two-sided p = " in scatter.alt


@pytest.mark.parametrize(("value", "text"), [(1.02, "above 1"), (-1.3, "below -1"), (0.98, "0.98"), (None, "–")])
def test_a_correlation_above_one_is_not_printed_as_one(value: float | None, text: str) -> None:
    assert _within_one(value).text == text


def test_destroyed_images_are_never_recommended_though_they_score_best() -> None:
    augs = ["black", *AUGS]
    material = made([9.0, *range(6)], augs)
    left = [0.01, 1.0, 0.3, 0.9, 0.8, 0.7, 0.6]
    kept = material.frame.assign(metric="information_kept", direction="open", score=left)
    frame = pd.concat([material.frame, kept], ignore_index=True)
    found = stats.analyse(frame, resamples=99, confirmatory=["m"])
    about = found["units"]["u0"]["m"]
    assert about["best"]["by_score"] == ["identity"]
    assert about["regret"][0]["loss"] == 0, "what is chosen is the best of what is not destroyed"
    assert about["n"] == 7, "it goes on being a point of the correlation"
    only = advise(Material(frame, found))[0]
    assert only.choice == "identity"
    assert only.count == 6
    without = stats.analyse(material.frame, resamples=99)
    assert without["units"]["u0"]["m"]["best"]["by_score"] == ["black"], "nobody knows without the guard"
