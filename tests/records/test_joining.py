"""Scores joined with students: who is counted, and what the means and errors are."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from dametric import UsageError, join
from dametric.metrics import METRICS
from dametric.records.joining import STUDENT_METRICS, left_out, study
from dametric.records.recipes import SETTING, chosen, differences
from dametric.records.runs import load_runs, run_id
from dametric.records.scores import Scores
from dametric.reports.figures import render, students_chart, students_figure

DEMO = Path(__file__).resolve().parents[2] / "experiments" / "results" / "digits" / "demo"
LOSSES = {"cutmix": [0.5, 0.7, 0.6], "flip": [0.9, 1.0, 0.8], "mixup": [0.8]}


@pytest.fixture
def scores() -> Scores:
    values = {"cutmix": 0.01, "mixup": 0.02, "flip": 0.03, "cutout": 0.04}
    rows: list[dict[str, Any]] = []
    for name, value in values.items():
        metric = {"value": value, "se": value / 10, "low": 0.0, "high": 1.0, "direction": "lower"}
        row = {"aug": name, "metrics": {"t_stddev": metric, "t_entropy": {**metric, "value": 1 - value}}}
        gap = {"to": "cutmix", "value": 0.0, "se": 0.0, "low": 0.0, "high": 0.0}
        rows.append({**row, "difference": gap, "tied_with_best": False, "parameters": [], "rows": 64})
    return Scores(rows, {"metrics": ["t_stddev", "t_entropy"], "teacher": {"sha256": "abc"}}, {})


def run(aug: str, seed: int, loss: float, **more: Any) -> dict[str, Any]:
    usual = {"status": "finished", "kind": "distill", "teacher_sha256": "abc", "student": "resnet8"}
    return {**usual, "aug": aug, "seed": seed, "test_loss": loss, "test_top1": 1 - loss / 2, **more}


@pytest.fixture
def runs() -> pd.DataFrame:
    good = [run(aug, seed, loss) for aug, losses in LOSSES.items() for seed, loss in enumerate(losses)]
    others = [
        run("cutmix", 3, 9.0, status="failed"),
        run("cutmix", 4, 9.0, status="interrupted"),
        run("cutmix", 5, 9.0, teacher_sha256="of another teacher"),
        run("cutmix", 6, 9.0, kind="train", teacher_sha256=None),
        run("autoaugment", 0, 9.0),
    ]
    return pd.DataFrame(good + others)


def test_only_finished_students_of_the_scored_teacher_count_best_score_first(
    scores: Scores, runs: pd.DataFrame
) -> None:
    joined = join(scores, runs)
    assert list(joined["aug"]) == ["cutmix", "mixup", "flip"]
    assert list(joined["seeds"]) == [3, 1, 3]
    assert list(joined["score"]) == [0.01, 0.02, 0.03]
    assert list(joined["score_se"]) == pytest.approx([0.001, 0.002, 0.003])


def test_means_and_standard_errors_over_seeds(scores: Scores, runs: pd.DataFrame) -> None:
    joined = join(scores, runs).set_index("aug")
    for aug in ("cutmix", "flip"):
        losses = np.array(LOSSES[aug])
        assert joined["test_loss"][aug] == pytest.approx(losses.mean())
        assert joined["test_loss_se"][aug] == pytest.approx(losses.std(ddof=1) / math.sqrt(3))
        assert joined["test_top1"][aug] == pytest.approx((1 - losses / 2).mean())
        assert joined["test_top1_se"][aug] == pytest.approx((losses / 2).std(ddof=1) / math.sqrt(3))
    assert math.isnan(joined["test_loss_se"]["mixup"])


def test_another_metric_and_students_of_several_architectures(scores: Scores, runs: pd.DataFrame) -> None:
    more = pd.concat([runs, pd.DataFrame([run("flip", 0, 2.0, student="another")])], ignore_index=True)
    joined = join(scores, more, "t_entropy")
    assert list(joined["student"]) == ["another", "resnet8", "resnet8", "resnet8"]
    assert list(joined["score"]) == [0.97, 0.99, 0.98, 0.97]


def test_a_score_file_that_does_not_name_its_teacher_takes_all_of_one_teacher(
    scores: Scores, runs: pd.DataFrame
) -> None:
    """As of a network in memory, whose checksum is no hash that a run knows."""
    anonymous = Scores(scores.scores, {"metrics": scores.metrics, "checksums": {"teacher": 7}}, {})
    single = runs[runs.teacher_sha256 != "of another teacher"]
    assert join(anonymous, single).set_index("aug")["seeds"]["cutmix"] == 3
    for joined in (lambda: join(anonymous, runs), lambda: study([anonymous], runs)):
        with pytest.raises(UsageError, match=r"of several: abc, of another.*only teacher_sha256=abc\*"):
            joined()
    assert set(chosen(runs, ["teacher_sha256=abc*"]).teacher_sha256) == {"abc"}


def test_what_cannot_be_joined(scores: Scores, runs: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="t_gini"):
        join(scores, runs, "t_gini")
    with pytest.raises(UsageError, match="both scored and distilled"):
        join(scores, runs[runs["aug"] == "autoaugment"])


def test_the_chart_has_a_named_point_with_both_errors_for_each_augmentation(scores: Scores, runs: pd.DataFrame) -> None:
    joined = join(scores, runs)
    axes = Figure().subplots()
    assert students_chart(joined, axes, "t_stddev") is axes
    assert [container.get_label() for container in axes.containers] == list(joined["aug"])
    for container, row in zip(axes.containers, joined.to_dict("records"), strict=True):
        line, _, bars = container
        assert (line.get_xdata()[0], line.get_ydata()[0]) == (row["score"], row["test_loss"])
        (left, right), (bottom, top) = (bars[0].get_segments()[0][:, 0], bars[1].get_segments()[0][:, 1])
        assert (right - left) / 2 == pytest.approx(row["score_se"])
        assert (top - bottom) / 2 == pytest.approx(0 if math.isnan(row["test_loss_se"]) else row["test_loss_se"])
    assert "t_stddev" in axes.get_xlabel()
    assert "test loss" in axes.get_ylabel()


def test_one_panel_a_student(scores: Scores, runs: pd.DataFrame) -> None:
    more = pd.concat([runs, pd.DataFrame([run("flip", 0, 2.0, student="another")])], ignore_index=True)
    figure = students_figure(join(scores, more), "t_stddev", "a title with $dollars$ and _underscores_")
    assert [axes.get_title() for axes in figure.axes] == ["another", "resnet8"]
    shapes = [{bars.get_label(): bars.lines[0].get_marker() for bars in axes.containers} for axes in figure.axes]
    assert shapes[0].items() <= shapes[1].items()
    named = {key.get_label(): key.get_marker() for key in figure.legends[0].legend_handles if key is not None}
    assert named == shapes[1]
    assert render(figure, "svg").startswith(b"<?xml")


def shows(scores: Scores, student: str | None, sha256: str = "abc") -> Scores:
    about = {"teacher": {"arch": "big", "sha256": sha256}, "data": {"name": "digits"}}
    shown = {} if student is None else {"student": {"arch": student}}
    return Scores(scores.scores, {**scores.config, **about, **shown}, {})


def units(*files: Scores, runs: pd.DataFrame) -> set[str]:
    return set(study(list(files), runs)["unit"])


def test_files_that_show_students_speak_of_those(scores: Scores, runs: pd.DataFrame) -> None:
    both = pd.concat([runs, runs.assign(student="wrn_16_1")])
    one, other, none = (shows(scores, name) for name in ("resnet8", "wrn_16_1", None))
    first, second = "big -> resnet8, digits", "big -> wrn_16_1, digits"
    table = study([one, other], both)
    assert units(one, other, runs=both) == {first, second}
    assert not table.duplicated(["unit", "metric", "aug"]).any()
    assert units(none, runs=both) == units(one, runs=both) == {first, second}
    assert units(one, other, none, runs=both) == {first, second}
    another = shows(scores, "resnet8", "of another teacher")
    theirs = {f"big #2 -> {student}, digits" for student in ("resnet8", "wrn_16_1")}  # nobody else speaks of the second
    assert units(one, other, another, runs=both) == {first, second} | theirs


def test_students_of_several_numbers_of_epochs_are_not_averaged(scores: Scores, runs: pd.DataFrame) -> None:
    same = runs.assign(epochs=240)
    assert set(join(scores, same)["student"]) == {"resnet8"}
    longer = pd.concat([same, same.assign(epochs=960, test_loss=same["test_loss"] - 0.1)])
    joined = join(scores, longer)
    assert set(joined["student"]) == {"resnet8 (240 epochs)", "resnet8 (960 epochs)"}
    losses = joined[joined["aug"] == "cutmix"].set_index("student")["test_loss"]
    assert losses["resnet8 (240 epochs)"] == pytest.approx(0.6)
    assert losses["resnet8 (960 epochs)"] == pytest.approx(0.5)
    files = [shows(scores, "resnet8"), shows(scores, "wrn_16_1")]
    assert units(*files, runs=longer) == {f"big -> resnet8 ({n} epochs), digits" for n in (240, 960)}


def test_a_pair_has_a_key_whatever_its_name_and_rows_know_their_file(scores: Scores, runs: pd.DataFrame) -> None:
    gap = {"to": "cutmix", "value": 0.01, "se": 0.002, "low": 0.006, "high": 0.014}
    rows = [{**row, "difference": gap, "tied_with_best": row["aug"] == "mixup"} for row in scores.scores]
    first, second = shows(Scores(rows, scores.config, {}), None), shows(scores, None, "def")
    warm = runs.assign(epochs=240, lr=0.05)
    close = warm.assign(lr=0.05 + 1e-9, test_loss=warm["test_loss"] + 1)
    other = warm.assign(teacher_sha256=warm["teacher_sha256"].replace("abc", "def"))
    table = study([first, second], pd.concat([warm, close, other], ignore_index=True))
    keys = table.groupby("unit")["pair"].unique().map(list).to_dict()
    assert keys == {
        "big -> resnet8 lr=0.05, digits": ["abc/resnet8 lr=0.05/digits"],
        "big -> resnet8 lr=0.050000001, digits": ["abc/resnet8 lr=0.050000001/digits"],
        "big #2 -> resnet8, digits": ["def/resnet8/digits"],
    }, "values that a short name does not tell apart are not averaged"
    alone = study([second], pd.concat([warm, other], ignore_index=True))
    assert set(alone["pair"]) == {"def/resnet8/digits"}
    assert set(alone["unit"]) == {"big -> resnet8, digits"}, "the name depends on what else is joined, the key does not"
    assert table.groupby("unit")["file"].unique().map(list).to_dict()["big #2 -> resnet8, digits"] == [1]
    own = table[(table["file"] == 0) & (table["metric"] == "t_stddev")]
    assert set(own["difference"]) == {0.01}
    assert set(own["difference_se"]) == {0.002}
    assert set(own["aug"][own["tied_with_best"]]) == {"mixup"}
    rest = table[table["metric"] == "t_entropy"]
    assert rest[["difference", "difference_se", "tied_with_best"]].isna().all(axis=None)


def test_students_of_several_recipes_are_not_averaged(scores: Scores, runs: pd.DataFrame) -> None:
    same = runs.assign(epochs=240, temperature=4.0, lr=0.05, views=None)
    warm = same.assign(temperature=1.0, test_loss=same["test_loss"] + 1)
    longer = same[same["aug"] == "flip"].assign(epochs=960, test_loss=0.25)
    joined = join(scores, pd.concat([same, warm]))
    assert set(joined["student"]) == {"resnet8 (temperature 4)", "resnet8 (temperature 1)"}
    losses = joined[joined["aug"] == "cutmix"].set_index("student")["test_loss"]
    assert losses["resnet8 (temperature 4)"] == pytest.approx(0.6)
    assert losses["resnet8 (temperature 1)"] == pytest.approx(1.6)
    assert set(joined["seeds"]) == {3, 1}, "as many as each has"
    three = join(scores, pd.concat([same, warm, longer])).set_index(["student", "aug"])["test_loss"]
    assert three["resnet8 (960 epochs, temperature 4)", "flip"] == 0.25
    assert three["resnet8 (240 epochs, temperature 4)", "flip"] == pytest.approx(0.9)
    files = [shows(scores, "resnet8"), shows(scores, "wrn_16_1")]
    assert units(*files, runs=pd.concat([same, warm])) == {f"big -> resnet8 (temperature {t}), digits" for t in (1, 4)}


def test_what_runs_differ_in_is_said_in_order(runs: pd.DataFrame) -> None:
    same = runs.assign(epochs=240, temperature=4.0, per="sample")
    assert differences(same) == {}
    assert differences(runs) == {}, "a table from elsewhere, without options"
    more = pd.concat([same, same.assign(temperature=10.0), same.assign(per="batch", epochs=30)])
    assert differences(more) == {"epochs": ["30", "240"], "temperature": ["4", "10"], "per": ["batch", "sample"]}
    failed = pd.concat([same, same.assign(temperature=10.0, status="failed")])
    other = same.assign(temperature=1.0, student="resnet20")
    assert differences(failed) == differences(pd.concat([same, other])) == {}


def test_runs_are_chosen_by_their_options(runs: pd.DataFrame) -> None:
    same = runs.assign(epochs=240, temperature=4.0, lr=5e-4, nesterov=False)
    both = pd.concat([same, same.assign(temperature=0.5)])
    assert set(chosen(both, ["temperature=4"])["temperature"]) == {4.0}
    assert len(chosen(both, ["temperature=4", "temperature=0.5"])) == len(chosen(both, [])) == len(both)
    assert set(chosen(both, ["aug=cut*", "seed=0", "lr=0.0005", "nesterov=False"])["aug"]) == {"cutmix"}
    for wrong, words in (
        ("temperature", "KEY=PATTERN"),
        ("temprature=4", "temperature"),
        ("temperature=5", "temperature is 0.5, 4 here"),
        ("student=wrn*", "student is resnet8 here"),
    ):
        with pytest.raises(UsageError, match=words):
            chosen(both, [wrong])


def test_students_of_other_images_are_not_joined(scores: Scores, runs: pd.DataFrame) -> None:
    """The same teacher at another size, or on other data, makes other students."""
    config = {**scores.config, "data": {"name": "/here/digits"}, "image_size": 16}
    about = Scores(scores.scores, config, {})
    same = runs.assign(data="/there/digits", image_size=16)
    larger = same.assign(image_size=32, test_loss=same["test_loss"] + 7)
    others = same.assign(data="svhn", test_loss=same["test_loss"] + 7)
    expected = join(scores, runs)
    for more in ([same], [same, larger], [others, same], [larger, same, others]):
        pd.testing.assert_frame_equal(join(about, pd.concat(more, ignore_index=True)), expected)
    for kept in (runs, runs.assign(data="digits"), runs.assign(data=None, image_size=None)):
        pd.testing.assert_frame_equal(join(about, kept), expected)  # what is not known is no difference
    line = "digits of 16 pixels was scored, /there/digits of 32 pixels was distilled with"
    for joined in (lambda: join(about, larger), lambda: study([about], larger)):
        with pytest.raises(UsageError, match=f"on the same images: {line}"):
            joined()
    assert set(study([about], pd.concat([same, larger]))["student"]) == {"resnet8"}


def test_what_asks_a_student_is_said_of_that_student(scores: Scores, runs: pd.DataFrame) -> None:
    assert {name for name, metric in METRICS.items() if "student" in metric.needs} == {
        name for name in METRICS if name.startswith(STUDENT_METRICS)
    }
    pick = "cutmixpick:by=student_entropy"
    rows = [
        {**row, "aug": pick if row["aug"] == "flip" else row["aug"]}
        | {"metrics": row["metrics"] | {"ce_mean": row["metrics"]["t_stddev"]}}
        for row in scores.scores
    ]
    config = {"metrics": ["t_stddev", "ce_mean"], "teacher": {"sha256": "abc"}, "data": {"name": "digits"}}
    file = Scores(rows, {**config, "student": {"arch": "resnet8"}}, {})
    own = runs.assign(aug=runs["aug"].replace("flip", pick))
    both = pd.concat([own, own.assign(student="wrn_16_1")])
    for metric, theirs in (("t_stddev", {"cutmix", "mixup"}), ("ce_mean", set())):
        joined = join(file, both, metric)
        assert set(joined[joined["student"] == "resnet8"]["aug"]) == {"cutmix", "mixup", pick}
        assert set(joined[joined["student"] == "wrn_16_1"]["aug"]) == theirs
    unshown = Scores(rows, config, {})
    assert len(join(unshown, both, "ce_mean")) == 6, "a file that does not say which student it showed"


@pytest.mark.parametrize("metric", ["ts_useful", "grad_align", "ridge_student", "branch_loss"])
def test_scores_of_a_warm_student_speak_of_its_architecture_alone(
    scores: Scores, runs: pd.DataFrame, metric: str
) -> None:
    rows = [{**row, "metrics": {metric: {**row["metrics"]["t_stddev"], "student": "xx"}}} for row in scores.scores]
    for arch, joins in (("resnet8", True), ("wrn_16_1", False)):
        config = {**scores.config, "metrics": [metric], "warm_student": {"arch": arch, "sha256": "xx", "steps": 300}}
        if joins:
            assert list(join(Scores(rows, config, {}), runs).aug) == ["cutmix", "mixup", "flip"]
        else:
            with pytest.raises(UsageError, match="no augmentation was both scored and distilled"):
                join(Scores(rows, config, {}), runs)


# Ledgers of records, whose configurations say all that a result depends on


def record(aug: str, seed: int, loss: float | None, status: str = "finished", **config: Any) -> dict[str, Any]:
    """The demonstration's record of flip with another augmentation, seed and loss, and other parts of the config."""
    path = next((DEMO / "runs").glob("*-flip-s0-*")) / "record.json"
    document: dict[str, Any] = copy.deepcopy(json.loads(path.read_text(encoding="utf-8")))
    own = document["config"]
    own["recipe"] |= {"aug": aug, "seed": seed}
    own["operations"] = {"base_aug": "crop+flip", "aug": aug}
    for name, value in config.items():
        own[name] = {**own.get(name, {}), **value} if isinstance(value, Mapping) else value
    document["last"] |= {"test_loss": loss}
    return document | {"status": status, "id": run_id(own)}


