"""Which metrics are computed, what they are shown, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dametric
from dametric.errors import UsageError
from dametric.metrics import METRICS, Metric, Observation
from dametric.metrics.base import Contribution
from dametric.scoring import engine

QUICK: dict[str, Any] = {"device": "cpu", "dtype": "float64", "quiet": True, "batch_size": 12, "batches": 20}
OF_AUGS = {name for name, metric in METRICS.items() if not metric.of_teacher}
GUARD = 4  # batches of raw rows


def names(scores: Any) -> set[str]:
    return set(scores.metrics)


def without(need: str) -> set[str]:
    return {name for name in OF_AUGS if need not in METRICS[name].needs}


def test_all_metrics_are_those_that_can_be_computed_and_the_others_have_a_reason(
    teacher, student, data, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = {**QUICK, "quiet": False, "metrics": "all", "batches": 5}
    whole = dametric.score(teacher, data, ["cutmix", "flip"], student=student, **loud)
    assert names(whole) == OF_AUGS
    assert "left out" not in capsys.readouterr().err
    assert all(row["metrics"][name]["direction"] == METRICS[name].direction for row in whole.scores for name in OF_AUGS)
    few = dametric.score(teacher, data.images, ["flip"], **loud)
    assert names(few) == without("student") & without("labels") & without("mixing")
    said = capsys.readouterr().err
    assert "metrics left out, which cannot be computed without a student's output, which student gives: ce_mean" in said
    assert "without labels, which these images do not have: t_nll, t_brier" in said
    assert "without an augmentation that mixes images, such as cutmix: mix_gap" in said
    picked = dametric.score(teacher, data, ["cutmixpick"], student=student, **loud)
    assert names(picked) == {name for name in OF_AUGS if METRICS[name].views == 1}
    assert "of several views of an image beside cutmixpick, which picks images: t_var_label" in capsys.readouterr().err


def test_what_was_asked_for_by_name_and_cannot_be_computed_is_refused(teacher, data) -> None:
    with pytest.raises(UsageError, match="metric mix_gap cannot be computed without an augmentation that mixes"):
        dametric.score(teacher, data, ["flip"], metrics=["mix_gap"], **QUICK)
    with pytest.raises(UsageError, match="metric t_nll cannot be computed without labels"):
        dametric.score(teacher, data.images, ["flip"], metrics=["t_nll"], **QUICK)


def test_a_metric_pays_for_what_it_needs_alone(teacher, student, data) -> None:
    for name in OF_AUGS:
        metric = METRICS[name]
        asks = student if "student" in metric.needs else None
        if "held_out" in metric.needs or metric.less is not None:  # tests/metrics/test_held_out.py
            continue
        scores = dametric.score(teacher, data, ["flip", "mixup"], student=asks, metrics=[name], **QUICK)
        raw = 20 if "raw" in metric.needs else GUARD
        rows = {network: rows // 12 for network, rows in scores.config["rows_forwarded"].items()}
        raw_of_student = 20 if {"raw", "student"} <= metric.needs else 0
        shown = 20 * 2 * metric.views
        assert rows == {"teacher": shown + raw, "student": (shown if asks else 0) + raw_of_student}, name


def test_raw_rows_of_partners_and_of_picked_images_are_those_of_these_images(teacher, data, monkeypatch) -> None:
    shown: list[Observation] = []

    def observe(observation: Observation) -> Contribution:
        shown.append(observation)
        return {"sum": observation.aug[:, 0, 0]}

    needs = frozenset({"raw", "labels", "mixing"})
    watcher = Metric("watcher", observe, lambda total, design: total["sum"], "open", "", "", needs)
    coded = dametric.ImageSet.from_tensors(data.images, torch.arange(len(data)), mean=data.mean, std=data.std)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_AUGMENTED", 1)
        dametric.score(teacher, coded, "mixup", metrics=[watcher], base_aug="identity", chunk=12, **QUICK)
        dametric.score(teacher, coded, "cutmixpick", metrics=[watcher], base_aug="identity", chunk=12, **QUICK)
    assert len(shown) == 40
    known: dict[int, torch.Tensor] = {}
    for each in shown[:20]:
        known |= dict(zip(each.labels.flatten().tolist(), each.raw.flatten(0, 1), strict=True))
    for each in shown:
        pairs = [(each.paired_raw, each.labels), (each.partner_raw, each.partner_labels)]
        for rows, labels in pairs:
            expected = torch.stack([known[label] for label in labels.flatten().tolist()])
            torch.testing.assert_close(rows.flatten(0, 1), expected, rtol=1e-9, atol=1e-12)


def test_large_contributions_are_kept_in_fewer_blocks_with_the_same_value(teacher, data, monkeypatch) -> None:
    options = {**QUICK, "metrics": ["t_nll", "t_cmi"], "batches": 80}
    whole = dametric.score(teacher, data, ["flip"], **options)["flip"]["metrics"]
    monkeypatch.setattr(engine, "_NUMBERS", 100)
    few = dametric.score(teacher, data, ["flip"], **options)["flip"]["metrics"]
    assert whole["t_cmi"]["blocks"] == few["t_nll"]["blocks"] == 80
    assert 16 <= few["t_cmi"]["blocks"] <= 32
    assert few["t_cmi"]["plugin"] == pytest.approx(whole["t_cmi"]["plugin"], rel=1e-12)
    assert few["t_nll"] == whole["t_nll"]
    assert whole["t_cmi"]["se"] / 2 < few["t_cmi"]["se"] < 2 * whole["t_cmi"]["se"]


def test_the_split_of_variance_is_refused_where_partners_are_not_the_next_images(teacher, data) -> None:
    ask: dict[str, Any] = {"metrics": ["t_var_aug"], **QUICK}
    for aug in ("mixup:partner=permutation", "cutmix:partner=derangement"):
        with pytest.raises(UsageError, match=f"t_var_aug cannot be computed beside {aug}, which mixes images with"):
            dametric.score(teacher, data, ["flip", aug], **ask)
    with pytest.raises(UsageError, match="t_var_aug cannot be computed by the reference protocol"):
        dametric.score(teacher, data, ["flip"], protocol="reference", **ask)
    assert dametric.score(teacher, data, ["mixup", "cutmix:p=0.5"], **ask).metrics[0] == "t_var_aug"


def test_labels_of_more_classes_than_the_teacher_has_are_refused_in_one_line(teacher, data) -> None:
    more = dametric.ImageSet.from_tensors(data.images, torch.arange(len(data)) % (data.num_classes + 5))
    for name in ("t_nll", "t_cmi", "t_ece", "t_var_label", "affinity_loss"):
        with pytest.raises(UsageError, match=f"{data.num_classes + 5} classes and the teacher {data.num_classes}"):
            dametric.score(teacher, more, ["flip"], metrics=[name], accuracy=False, **QUICK)


def test_what_is_always_zero_is_known_precisely_and_ends_the_pass(teacher, data) -> None:
    wanted: dict[str, Any] = {**QUICK, "batches": None, "rel_se": 0.2, "max_batches": 200}
    scores = dametric.score(teacher, data, ["identity", "cutmix"], metrics=["t_consistency"], **wanted)
    assert scores.config["rel_se_reached"]
    identity = next(row for row in scores.rows if row.aug == "identity")
    assert identity.metrics["t_consistency"].value == 0
    assert identity.rows is not None
    assert identity.rows < 200 * 12
