"""What the study's runs and scores show: the fixed test, its simulation, what it refuses, and the page."""

from __future__ import annotations

import itertools
import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dametric.errors import UsageError
from dametric.stats.pooling import double_centred
from experiments.study import beyond_list, entries, simulation
from experiments.study.__main__ import main
from experiments.study.beyond_list import answer, floor, named_tests, pvalues, within
from experiments.study.entries import code_of, essence
from experiments.study.figures import FIGURES
from experiments.study.page import Page
from experiments.study.plan import RECORDS, ROOT, Ledger, expected
from experiments.study.results import Study
from experiments.study.settings import FAMILIES, MIDDLE, SETTINGS, UNITS
from experiments.study.strengths import best_strength, practical_worth

README = ROOT / "experiments" / "results" / "README.md"


def slow(metric: Any, loss: Any, students: tuple[str, ...]) -> tuple[float, float]:
    """Correlation and p by the words of the design: every order of the units that keeps students' units together."""
    a, b = double_centred(metric), double_centred(loss)
    observed, values = np.corrcoef(a.ravel(), b.ravel())[0, 1], []
    for order in itertools.permutations(range(len(students))):
        if all(students[place] == students[other] for place, other in enumerate(order)):
            values.append(np.corrcoef(a[list(order)].ravel(), b.ravel())[0, 1])
    return float(observed), float(np.mean([value >= observed - 1e-9 for value in values]))


def test_the_fixed_test_is_what_the_design_says() -> None:
    students = ("a", "b", "a", "b", "a", "b")
    rng = np.random.default_rng(1)
    for truth in (0.0, 0.6):
        (metric,), loss = simulation.simulated(rng, 3, [truth], students)
        correlation, p = pvalues(metric, loss, students)
        for study in range(3):
            assert (correlation[study], p[study]) == pytest.approx(slow(metric[study], loss[study], students))
    scaled = metric * rng.uniform(0.1, 10, (3, 6, 1)) + rng.normal(size=(3, 6, 1)) + rng.normal(size=(3, 1, 12)) * 0
    assert pvalues(scaled, loss, students)[1] == pytest.approx(p), "units' scales and means do not matter"
    orders = within(students)
    assert len(orders) == 36 == round(1 / floor(students)), "3! 3!"
    assert len({tuple(order) for order in orders.tolist()}) == 36
    assert len(within(tuple(student for _, student in UNITS))) == 576


def test_the_direction_is_the_stated_one_and_too_few_units_cannot_answer() -> None:
    students = tuple(student for _, student in UNITS)
    (metric,), loss = simulation.simulated(np.random.default_rng(0), 1, [0.9])
    index, settings = pd.MultiIndex.from_tuples(UNITS), list(SETTINGS)
    losses, values = (pd.DataFrame(each[0], index, settings) for each in (loss, metric))
    right, wrong = (answer("m", better, values, losses, 3) for better in ("lower", "higher"))
    assert right.p == pytest.approx(pvalues(metric, loss, students)[1][0])
    assert right.p == pytest.approx(1 / 576)
    assert (wrong.p, wrong.correlation) == (1.0, -right.correlation)
    few = answer("m", "lower", values, losses.iloc[:6], 3)
    assert few.note == "cannot answer: 6 whole units with scores, floor of p 0.0278, by Holm 0.0833"
    assert np.isnan(few.p)
    assert np.isfinite(answer("m", "lower", values, losses.iloc[:7], 3).p)
    without = answer("m", "lower", values.assign(cutmix=np.nan), losses, 3)
    assert (without.units, without.note) == (8, "without 1 setting")
    assert np.isnan(answer("m", "lower", losses * 0 + 1, losses, 3).p)


def test_the_test_keeps_its_level_and_sees_what_it_should() -> None:
    """Where units of a student share half of the interaction, and differ in scale."""
    small = simulation.table(1000, seed=3).set_index(["units", "truth"])
    kept = pd.read_csv(RECORDS / "tables" / "simulation.csv").set_index(["units", "truth"])
    assert kept.index.equals(small.index)
    for units in (8, 7):
        for table, slack in ((kept, 0.0), (small, 0.015)):
            assert 0.035 - slack <= table.single[units, 0.0] <= 0.065 + slack
            assert table["any"][units, 0.0] <= 0.05 + slack
    assert (small - kept)[["single", "alone", "all", "any"]].abs().max(axis=None) < 0.06
    assert kept.alone[8, 0.3] > 0.4
    assert kept.alone[8, 0.5] > 0.9