def ledger(folder: Path, *records: dict[str, Any]) -> pd.DataFrame:
    for document in records:
        (folder / document["id"]).mkdir(parents=True)
        (folder / document["id"] / "record.json").write_text(json.dumps(document), encoding="utf-8")
    return load_runs(folder)


SCORED = Scores.read(DEMO / "scores.json")
OTHER_SETTINGS: dict[str, dict[str, Any]] = {
    "test_data": {"data": {"test": "d" * 64}},
    "code": {"user_code": {"weights": "f" * 64}},
    "other": {"std": [0.5, 0.5, 0.5]},
}


def test_a_setting_is_one_whatever_the_augmentation_and_the_seed(tmp_path: Path) -> None:
    code = {"user_code": {"a.py:fog": "1"}, "versions": {"untouched rows": 2}}
    blended = {"versions": {"rrc": 2, "cutmix": 2}}
    records = [record("flip", 0, 1.0), record("flip", 1, 2.0), record("oneof(flip,a.py:fog)", 0, 1.0, **code)]
    runs = ledger(tmp_path, *records, record("cutmixpick:by=teacher_entropy+rrc", 1, 1.0, **blended))
    assert runs[list(SETTING)].nunique().tolist() == [1] * len(SETTING)
    assert runs.aug_code.notna().sum() == runs.aug_code.nunique() == 2
    assert differences(runs) == {}
    demo = load_runs(DEMO / "runs")
    assert demo[list(SETTING)].nunique().tolist() == [1] * len(SETTING)
    assert not left_out([SCORED], demo[demo.aug.isin(row.aug for row in SCORED.rows)])


