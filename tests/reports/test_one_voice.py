"""The bold line says what the verdict says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dametric.analysis import Analysis, analyse
from dametric.analysis.advice import Advice
from dametric.analysis.decision import decide
from dametric.analysis.words import answer
from dametric.reports import page, tables
from dametric.reports.cells import error, number
from dametric.reports.charts.noise import within_one
from dametric.stats import Result
from tests.loops import each
from tests.reports.test_page import Page

AUGS = ["identity", "cutout", "autoaugment", "mixup", "cutmix", "./augs.py:snow"]


def made(losses: Any, augs: list[str] = AUGS, direction: str = "lower", units: int = 1) -> Analysis:
    n = len(augs)
    rows = {"unit": np.repeat([f"u{i}" for i in range(units)], n), "aug": augs * units, "metric": "m"}
    frame = pd.DataFrame({**rows, "direction": direction, "score": [*np.arange(n) / 10] * units, "seeds": 3})
    frame = frame.assign(score_se=0.001, test_loss=[*losses] * units, test_loss_se=0.001)
    return analyse(frame, resamples=99)


def lead(analysis: Analysis, advice: list[Advice]) -> list[str]:
    p = analysis.confirmatory[0].families.p_holm
    return answer(analysis.decision, p, advice, analysis.outcome)


def test_the_bold_line_is_the_verdict() -> None:
    shown, not_shown = made(range(6)), made([3, 0, 5, 1, 4, 2])
    cannot = made(range(5), AUGS[:5])
    words = [material.answer for material in (shown, not_shown, cannot)]
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
        assert any(line.startswith(verdict) for line in material.verdict)
        assert ("Use" in first) == (verdict == "m predicts")
    head = page.build(cannot).take.columns
    assert "Best score" in head
    assert "Take" not in head


def test_several_units_have_one_voice_too() -> None:
    shown, not_shown = made(range(6), units=2), made([3, 0, 5, 1, 4, 2], units=2)
    assert shown.answer[0] == "Use identity: in all 2 units it has the best m (lower is better)."
    first = not_shown.answer[0]
    assert first.startswith("No recommendation: these students do not show")
    assert "identity: in all 2 units" in first
    different = [replace(one, best_scored=(name,)) for one, name in zip(not_shown.advice, "ab", strict=True)]
    assert lead(not_shown, different)[0].startswith("No recommendation: these students do not show")
    assert "take in each" not in lead(not_shown, different)[0]


def test_what_was_never_distilled_is_not_to_be_used() -> None:
    material = made(range(6), units=1)
    only = replace(material.advice[0], best_scored=("new",), cost=float("nan"), points=float("nan"))
    assert lead(material, [only])[0].startswith("Distil with new before you use it: of 6 augmentations")
    assert lead(material, [only])[0].endswith("and no student of it is here.")
    assert lead(material, [only, only])[0].startswith("Distil with new, of which no student is here, before you use it")
    assert not any("Use new" in line for line in lead(material, [only]))


def test_a_metric_without_a_direction_recommends_nothing() -> None:
    material = made(range(6), direction="open")
    report = page.build(material)
    assert (
        report.analysis.answer[0]
        == "No recommendation: no direction is stated for m, so none of its scores is the best."
    )
    assert "two-sided p" in report.analysis.answer[1]
    assert not any("best score has" in line for line in [*report.analysis.answer, *report.analysis.reasons])
    assert "regret" not in {section.key for section in report.charts}


def test_figures_say_that_their_p_is_two_sided() -> None:
    material = made(range(6))
    (scatter,) = (chart for chart in page.build(material).charts if chart.key == "scatter")
    assert "two-sided p = " in scatter.alt


@each(("value", "text"), [(1.02, "above 1"), (-1.3, "below -1"), (0.98, "0.98"), (None, "–")])
def test_a_correlation_above_one_is_not_printed_as_one(value: float | None, text: str) -> None:
    assert within_one(number(value, ".2f")).text == text


def test_two_students_have_no_figure_that_shows_nothing() -> None:
    """Two points have no correlation and no curve of regret; what there is stands in tables."""
    frame = made([1.0, 2.0], AUGS[:2]).study.frame
    rival = frame.assign(metric="other", score=[0.3, 0.1])
    charts = page.build(analyse(pd.concat([frame, rival]), resamples=9, metrics=["m"])).charts
    assert [chart.key for chart in charts if chart.panels] == ["scatter"]
    note = next(chart.note for chart in charts if chart.key == "forest")
    assert note.startswith("No correlation is defined: too few augmentations")


def test_destroyed_images_are_never_recommended_though_they_score_best() -> None:
    augs = ["black", *AUGS]
    material = made([9.0, *range(6)], augs)
    left = [0.01, 1.0, 0.3, 0.9, 0.8, 0.7, 0.6]
    kept = material.study.frame.assign(metric="information_kept", direction="open", score=left)
    frame = pd.concat([material.study.frame, kept], ignore_index=True)
    found = analyse(frame, resamples=99, metrics=["m"])
    about = found.units["u0"]["m"]
    assert about.best.by_score == ("identity",)
    assert about.regret[0].loss == 0, "what is chosen is the best of what is not destroyed"
    assert about.n == 7, "it goes on being a point of the correlation"
    only = found.advice[0]
    assert only.choice == "identity"
    assert (only.count, only.destroyed) == (6, 1)
    assert any("6 augmentations (1 more destroys the images)" in sentence for sentence in found.answer)
    assert material.units["u0"]["m"].best.by_score == ("black",), "nobody knows without the guard"


def varied(found: Analysis, draw: np.random.Generator) -> Analysis:
    """The analysis as it would be of other students: other p-values, directions, noise, seeds and augmentations."""
    direction = str(draw.choice(["lower", "lower", "higher", "open"]))
    p, settings = (float(draw.choice([0.001, 0.05, 0.0501, 0.4, np.nan], p=[0.4, 0.15, 0.15, 0.2, 0.1])) for _ in "12")
    first = found.confirmatory[0]
    whole = replace(first.families, result=replace(first.families.result, pvalue=p), p_holm=p)
    result = replace(first.result, pvalue=settings, statistic=float(draw.choice([0.8, 0.0, -0.4])))
    expected = {"lower": 1, "higher": -1, "open": 0}[direction]
    first = replace(first, direction=direction, expected=expected, result=result, families=whole)
    units = {}
    for name, about in found.of_metric.items():
        noise = replace(about.noise, reliability_loss=Result(float(draw.choice([0.9, 0.5, 0.49, np.nan]))))
        size = (
            {"n": int(draw.choice([5, 6, 9])), "n_families": int(draw.choice([2, 3, 5]))} if draw.random() < 0.4 else {}
        )
        seeds = replace(about.seeds, least=float(draw.choice([1, 3, np.nan])))
        units[name] = {"m": replace(about, direction=direction, noise=noise, seeds=seeds, **size)}
    decision = decide([first], {name: about["m"] for name, about in units.items()}, found.settings.alpha)
    advice = tuple(
        replace(each, direction=direction, best_scored=each.best_scored[: expected**2]) for each in found.advice
    )
    return replace(
        found, confirmatory=(first,), metrics={"m": direction}, units=units, decision=decision, advice=advice
    )


def test_verdict_answer_and_table_agree_whatever_the_data() -> None:
    """One decision drives all: those whose bold line recommends are those that predict."""
    draw, seen = np.random.default_rng(11), Counter[str]()
    bases = [made(draw.permutation(6), units=units) for units in (1, 1, 2, 3)]
    for turn in range(400):
        found = varied(bases[turn % 4], draw)
        seen[found.decision.refusal or "recommended"] += 1
        predicts = any(line.startswith("m predicts") for line in found.verdict)
        carries = not any(line.startswith(("m: no answer", "m: the numbers")) for line in found.verdict)
        bold, *rest = found.answer
        recommends = not bold.startswith("No recommendation")
        assert recommends == (predicts and found.metrics["m"] != "open") == (found.decision.refusal == "")
        assert found.answerable == carries == found.to_dict()["answerable"]
        assert any("cannot be answered" in line for line in rest) == (not carries)
        assert any(" do not show" in line for line in rest) == (carries and not predicts)
        assert ("Take" in tables.advice_table(found).columns) == recommends
        if len(found.units) == 1 and any(line.startswith("Cannot answer") for line in found.verdict):
            assert not recommends
            assert not predicts
    assert min(seen[name] for name in ("recommended", "not shown", "cannot answer", "no direction")) > 20, seen


def test_one_unit_stands_upright_and_errors_have_no_exponent() -> None:
    """What to take in a single unit is a list of names and values: a row of eleven columns does not fit a window."""
    built = page.build(made(range(6)))
    rows = [[text for text, _ in row] for row in Page(built.html()).rows]
    assert rows[:3] == [["Unit", "u0"], ["Take", "identity"], ["m", "0.000"]]
    assert "| Unit | Take |" in built.markdown()
    for value, text in ((0.0123, "0.012"), (3.64e-05, "0.000036"), (9.96e-05, "0.000100"), (0.0, "0.0")):
        assert error(value).text == text