def test_permuting_over_students_would_be_too_liberal() -> None:
    """Why p is of permutations within students: what these share is not evidence."""
    rng, students = np.random.default_rng(5), ("a", "a", "b", "b", "a", "b")
    own, rejected = 0, 0
    for _ in range(150):
        shared = rng.normal(size=(2, 2, 12))
        metric, loss = (shared[k][[0, 0, 1, 1, 0, 1]] + 0.5 * rng.normal(size=(6, 12)) for k in (0, 1))
        own += pvalues(metric, loss, students)[1] <= 0.05
        rejected += pvalues(metric, loss, ("a",) * 6)[1] <= 0.05
    assert own <= 15
    assert rejected > 20


def test_newer_code_than_its_entry_is_refused(tmp_path: Path) -> None:
    for entry in entries.entries().values():
        entry.check(None, None)  # the code as it is
        for name in entry.files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
        source = tmp_path / entry.files[0]
        text = source.read_text()
        source.write_text('"""Another docstring."""\n# a comment\n' + text.partition('"""')[2].partition('"""')[2])
        entry.check(None, None, tmp_path)
        source.write_text(text + "\n_SIZE = 3\n")
        with pytest.raises(UsageError, match=f"{entry.metric}: its code .* is newer than its entry"):
            entry.check(None, None, tmp_path)
        with pytest.raises(UsageError, match="is newer"):
            entry.check("not stated", None)
        entry.check(entry.code, entry.fixed)
        with pytest.raises(UsageError, match="after the first loss"):
            entry.check(entry.code, date(2026, 11, 20))
    assert essence('def f(x):\n    """Doc\n    string."""\n    return x  # why\n') == "deff(x):returnx"
    assert essence("a = 'x # y'\n") == "a='x#y'"
    shutil.copy(ROOT / "dametric/choosing/warm.py", tmp_path / "a.py")
    assert code_of(("a.py",), tmp_path) != code_of(("dametric/choosing/warm.py",), ROOT), "names are part of it"


def test_best_strengths_and_lists_by_hand() -> None:
    index = pd.MultiIndex.from_tuples(UNITS[:4])
    rng = np.random.default_rng(2)
    losses = pd.DataFrame(rng.normal(size=(4, 12)), index, list(SETTINGS))
    tables = {"oracle": losses, "worst": losses, "silent": losses * np.nan}
    better = {"oracle": "lower", "worst": "higher", "silent": "lower"}
    best = best_strength(losses, tables, better).set_index(["family", "rule"])
    assert set(best.index) == set(itertools.product(FAMILIES, ("middle", "oracle", "worst")))
    for family, strengths in FAMILIES.items():
        own = losses[list(strengths)]
        middle = losses[MIDDLE[family]] - own.min(axis=1)
        assert best.loc[(family, "oracle"), ["best", "regret"]].tolist() == [1.0, 0.0]
        assert best.regret[family, "worst"] == pytest.approx((own.max(axis=1) - own.min(axis=1)).mean())
        assert best.regret[family, "middle"] == pytest.approx(middle.mean())
        assert best.less[family, "oracle"] == pytest.approx(middle.mean())
    worth = practical_worth(losses, tables, better).set_index("rule")
    assert worth.index.tolist() == ["list", "list + oracle", "list + worst"], "a metric without values is left out"
    assert worth.tau["list + oracle"] == pytest.approx(1.0)
    assert worth.regret["list + oracle"] == pytest.approx(0.0)
    assert worth.tau["list + worst"] == pytest.approx(1.0), "its slope is learnt, so its sign does not matter"
    assert worth.regret_gain["list"] == 0
    z = ((losses.T - losses.mean(axis=1)) / losses.std(axis=1)).T
    by_hand = [losses.iloc[k][z.drop(index[k]).mean().idxmin()] - losses.iloc[k].min() for k in range(4)]
    assert worth.regret["list"] == pytest.approx(np.mean(by_hand))