@pytest.mark.parametrize("column", OTHER_SETTINGS)
def test_runs_of_another_setting_are_students_of_their_own(tmp_path: Path, column: str) -> None:
    other = OTHER_SETTINGS[column]
    runs = ledger(tmp_path, record("flip", 0, 1.0), record("flip", 1, 3.0, **other), record("cutmix", 0, 4.0, **other))
    joined = join(SCORED, runs).set_index(["student", "aug"])
    assert sorted(joined.test_loss) == [1.0, 3.0, 4.0]
    assert all(name.startswith(f"resnet8 ({column} ") for name, _ in joined.index)
    assert list(differences(runs)) == [column]
    value = runs[column].iloc[0]
    assert len(join(SCORED, chosen(runs, [f"{column}={value}"]))) == (runs[column] == value).sum()


def test_what_a_recipe_does_not_tell_of_the_code_and_the_teacher_is_told(tmp_path: Path) -> None:
    """Any key of a configuration counts, also one that is not known today."""
    changes: tuple[dict[str, Any], ...] = (
        {"versions": {"order": 2}},
        {"user_code": {"terms.py:mine": "1"}},
        {"user_code": {"crop+flip": "1"}},
        {"teacher": {"output": "probabilities"}},
        {"recipe": {"warmth": 3}},
        {"news": {"of": "tomorrow"}},
    )
    for number, change in enumerate(changes):
        runs = ledger(tmp_path / str(number), record("flip", 0, 1.0), record("flip", 1, 3.0, **change))
        assert sorted(join(SCORED, runs).test_loss) == [1.0, 3.0], change


