"""Parameters from complete units: what was put in comes out, and a replay with them is calibrated."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dametric.choosing import fit
from dametric.choosing.api import choose
from dametric.choosing.fit import assumed_parameters, fitted, most_likely
from dametric.choosing.parameters import Parameters, read_parameters
from dametric.choosing.replay import calibration, replayed, trials
from dametric.choosing.units import Unit
from dametric.errors import UsageError
from dametric.models import build
from tests.choosing.simulated import AUGS, simulated

GRID = Parameters(
    spread=dict.fromkeys((0.005, 0.015, 0.03, 0.06, 0.2), 1.0),
    noise=dict.fromkeys((0.002, 0.004, 0.008, 0.016, 0.05), 1.0),
    half=dict.fromkeys((0.03, 0.1, 0.3), 1.0),
    growth=dict.fromkeys((0.0, 0.2, 0.6), 1.0),
)


@pytest.fixture(scope="module")
def units() -> list[Unit]:
    return [simulated(seed) for seed in range(8)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A ledger with two finished students and no complete unit."""
    runs = sorted((Path(__file__).parents[2] / "experiments" / "results" / "study").glob("resnet20-resnet8-*"))[:2]
    for run in runs:
        copytree(run, tmp_path / "study" / run.name)
    return tmp_path / "study"


@pytest.fixture(scope="module")
def parameters(units: list[Unit]) -> Parameters:
    return fitted(units, wide=GRID, source="simulated", date="today")


def test_em_never_falls_and_ends_at_the_top() -> None:
    random = np.random.default_rng(0)
    likelihood = random.exponential(size=(6, 3, 4, 2)) ** 3

    def height(tables: list[np.ndarray]) -> float:
        return float(np.log(np.einsum("uabc,a,b,c->u", likelihood, *tables)).sum())

    heights = [height(most_likely(likelihood, rounds)) for rounds in range(0, 60, 3)]
    assert np.diff(heights).min() >= -1e-12
    best = most_likely(likelihood)
    assert all(table.sum() == pytest.approx(1) and table.min() >= 0 for table in best)
    for axis in range(3):  # no step within one table rises: a linear function over a simplex
        mixed = np.moveaxis(likelihood, axis + 1, 1)
        others = [table for place, table in enumerate(best) if place != axis]
        each = np.einsum("uabc,b,c->ua", mixed, *others)
        slope = (each / (each @ best[axis])[:, None]).sum(0)
        assert slope.max() <= len(likelihood) * 1.02


def test_what_was_put_in_comes_out(parameters: Parameters) -> None:
    for name, truth in (("spread", 0.03), ("noise", 0.008), ("half", 0.1)):
        table: dict[float, float] = getattr(parameters, name)
        values = list(table)
        place = values.index(max(table, key=table.__getitem__))
        assert abs(place - values.index(truth)) <= 1, name
        near = sum(table[value] for value in values[max(0, values.index(truth) - 1) : values.index(truth) + 2])
        assert near > 0.85, name
        assert sum(table.values()) == pytest.approx(1)
        assert min(table.values()) >= 0.1 / len(table) * 0.999, "what was not seen is not excluded"
    assert parameters.fractions == (0.05, 1.0)
    assert parameters.steps == (200, 800)
    assert (parameters.source, parameters.date, parameters.slope) == ("simulated", "today", 0.0)


def test_a_useful_score_has_a_slope_and_a_useless_none(units: list[Unit]) -> None:
    random = np.random.default_rng(1)

    def slopes(relation: float) -> tuple[float, float]:
        scores = {
            unit.name: dict(zip(AUGS, relation * np.array(unit.truth) / 0.03 + random.normal(size=6), strict=True))
            for unit in units
        }
        result = fitted(units, scores, wide=Parameters({0.03: 1}, {0.008: 1}, {0.1: 1}, {0.2: 1}))
        return result.slope, result.slope_spread

    assert slopes(3.0)[0] > 0.3
    assert slopes(3.0)[1] > 0
    assert slopes(0.0) == (0.0, 0.0)
    assert slopes(-3.0) == (0.0, 0.0)


def test_a_replay_with_fitted_parameters_is_calibrated(parameters: Parameters) -> None:
    """On units that the fit has not seen, judged by a seed that the choice has not seen."""
    looks = []
    for seed in range(100, 112):
        for trial in trials(simulated(seed)):
            looks.append(replayed(trial, parameters, 0.01)[1])
    table = calibration(pd.concat(looks, ignore_index=True))
    last = table.iloc[-1]
    assert last.units == 12
    assert last.looks > 150
    assert last.low - 0.02 < 0 < last.high + 0.02
    assert abs(last.gap) < 0.08


def test_a_ledger_without_a_complete_unit_leaves_what_is_shipped(
    tmp_path: Path, study: Path, monkeypatch: pytest.MonkeyPatch, units: list[Unit]
) -> None:
    own = Parameters({0.03: 1}, {0.008: 1}, {0.1: 1}, {0.2: 1})
    assert assumed_parameters(own) == (own, "")
    with pytest.raises(UsageError, match="both say what is assumed"):
        assumed_parameters(own, tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        assumed_parameters(None, tmp_path / "study" / "none")
    known, remark = assumed_parameters(None, study)
    assert known == read_parameters()
    assert "no unit is complete" in remark
    assert remark.startswith("What is shipped is assumed")
    monkeypatch.setattr(fit, "read_ledgers", lambda folders: None)
    monkeypatch.setattr(fit, "complete_units", lambda table: (units[:1], ["t9 -> s is left out: no run"]))
    monkeypatch.setattr(fit, "WIDE", GRID)
    monkeypatch.setattr(fit.fitted, "__kwdefaults__", {**fit.fitted.__kwdefaults__, "wide": GRID})
    known, remark = assumed_parameters(None, [tmp_path])
    assert known.noise != read_parameters().noise
    assert str(tmp_path) in remark
    assert "1 unit of" in remark
    assert "t0 -> s" in remark
    assert "t9 -> s is left out" in remark
    assert "t_stddev is not shown to help" in remark


def test_the_command_refuses_and_leaves_the_file(tmp_path: Path, study: Path) -> None:
    import typer

    from experiments.choose_parameters import main

    app = typer.Typer()
    app.command()(main)
    file = tmp_path / "shipped.json"
    file.write_text(json.dumps({"kept": 1}))
    result = CliRunner().invoke(app, [str(study), "-o", str(file)])
    assert result.exit_code == 2
    assert "no unit is complete" in result.stderr
    assert json.loads(file.read_text()) == {"kept": 1}


def test_a_choice_says_what_it_assumes(tmp_path: Path, study: Path) -> None:
    short: dict[str, Any] = {"steps": 40, "batch_size": 32, "budget": "20steps", "dtype": "float32", "image_size": 8}
    short |= {"output": tmp_path / "choice", "train_images": 200, "fractions": (0.5, 1), "device": "cpu", "quiet": True}
    states = choose(build("resnet8", 10, 8), "resnet8", "digits", ["cutmix"], ledger=study, **short)
    (remark,) = [text for text in list(states)[-1].sentences if "What is shipped is assumed of short runs" in text]
    assert "no unit is complete" in remark
