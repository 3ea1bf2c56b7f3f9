"""Curves over strengths: which rows make one, where it is best, and the table that shows it."""

from __future__ import annotations

from typing import Any

import pytest

from dametric.analysis.curves import FOR_EVER, curves_of, sentences, table_lines
from dametric.cli.score import print_table
from dametric.records.scores import Scores

HALF = 0.4186  # of the intervals of differences: 19 degrees of freedom, standard error 0.2


def scores_of(values: dict[str, float], direction: str = "lower", destroyed: tuple[str, ...] = ()) -> Scores:
    sign, rows = -1 if direction == "higher" else 1, []
    parameters: dict[str, Any] = {"mixup": {"operation": "Mixup", "alpha": 1.0, "partner": "roll"}}
    for name, value in sorted(values.items(), key=lambda item: (item[0] in destroyed, sign * item[1])):
        metric = {
            "value": value,
            "se": 0.1,
            "low": value - 0.2,
            "high": value + 0.2,
            "direction": direction,
            "blocks": 20,
        }
        gaps = {
            other: {"value": value - second, "se": 0.2, "low": value - second - HALF, "high": value - second + HALF}
            for other, second in values.items()
        }
        row = {"aug": name, "metrics": {"t_stddev": metric}, "differences": gaps, "destroyed": name in destroyed}
        rows.append({**row, "parameters": [parameters.get(name, {})], "difference": {"value": 0.1, "se": 0.2}})
    return Scores(rows, {"metrics": ["t_stddev"], "batches": 20, "b": 64, "seed": 0}, {})


def mixup(*values: float) -> dict[str, float]:
    return {f"mixup:alpha={alpha}": value for alpha, value in zip(("0.25", "0.5", "1", "2", "4"), values, strict=True)}


def test_a_best_strength_has_an_interval_from_paired_differences() -> None:
    """Excluded is what is worse by more than t of the level 0.05 / 4: 2.43 standard errors of 0.2."""
    for direction, sign in (("lower", 1), ("higher", -1)):
        values = [sign * value for value in (5.0, 2.45, 2.0, 2.5, 6.0)]
        (curve,) = curves_of(scores_of({**mixup(*values), "flip": 9.0}, direction))
        assert (curve.name, curve.parameter, curve.logarithmic) == ("mixup:alpha=…", "alpha", True)
        assert curve.strengths == (0.25, 0.5, 1, 2, 4)
        assert curve.best == 2
        assert curve.interval == (0.5, 1)
        assert sentences([curve]) == ["mixup:alpha=…: t_stddev is best at alpha = 1; 95 % interval 0.5 to 1."]


def test_an_end_of_the_range_is_no_best_strength_and_an_interval_may_reach_it() -> None:
    (curve,) = curves_of(scores_of(mixup(5, 4, 3, 2, 1)))
    assert curve.short_answer == "best: none inside the range"
    assert sentences([curve])[0].endswith("(t_stddev is best at its end): mixup:alpha=4.")
    assert sentences([curve])[1] == FOR_EVER
    (curve,) = curves_of(scores_of(mixup(5, 4, 3, 2, 2.2)))
    assert sentences([curve]) == [
        "mixup:alpha=…: t_stddev is best at alpha = 2; 95 % interval 2 to 4, as far as the upper end of the range."
    ]


def test_destroyed_images_do_not_compete() -> None:
    (curve,) = curves_of(scores_of(mixup(5, 4, 3, 2, 1), destroyed=("mixup:alpha=4",)))
    assert curve.best == 3
    assert curve.short_answer == "best: none inside the range"
    assert "of strengths that leave images intact" in sentences([curve])[0]


def test_rows_of_a_curve_differ_in_one_number() -> None:
    values = mixup(5, 4, 3, 2, 1)
    del values["mixup:alpha=1"]
    names = {**values, "mixup": 3.0, "crop+cutmix:alpha=1:p=0.5": 1, "crop+cutmix:alpha=1:p=0.7": 2}
    names |= {"crop+cutmix:alpha=1:p=1": 3, "crop+cutmix:alpha=2:p=1": 4, "./a.py:snow:depth=1e-3": 1}
    names |= {"./a.py:snow:depth=.2": 1, "rotate:degrees=0": 1, "rotate:degrees=10": 2, "rotate:degrees=20": 3}
    names |= {f"rand-m{m}-n2-mstd0.5": 7 - m for m in (3, 5, 9)}
    curves = {curve.name: curve for curve in curves_of(scores_of(names))}
    known = {"mixup:alpha=…", "crop+cutmix:alpha=1:p=…", "rotate:degrees=…", "rand-m…-n2-mstd0.5"}
    assert curves.keys() == known, "two make no curve"
    assert curves["rand-m…-n2-mstd0.5"].strengths == (3, 5, 9)
    assert curves["mixup:alpha=…"].strengths == (0.25, 0.5, 1, 2, 4)  # mixup says 1
    assert not curves["rotate:degrees=…"].logarithmic


def test_the_printed_table_groups_families_with_strengths_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of({**mixup(5, 2.45, 2, 3, 6), "cutout": 1.0, "gridmask": 1.1, "flip": 8.0})
    listed = [(line.name.strip(), line.mark) for line in table_lines(scores)]
    assert [name for name, _ in listed] == [
        "erase",
        "cutout",
        "gridmask",
        "mixup",
        *mixup(1, 2, 3, 4, 5),
        "flip",
    ]
    assert dict(listed)["mixup:alpha=1"] == "best of mixup"
    with_kept = [
        {**row, "metrics": {**row["metrics"], "information_kept": row["metrics"]["t_stddev"]}} for row in scores.scores
    ]
    config = {**scores.config, "metrics": ["t_stddev", "information_kept"], "data": {"images": 100}}
    print_table(Scores(with_kept, config, {}))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:11]] == [name for name, _ in listed]
    assert "best of mixup" in next(line for line in lines if line.strip().startswith("mixup:alpha=1 "))
    assert any("95 % interval 0.5 to 1." in line for line in lines)
    flat = scores_of({"flip": 2.0, "cutout": 1.0, "mixup": 3.0})
    assert [line.name for line in table_lines(flat)] == ["cutout", "flip", "mixup"]