def test_the_teacher_that_was_scored_is_normalised_as_it_was_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = {"teacher": {"mean": [0.0] * 3, "std": [1.0] * 3}}
    half = {"teacher": {"mean": [0.5] * 3, "std": [1.0] * 3}}
    runs = ledger(tmp_path, record("flip", 0, 1.0), record("flip", 0, 9.0, **bare), record("flip", 0, 4.0, **half))
    assert join(SCORED, runs).test_loss.tolist() == [1.0]
    assert "2 runs with a teacher that was normalised otherwise than when it was scored" in capsys.readouterr().err
    joined = join(SCORED, runs[runs["mean"].isin(["0", "0.5"])])
    assert joined.set_index("student").test_loss.to_dict() == {"resnet8 (mean 0)": 9.0, "resnet8 (mean 0.5)": 4.0}
    assert "the teacher of all these runs was normalised otherwise" in capsys.readouterr().err


def test_images_of_another_folder_of_the_same_name_are_not_joined(tmp_path: Path) -> None:
    other = {"data": {"train": "c" * 64}}
    runs = ledger(tmp_path, record("flip", 0, 1.0), record("flip", 1, 3.0, **other))
    assert join(SCORED, runs).test_loss.tolist() == [1.0]
    assert any("1 run of other images of the name digits" in line for line in left_out([SCORED], runs))
    with pytest.raises(UsageError, match=r"on the same images: digits \(fingerprint 6dfbe6d3.*\(fingerprint cccc"):
        join(SCORED, runs[runs.seed == 1])
    part = runs.assign(train_images=runs.train_images.where(runs.seed == 0, 100))
    assert sorted(join(SCORED, part).test_loss) == [1.0, 3.0], "fewer may be a part of those that were scored"


