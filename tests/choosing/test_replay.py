"""Replays against what can be counted by hand, and the command as a user calls it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from dametric import cli
from dametric.base.arguments import speaking
from dametric.choosing.fit import fitted
from dametric.choosing.parameters import Parameters, read_parameters
from dametric.choosing.replay import (
    BUDGETS,
    Trial,
    calibration,
    frontier,
    published_order,
    replay,
    replayed,
    trials,
)
from dametric.choosing.units import Unit, complete_units
from dametric.errors import UsageError
from dametric.reports.replay_page import build
from tests.choosing.simulated import AUGS, STEPS, simulated

KNOWN = Parameters({0.03: 1}, {0.008: 1}, {0.1: 1}, {0.2: 1})
DIGITS = Path(__file__).parents[2] / "experiments" / "results" / "choose-digits"


def table_of(*units: Unit) -> pd.DataFrame:
    """A ledger's table with these losses."""
    rows = [
        ("d", unit.name.partition(" ")[0], unit.teacher, unit.augs[arm], unit.steps[fraction], seed, loss, loss + 7)
        for unit in units
        for (arm, fraction, seed), loss in unit.losses.items()
    ]
    names = ["data", "teacher", "teacher_sha256", "aug", "step", "seed", "held_out_loss", "test_loss"]
    return pd.DataFrame(rows, columns=names).assign(kind="distill", status="finished", student="s", lr=0.1)


def test_units_are_read_and_what_is_missing_is_said() -> None:
    first, second = simulated(0), simulated(1)
    units, notes = complete_units(table_of(first, second))
    assert ([unit.losses for unit in units], notes) == ([first.losses, second.losses], [])
    assert [unit.augs for unit in units] == [AUGS, AUGS]
    assert units[0].steps == STEPS
    table = table_of(first, second)
    hole = (table.teacher == "t1") & (table.aug == "cutmix") & (table.step == 400)
    units, notes = complete_units(table[~hole])
    assert [unit.name for unit in units] == ["t0 sha0 -> s"]
    assert notes == ["t1 sha1 -> s is left out: no finished run of cutmix at 400 steps"]
    assert complete_units(table.assign(status=np.where(hole, "running", "finished")))[1] == notes
    assert complete_units(table.assign(held_out_loss=np.where(hole, np.inf, table.held_out_loss)))[1] == notes
    with pytest.raises(UsageError, match=r"no unit is complete .*cutmix at 400 steps.*the same command goes on"):
        complete_units(table[(table.teacher == "t1") & ~hole])
    with pytest.raises(UsageError, match=r"all its schedules have 400 steps"):
        complete_units(table[table.step == 400])
    with pytest.raises(UsageError, match=r"finished are only cutmix, mixup"):
        complete_units(table[table.aug.isin(["cutmix", "mixup"])])
    with pytest.raises(UsageError, match=r"no student is finished"):
        complete_units(table.assign(kind="train"))


def test_recipes_are_kept_apart() -> None:
    """Two learning rates are two units: neither overwrites the other."""
    first = table_of(simulated(0))
    other = first.assign(lr=0.2, held_out_loss=first.held_out_loss + 1)
    units, _ = complete_units(pd.concat([first, other]))
    assert [unit.name for unit in units] == ["t0 sha0 -> s", "t0 sha0 -> s (2)"]
    assert units[1].truth == pytest.approx([loss + 1 for loss in units[0].truth])


def test_the_test_loss_is_taken_where_a_run_has_no_other() -> None:
    table = table_of(simulated(0))
    table.loc[3, "held_out_loss"] = np.nan
    units, _ = complete_units(table)
    assert units[0].truth == pytest.approx([loss + 7 for loss in simulated(0).truth])


def test_a_rule_never_sees_what_it_is_judged_by() -> None:
    unit = simulated(3)
    both = trials(unit)
    assert [trial.unseen for trial in both] == [True, True]
    for seed, trial in enumerate(both):
        assert {run[2] for run in trial.seen.losses} == {1 - seed}
        assert trial.truth == tuple(unit.losses[arm, 2, seed] for arm in range(6))
        assert min(map(trial.regret, range(6))) == 0
    moved = {run: loss + (run[0] == 4) * (run[2] == 0) for run, loss in unit.losses.items()}
    other = trials(replace(unit, losses=moved))[0]
    rows, again = replayed(both[0], KNOWN, 0.01)[0], replayed(other, KNOWN, 0.01)[0]
    same = ["rule", "budget", "spent", "aug"]
    pd.testing.assert_frame_equal(rows[same], again[same])
    assert other.truth != both[0].truth


def test_one_seed_is_judged_by_itself() -> None:
    single = simulated(3, seeds=1)
    (only,) = trials(single)
    assert (only.unseen, only.truth) == (False, tuple(single.truth))
    some = {run: loss for run, loss in simulated(3).losses.items() if run[2] == 0 or run[0] < 3}
    assert [trial.unseen for trial in trials(replace(simulated(3), losses=some))] == [False]