@pytest.fixture
def whole(tmp_path: Path) -> Study:
    """A study with all of its 410 runs, of made-up losses, and all scores but one."""
    rng = np.random.default_rng(0)
    records = tmp_path / "results" / "study"
    (records / "teachers").mkdir(parents=True)
    (records / "scores").mkdir()
    shas = {}
    for name in ("T0", *(f"cifar100-5000-T{number}" for number in range(1, 9))):
        (records / "teachers" / f"{name}.pth").write_bytes(name.encode())
    shas = {name: sha for sha, name in Ledger(records).teachers.items()}
    shutil.copy(RECORDS / "tables" / "simulation.csv", tmp_path)
    lists = dict(zip(SETTINGS, rng.normal(size=12), strict=True))
    for number, run in enumerate(expected()):
        own, (teacher, *rest) = {"test_loss": 3.0, "test_top1": 0.3}, run.key
        if rest:
            student, aug, seed, steps = rest
            loss = 3 + 0.1 * lists[aug] + 0.02 * rng.normal() + 50 / steps
            own = {"test_loss": loss, "test_top1": 1 / loss, "held_out_loss": loss + 0.1, "held_out_top1": 1 / loss}
            recipe = {"aug": aug, "seed": seed, "steps": steps}
            config = {"kind": "distill", "student": student, "recipe": recipe, "teacher": {"sha256": shas[teacher]}}
            folder = records / f"run-{number}"
        else:
            config, folder = {"kind": "train"}, records / "teachers" / f"cifar100-5000-{teacher}.run"
        folder.mkdir()
        clean = {"clean": {"loss": 3.0, "top1": 0.3}}
        timing = {"seconds": 100.0, "finished": "2026-12-01T00:00:00+00:00"}
        record = {"id": str(number), "status": "finished", "config": config, "last": own, "timing": timing}
        (folder / "record.json").write_text(json.dumps({**record, "about": {"teacher": clean}}))
    template = json.loads((RECORDS / "scores" / "T0.json").read_text())
    for number, (teacher, student) in enumerate(dict.fromkeys([*UNITS, ("T1", "")])):
        document = json.loads(json.dumps(template))
        document["config"]["t_confidence"]["value"] = 0.1 * (1 + number)
        (records / "scores" / f"{teacher}.json").write_text(json.dumps(document))
        if student:
            metrics = list(entries.entries())
            codes = {name: entry.code for name, entry in entries.entries().items()}
            value = document["scores"][0]["metrics"]["t_stddev"]
            for row in document["scores"]:
                row["metrics"] = {
                    name: {**value, "value": rng.normal(), "low": -9.0, "high": 9.0, "direction": "open"}
                    for name in metrics
                }
            document["scores"].sort(key=lambda row: row["metrics"][metrics[0]]["value"])
            for row in document["scores"]:
                row["difference"]["to"] = document["scores"][0]["aug"]
            document["config"] |= {"metrics": metrics, "metric_code": codes}
            (records / "scores" / f"{teacher}-{student}.json").write_text(json.dumps(document))
    (records / "tables").mkdir()
    shutil.copy(RECORDS / "tables" / "simulation.csv", records / "tables")
    return Study(records)


def test_of_a_whole_study_every_question_is_answered(whole: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    main(whole.records)
    text = (whole.records.parent / "README.md").read_text(encoding="utf-8")
    drawn = {path.stem for path in (whole.records / "figures").glob("*.png")}
    assert drawn == set(FIGURES) - {"destroyed"}, "of which this study has no scores"
    assert text == Page(Study(whole.records), tuple(name for name in FIGURES if name in drawn)).text()
    unanswered = [line for line in text.splitlines() if "annot answer" in line]
    assert [line.split()[1] for line in unanswered] == ["affinity_loss", "ts_useful", "div_aff"], "which have no scores"
    assert "not an answer" not in text
    assert "strengths: 87 of 87 runs are here" in text
    answers = named_tests(whole)
    assert [each.units for each in answers] == [8, 8, 8]
    assert all(0 < each.p <= each.adjusted <= 1 for each in answers)
    losses = whole.losses()
    assert losses.shape == (8, 12)
    assert losses.index.tolist() == list(UNITS)
    path = whole.records / "scores" / "T4-resnet8.json"
    path.write_text(path.read_text().replace(entries.entries()["ridge_student"].code, "0" * 16))
    refused = named_tests(Study(whole.records))
    assert refused[1].note.startswith("refused: ridge_student: its code (0000000000000000) is newer")
    assert np.isnan([refused[1].p, refused[1].adjusted]).all()
    assert [each.p for each in refused[::2]] == [each.p for each in answers[::2]]
    assert "refused" in Page(Study(whole.records)).text()
    monkeypatch.setattr(
        beyond_list,
        "entries",
        lambda: {
            name: entries.Entry(name, entry.better, date(2026, 12, 2), entry.code, entry.files)
            for name, entry in entries.entries().items()
        },
    )
    assert all("after the first loss" in each.note for each in named_tests(whole))


def test_page_and_tables_are_those_of_the_committed_runs() -> None:
    """Text and numbers come from the same code: after new records or scores, `python -m experiments.study` again."""
    study = Study.of_page()
    figures = [path.stem for path in (RECORDS / "figures").glob("*.png")]
    page = Page(study, tuple(figures))
    assert README.read_text(encoding="utf-8") == page.text(), "run python -m experiments.study"
    for name in figures:
        assert f"study/figures/{name}.png" in page.text()
    for name, table in page.tables.items():
        kept = pd.read_csv(RECORDS / "tables" / f"{name}.csv")
        assert kept.columns.tolist() == table.columns.tolist(), name
        assert len(kept) == len(table), name
