"""Scores joined with students: who is counted, and what the means and errors are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from dametric import UsageError, join
from dametric.metrics import METRICS
from dametric.records.joining import STUDENT_METRICS, study
from dametric.records.recipes import chosen, differences
from dametric.records.scores import Scores
from dametric.reports.figures import render, students_chart, students_figure

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


def test_a_score_file_that_does_not_name_its_teacher_takes_all(scores: Scores, runs: pd.DataFrame) -> None:
    anonymous = Scores(scores.scores, {"metrics": scores.metrics}, {})
    assert join(anonymous, runs).set_index("aug")["seeds"]["cutmix"] == 4


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