def test_simple_rules_by_hand() -> None:
    """Six arms; short runs say arm 1, middle ones arm 2, whole ones arm 3."""
    losses = {
        (arm, fraction, 0): 2.0 - (arm == fraction + 1) - 0.1 * (arm in (1, 2, 3))
        for arm in range(6)
        for fraction in range(3)
    }
    trial = Trial(Unit("u", AUGS, STEPS, losses), tuple(losses[arm, 2, 0] for arm in range(6)), False)
    rows, looks = replayed(trial, KNOWN, 0.01, {aug: -place for place, aug in enumerate(AUGS)})
    picked = {(row.rule, row.budget): (AUGS.index(row.aug), row.spent * 400) for row in rows.itertuples()}
    compressed = [picked.get(("compressed", budget)) for budget in BUDGETS]
    assert compressed == [None, (1, 120), (1, 120), (2, 480), (2, 480), (3, 2400), (3, 2400)]
    halving = [picked.get(("halving", budget)) for budget in BUDGETS]
    assert halving == [None, (1, 120), (2, 360), *[(2, 760)] * 4]
    assert {picked["score", budget] for budget in BUDGETS} == {(5, 0)}
    assert len({picked["published", budget] for budget in BUDGETS}) == 1
    spent = [picked["choose", budget][1] for budget in BUDGETS]
    assert spent == sorted(spent)
    assert all(own <= budget * 400 for own, budget in zip(spent, BUDGETS, strict=True))
    assert looks.spent.is_monotonic_increasing
    assert looks.stated.between(0, 1).all()
    by_regret = {row.aug: row.regret for row in rows.itertuples()}
    assert by_regret[AUGS[3]] == 0


def test_the_list_reaches_strengths_by_operation_and_family() -> None:
    augs = ["identity", "cutmix", "cutmix:alpha=0.2", "mixup:alpha=4", "randaugment", "erasing", "rotate"]
    places = dict(zip(augs, published_order(augs), strict=True))
    assert places["cutmix:alpha=0.2"][0] == places["cutmix"][0]
    assert places["cutmix:alpha=0.2"] > places["cutmix"]
    assert places["mixup:alpha=4"] == (published_order(["mixup"])[0][0], 2.0)
    assert places["randaugment"][0] == published_order(["autoaugment"])[0][0]
    assert places["erasing"][0] == published_order(["cutout"])[0][0]
    assert places["rotate"] == (math.inf, math.inf)
    assert places["identity"][0] < math.inf


def test_what_is_assumed_in_a_unit_was_not_fitted_to_it(monkeypatch: pytest.MonkeyPatch, ledger: Path) -> None:
    units = [simulated(seed) for seed in range(4)]
    monkeypatch.setattr("dametric.choosing.replay.read_ledgers", lambda folders: None)
    seen: list[tuple[str, Parameters]] = []

    def remember(trial: Trial, parameters: Parameters, epsilon: float, score: object) -> tuple[pd.DataFrame, ...]:
        seen.append((trial.seen.name, parameters))
        return replayed(trial, parameters, epsilon)

    monkeypatch.setattr("dametric.choosing.replay.replayed", remember)
    for count, given in ((4, None), (2, None), (4, KNOWN)):
        seen.clear()
        monkeypatch.setattr("dametric.choosing.replay.complete_units", lambda table, count=count: (units[:count], []))
        result = replay(ledger, parameters=given, quiet=True)
        assert {name for name, _ in seen} == {unit.name for unit in units[:count]}
        if given is not None:
            assert all(parameters is KNOWN for _, parameters in seen)
        elif count < 3:
            assert all(parameters == read_parameters() for _, parameters in seen)
            assert any("3 complete units are the least" in sentence for sentence in result.sentences)
        else:
            for name, parameters in seen:
                others = [unit for unit in units if unit.name != name]
                assert parameters.spread == fitted(others).spread
                assert parameters.noise == fitted(others).noise
                assert name not in parameters.source
                assert all(other.name in parameters.source for other in others)
            assert any("fitted to the other 3, never to itself" in sentence for sentence in result.sentences)


