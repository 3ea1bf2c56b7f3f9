"""What is assumed before a user's runs speak: read, refused, normalised, and made less certain where it must be."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dametric.choosing.arms import arms_of
from dametric.choosing.parameters import SHIPPED, Parameters, read_parameters
from dametric.choosing.posterior import Prior, prior_of
from dametric.choosing.settle import fitting
from dametric.errors import UsageError
from dametric.stats.result import Floats
from tests.loops import each

GOOD: dict[str, Any] = {
    "spread": {"0.01": 1, "0.1": 3},
    "noise": {"0.01": 5},
    "half": {"0.2": 1},
    "growth": {"0.0": 1, "0.5": 1},
    "slope": 0.4,
    "slope_spread": 0.1,
    "trust": 0.3,
    "fractions": [0.1, 1.0],
    "steps": [1000, 50000],
}


def written(folder: Path, document: Any) -> Path:
    path = folder / "parameters.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def test_a_file_says_what_the_object_says(tmp_path: Path) -> None:
    read = read_parameters(written(tmp_path, GOOD))
    assert read.spread == {0.01: 1, 0.1: 3}
    assert (read.slope, read.trust, read.steps, read.fractions) == (0.4, 0.3, (1000, 50000), (0.1, 1.0))
    assert read_parameters(written(tmp_path, read.document())) == read
    assert json.loads(json.dumps(read.document()))["slope"] == 0.4


def test_what_is_shipped_names_its_origin_and_trusts_no_score() -> None:
    shipped = read_parameters()
    assert shipped == read_parameters(SHIPPED)
    assert shipped.source
    assert shipped.date.count("-") == 2
    assert (shipped.slope, shipped.slope_spread) == (0, 0)
    for table in (shipped.spread, shipped.noise):  # coarser steps state probabilities that are .02 too high
        assert max(high / low for low, high in itertools.pairwise(sorted(table))) < 1.8


@each(
    "bad",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        {},
        {**GOOD, "spread": {}},
        {**GOOD, "spread": {"wide": 1}},
        {**GOOD, "spread": [0.1]},
        {**GOOD, "spread": {"-0.1": 1}},
        {**GOOD, "spread": {"nan": 1}},
        {**GOOD, "noise": {"0": 1}},
        {**GOOD, "noise": {"0.1": 0}},
        {**GOOD, "noise": {"0.1": -1}},
        {**GOOD, "half": {"0": 1}},
        {**GOOD, "half": {"1": 1}},
        {**GOOD, "growth": {"inf": 1}},
        {**GOOD, "trust": 1.5},
        {**GOOD, "trust": -0.1},
        {**GOOD, "trust": "much"},
        {**GOOD, "family_share": 1},
        {**GOOD, "length": 0},
        {**GOOD, "slope_spread": -1},
        {**GOOD, "shared_noise": -1},
        {**GOOD, "unknown": 1},
    ],
)
def test_bad_files_are_refused(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(UsageError, match="parameters"):
        read_parameters(written(tmp_path, bad))


@each(
    "bad",
    [
        {**GOOD, "slope": math.nan},
        {**GOOD, "slope": "steep"},
        {**GOOD, "noise": {"0.1": math.inf}},
        {**GOOD, "length": math.inf},
        {**GOOD, "steps": [1000]},
        {**GOOD, "fractions": [1.0, 0.1]},
        {**GOOD, "growth": {"1000": 1}},
        {**GOOD, "fractions": 3},
        {**GOOD, "fractions": [0.1, 2]},
        {**GOOD, "steps": [1.5, 10]},
        {**GOOD, "steps": ["a", "b"]},
        {**GOOD, "metric": 5},
        {**GOOD, "source": None},
        {**GOOD, "slope": True},
        {**GOOD, "noise": {"1e-300": 1}},
        {**GOOD, "spread": {"0.01": 1, "0.010": 3}},
        {**GOOD, "spread": {f"{i / 1000}": 1 for i in range(1, 20_000)}},
        "[" * 100_000,
        {**GOOD, "spread": {"0.01": 1e308, "0.02": 1e308}},
        json.dumps(GOOD).replace("{", '{"trust": 0.1, "trust": 0.2, ', 1),
    ],
)
def test_more_bad_files_are_refused(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(UsageError, match="parameters"):
        read_parameters(written(tmp_path, bad))


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        read_parameters(tmp_path / "absent.json")


def test_probabilities_are_those_of_the_product(tmp_path: Path) -> None:
    parameters = read_parameters(written(tmp_path, GOOD))
    settings = list(parameters.settings([0.1, 1.0]))
    assert len(settings) == 2 * 2 * 2
    assert math.fsum(setting.weight for setting in settings) == pytest.approx(1)
    for setting in settings:
        expected = {0.01: 0.25, 0.1: 0.75}[setting.spread] * 0.5 * (0.3 if setting.slope else 0.7)
        assert setting.weight == pytest.approx(expected)
        odds = 0.2 / 0.8
        assert setting.agreement == pytest.approx((1 / (1 + odds * 9), 1))
        assert setting.scale[0] in (pytest.approx(1), pytest.approx(10**0.5))
        assert setting.scale[1] == 1
    at_half = Parameters({0.1: 1}, {0.1: 1}, {0.3: 1}, {0.0: 1}).settings([0.3, 1.0])
    assert [setting.agreement for setting in at_half] == [(pytest.approx(0.5), 1)]


def _means(prior: Prior) -> Floats:
    """Expected effects of every setting, pairs of spread and noise first: shape (settings, effects)."""
    return np.concatenate([spread * prior.lean for spread in prior.spread])


def test_trust_is_the_probability_that_a_score_counts() -> None:
    arms = arms_of(["cutmix", "mixup"])
    tables: tuple[Any, ...] = ({0.1: 1}, {0.01: 1}, {0.2: 1}, {0.0: 1})
    means = []
    for trust in (0.0, 0.25, 1.0):
        parameters = Parameters(*tables, slope=0.5, slope_spread=0.2, trust=trust)
        prior = prior_of(arms, [1.0], parameters, [1.0, 2.0, 3.0])
        means.append((prior.weights @ _means(prior))[prior.layout.whole])
    np.testing.assert_allclose(means[0], 0)
    np.testing.assert_allclose(means[2], 0.1 * 0.5 * np.array([-1, 0, 1]) * math.sqrt(1.5))
    np.testing.assert_allclose(means[1], 0.25 * means[2])
    unscored = prior_of(arms, [1.0], Parameters(*tables, slope=0.5, trust=1.0), None)
    np.testing.assert_allclose(_means(unscored), 0)


@each(
    ("steps", "fractions", "within"),
    [
        (1000, [0.1, 1.0], True),
        (50000, [0.2, 1.0], True),
        (999, [0.1, 1.0], False),
        (50001, [0.1, 1.0], False),
        (2000, [0.05, 1.0], False),
    ],
)
def test_outside_of_its_range_less_is_taken_as_known(
    tmp_path: Path, steps: int, fractions: list[float], within: bool
) -> None:
    parameters = read_parameters(written(tmp_path, GOOD))
    wider, reason = parameters.for_schedule(steps, fractions)
    assert (reason == "") == within
    assert (wider == parameters) == within
    if not within:
        outside = "fractions of a schedule from 0.1 to 1" if steps == 2000 else "schedules of 1000 to 50000 steps"
        assert outside in reason
        assert f"not {0.05 if steps == 2000 else steps}" in reason
        assert reason.count(" from ") == 1 + (steps == 2000)
        assert len(wider.half) > len(parameters.half)
        rest = {name: value for name, value in asdict(parameters).items() if name != "half"}
        assert {name: value for name, value in asdict(wider).items() if name != "half"} == rest


def test_a_fraction_in_whole_steps_is_the_fraction_that_was_asked_for() -> None:
    """A twentieth of 1949 steps is 97.45, so 97: no less than a twentieth."""
    shipped = read_parameters()
    for steps in range(400, 4001):
        fractions = [count / steps for count in fitting(steps, (0.05, 0.2, 1.0), 20)]
        assert shipped.for_schedule(steps, fractions) == (shipped, ""), steps
    assert "not 0.04" in shipped.for_schedule(2000, [0.04, 1.0])[1]