def test_an_augmentation_whose_code_was_edited_is_refused(tmp_path: Path) -> None:
    spec = "a.py:fog:strength=2"
    scored = copy.deepcopy(SCORED.scores)
    scored[0]["aug"] = spec
    file = Scores(scored, SCORED.config, {})
    edited = record(spec, 1, 3.0, user_code={spec: "2"})
    runs = ledger(tmp_path, record(spec, 0, 1.0, user_code={spec: "1"}), edited, record("flip", 0, 1.0))
    with pytest.raises(UsageError, match=rf"code of {spec} was edited between runs of resnet8.*{edited['id']}"):
        join(file, runs)
    assert len(join(file, runs[runs.id != edited["id"]])) == 2


def test_an_augmentation_is_the_same_however_it_is_spelt(tmp_path: Path) -> None:
    operations = {"operations": {"aug": "cutmix"}}
    runs = ledger(tmp_path, record("cutmix:alpha=1", 0, 1.0, **operations), record("cutmix", 1, 3.0, **operations))
    assert join(SCORED, runs)[["aug", "test_loss", "seeds"]].values.tolist() == [["cutmix", 2.0, 2]]
    rows = copy.deepcopy(SCORED.scores)
    row = next(row for row in rows if row["aug"] == "cutmix")
    row["aug"] = "cutmix:alpha=1"
    joined = join(Scores(rows, SCORED.config, {}), runs)
    assert joined[["aug", "test_loss"]].values.tolist() == [["cutmix:alpha=1", 2.0]], "as the ledger knows"
    row |= {"aug": "cutmix:alpha=1.0", "aug_spelling": "cutmix"}
    assert join(Scores(rows, SCORED.config, {}), runs).aug.tolist() == ["cutmix:alpha=1.0"]


def test_what_is_left_out_is_counted_and_said(tmp_path: Path) -> None:
    records = [record("flip", seed, loss) for seed, loss in enumerate((1.0, 3.0, None))]
    records += [record("flip", 3, 9.0, "failed"), record("blur", 0, 1.0), record("mixup", 0, None)]
    runs = ledger(tmp_path, *records)
    joined = join(SCORED, runs).set_index("aug")
    assert joined.loc["flip", ["test_loss", "seeds"]].tolist() == [2.0, 2]
    assert math.isnan(joined.test_loss["mixup"])
    lines = left_out([SCORED, SCORED], runs)
    assert lines[0] == "left out: 1 run not finished (flip seed 3 failed)"
    assert lines[1].startswith("left out: 2 runs without a test loss")
    assert lines[1].endswith("(flip seed 2, mixup seed 0)")
    assert lines[2].startswith("left out: augmentations scored but not distilled (")
    assert lines[2].endswith("and distilled but not scored (blur)")
    assert len(lines) == 3