def test_intervals_stay_in_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars of two units are long: the frame holds them."""
    parts = [replayed(trial, KNOWN, 0.01) for seed in range(2) for trial in trials(simulated(seed))]
    rows, looks = (pd.concat([part[place] for part in parts], ignore_index=True) for place in (0, 1))
    costs, stated = frontier(rows), calibration(looks)
    for chart in build(costs, stated, ["a", "b"]).charts:
        axes = chart.panels[0].draw(Figure().subplots())
        low, high = axes.get_ylim()
        ends = [end for bars in axes.collections for segment in bars.get_segments() for end in segment[:, 1]]
        assert ends
        assert low <= min(ends) <= max(ends) <= high


def test_intervals_are_over_units() -> None:
    rows = pd.DataFrame(
        [
            (unit, rule, 1.0, 0.5, "a", regret + (rule == "compressed") * gain)
            for unit, regret, gain in (("u", 0.1, 0.1), ("u", 0.3, 0.1), ("v", 0.6, 0.3), ("w", 0.0, 0.2))
            for rule in ("choose", "compressed")
        ],
        columns=["unit", "rule", "budget", "spent", "aug", "regret"],
    )
    own, other = frontier(rows).to_dict("records")
    expected = stats.t.interval(0.95, 2, loc=np.mean([0.2, 0.6, 0.0]), scale=stats.sem([0.2, 0.6, 0.0]))
    assert (own["units"], own["regret"]) == (3, pytest.approx(0.8 / 3))
    assert (own["low"], own["high"]) == pytest.approx(expected)
    paired = stats.t.interval(0.95, 2, loc=0.2, scale=stats.sem([0.1, 0.3, 0.2]))
    assert (other["over_choose"], other["over_low"], other["over_high"]) == pytest.approx((0.2, *paired))
    alone = frontier(rows[rows.unit == "u"])
    assert alone.low.isna().all()
    assert alone.over_low.isna().all()

    looks = pd.DataFrame(
        [(unit, 0, 0.9, within) for unit, within in (("u", 1), ("u", 1), ("v", 0), ("v", 1), ("w", 1))]
        + [("u", 0, 1.0, 1), ("u", 0, 0.05, 0)],
        columns=["unit", "spent", "stated", "within"],
    )
    table = calibration(looks).set_index("stated")
    assert list(table.index) == ["0.0 to 0.2", "0.8 to 1.0", "all"]
    assert tuple(table.loc["0.8 to 1.0", ["looks", "units"]]) == (6, 3)
    assert table.loc["0.8 to 1.0", "frequency"] == pytest.approx(5 / 6)
    assert math.isnan(table.loc["0.0 to 0.2", "low"])
    same = pd.DataFrame([(u, 0, 0.5, w) for u, w in (("u", 1), ("v", 0), ("w", 1))], columns=looks.columns)
    last = calibration(same).iloc[-1]  # a look for each unit: the plain interval of a mean
    expected = stats.t.interval(0.95, 2, loc=1 / 6, scale=stats.sem([0.5, -0.5, 0.5]))
    assert (last.low, last.high) == pytest.approx(expected)


def run(*arguments: object) -> int:
    with speaking("command line"):
        return cli._run([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unit of three augmentations, from real records."""
    folder = tmp_path_factory.mktemp("ledger")
    kept = ("identity", "mixup:alpha=1", "cutmix:alpha=1")
    for file in DIGITS.rglob("record.json"):
        record = json.loads(file.read_text())
        if record["config"]["recipe"].get("aug") in kept and file.parent.name.startswith("resnet20-"):
            copytree(file.parent, folder / file.parent.relative_to(DIGITS))
    return folder


def test_the_command(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("choose", "--replay", ledger, "-o", tmp_path / "replay", "--json", "--quiet") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) >= {"dametric_replay", "units", "frontier", "calibration", "rows", "sentences", "epsilon"}
    assert {row["rule"] for row in document["frontier"]} == {"choose", "compressed", "halving", "published"}
    assert any("so the rule score is missing" in sentence for sentence in document["sentences"])
    assert any("--scores" in sentence for sentence in document["sentences"])
    files = {path.name for path in (tmp_path / "replay").iterdir()}
    assert files == {"replay.html", *(f"{k}.{e}" for k in ("frontier", "calibration") for e in ("png", "svg", "csv"))}
    page = (tmp_path / "replay" / "replay.html").read_text()
    assert "Are its probabilities right?" in page
    assert run("choose", "--replay", ledger, "-o", tmp_path / "one.html", "-q") == 0
    out = capsys.readouterr().out
    assert "over choose" in out
    assert (tmp_path / "one.html").exists()
    assert replay(ledger, parameters=KNOWN, quiet=True).parameters == KNOWN


def test_what_cannot_be_is_one_line(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: object) -> str:
        assert run("choose", *arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        return lines[0]

    assert "--teacher has no meaning there" in refused("--replay", ledger, "--teacher", "t.pth")
    for flag, value in {"--budget": "1h", "--jobs": 2, "--fractions": "1", "--lr": 0.1, "--device": "cpu"}.items():
        assert f"so {flag} has no meaning there" in refused("--replay", ledger, flag, value)
        assert f"so {flag} has no meaning there" in refused("--status", ledger, flag, value)
    assert "so --download has no meaning there" in refused("--replay", ledger, "--download")
    assert "so --output has no meaning there" in refused("--status", ledger, "-o", "x")
    assert "compares one score" in refused("--replay", ledger, "-m", "t_stddev", "-m", "h_t")
    assert "--scores are read by --replay alone" in refused("--scores", "scores.json")
    assert "there is no folder" in refused("--replay", tmp_path / "nothing")
    assert "no unit is complete" in refused("--replay", next(ledger.glob("resnet20-*")))
    assert "--epsilon" in refused("--replay", ledger, "--epsilon", "0")
    assert "nothing.json" in refused("--replay", ledger, "--scores", tmp_path / "nothing.json")
