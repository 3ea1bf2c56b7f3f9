"""Accuracy, loss, calibration and agreement against loops over images."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dametric.data import ImageSet
from dametric.training.evaluate import all_finite, calibration_error, evaluate, held_out_logits
from tests.loops import each
from tests.oracles import training as oracle

CPU = torch.device("cpu")


def logits(seed: int, images: int, classes: int, spread: float = 2.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return spread * torch.randn(images, classes, generator=draw, dtype=torch.float64)


@each("spread", [0.1, 1.0, 10.0])
@each(("images", "classes"), [(200, 10), (200, 5), (50, 100), (1, 6), (90, 4), (90, 2), (5, 1)])
def test_every_measure_is_the_loop_over_images(images: int, classes: int, spread: float) -> None:
    ours, teacher = (logits(seed, images, classes, spread) for seed in (0, 1))
    labels = torch.randint(0, classes, (images,), generator=torch.Generator().manual_seed(2))
    expected = oracle.evaluate(ours.numpy(), labels.numpy(), teacher.numpy())
    found = evaluate(ours, labels, teacher)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-10, abs=1e-12), name
    alone = evaluate(ours, labels)
    assert alone == {name: value for name, value in found.items() if name != "agreement"}


def by_sorting(logits: Tensor, labels: Tensor, teacher: Tensor) -> dict[str, float]:
    """Every measure of rows that are sorted whole: the values that ledgers hold, to the bit."""

    def ranked(rows: Tensor) -> Tensor:
        return rows.argsort(dim=1, descending=True, stable=True)

    logits = logits.double()
    best, probabilities = ranked(logits)[:, :5], logits.softmax(1)
    named = ranked(probabilities)[:, 0]
    confidence = probabilities.gather(1, named[:, None])[:, 0]
    bin_ = (confidence * 15).ceil().long().sub(1).clamp(0, 14)
    gap = (named == labels).double() - confidence
    return {
        "loss": float(F.cross_entropy(logits, labels)),
        "top1": float((best[:, 0] == labels).double().mean()),
        "top5": float((best == labels[:, None]).any(1).double().mean()),
        "ece": float(gap.new_zeros(15).index_add_(0, bin_, gap).abs().sum() / len(labels)),
        "agreement": float((best[:, 0] == ranked(teacher)[:, 0]).double().mean()),
    }


@each("piece", [1, 100, 1 << 20])
@each("kind", ["all differ", "ties", "all equal", "differ by a rounding", "float32"])
@each(("images", "classes"), [(1, 1), (700, 2), (300, 4), (999, 5), (1000, 100)])
def test_counting_gives_the_values_of_sorting_to_the_bit(
    images: int, classes: int, kind: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dametric.training.evaluate._PIECE", piece)
    ours, teacher = (logits(seed, images, classes) for seed in (0, 1))
    if kind == "ties":
        ours, teacher = ours.round(), teacher.round()
    elif kind == "all equal":
        ours = torch.zeros_like(ours)
    elif kind == "differ by a rounding":  # their probabilities are equal, and their order by logit is not that of class
        ours = 1 + torch.randint(0, 3, ours.shape, generator=torch.Generator().manual_seed(3)) * 2.0**-52
    elif kind == "float32":
        ours, teacher = ours.float(), teacher.float()
    labels = torch.randint(0, classes, (images,), generator=torch.Generator().manual_seed(2))
    assert evaluate(ours, labels, teacher) == by_sorting(ours, labels, teacher)


@each("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_noticed(value: float) -> None:
    ours = logits(7, 50, 9)
    assert all_finite(ours)
    ours[31, 4] = value
    assert not all_finite(ours)


def test_all_classes_count_where_there_are_fewer_than_five() -> None:
    labels = torch.arange(40) % 4
    assert evaluate(logits(3, 40, 4), labels)["top5"] == 1.0
    assert evaluate(logits(3, 40, 6), labels)["top5"] < 1.0


def test_one_image_may_be_right_among_five_only() -> None:
    one = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]])
    found = [evaluate(one, torch.tensor([label])) for label in range(6)]
    assert [each["top1"] for each in found] == [1, 0, 0, 0, 0, 0]
    assert [each["top5"] for each in found] == [1, 1, 1, 1, 1, 0]


def test_agreement_is_with_the_teacher_and_not_with_labels() -> None:
    ours = torch.eye(3)[[0, 1, 2, 2]]
    teacher = torch.eye(3)[[0, 1, 1, 0]].double() * 9
    assert evaluate(ours, torch.tensor([1, 1, 1, 1]), teacher)["agreement"] == 0.5


@each("classes", [3, 10, 100])
def test_a_network_agrees_with_itself_where_classes_tie(classes: int) -> None:
    draw = torch.Generator().manual_seed(4)
    coarse = torch.randint(0, 2, (300, classes), generator=draw).float()  # most rows have several largest logits
    assert evaluate(coarse, torch.zeros(300, dtype=torch.int64), coarse.clone())["agreement"] == 1.0


def test_single_precision_is_measured_in_double() -> None:
    ours = logits(5, 100, 10).float()
    labels = torch.arange(100) % 10
    assert evaluate(ours, labels) == evaluate(ours.double(), labels)


def test_logits_and_labels_are_not_changed() -> None:
    ours, labels = logits(6, 30, 8), torch.arange(30) % 8
    before = ours.clone(), labels.clone()
    evaluate(ours, labels, ours)
    assert torch.equal(ours, before[0])
    assert torch.equal(labels, before[1])


def confident(values: list[float], classes: int = 40) -> Tensor:
    """Rows whose first class has the probability given; the rest share what is left."""
    rows = [[value, *[(1 - value) / (classes - 1)] * (classes - 1)] for value in values]
    return torch.tensor(rows, dtype=torch.float64)


@each("offset", [0.0, 1e-9, -1e-9])
@each("bins", [15, 10, 20])
def test_confidence_on_an_edge_belongs_to_the_bin_below(bins: int, offset: float) -> None:
    """Every row beside an edge is joined by one, right where it is wrong, in the middle of the bin below."""
    for k in range(1, bins + 1):
        edge = min(k / bins + offset, 1.0)
        rows = confident([edge, (k - 0.5) / bins])
        labels = torch.tensor([1, 0])
        together = edge <= k / bins
        gaps = [-edge, 1 - (k - 0.5) / bins]
        expected = (abs(sum(gaps)) if together else sum(abs(gap) for gap in gaps)) / 2
        assert calibration_error(rows, labels, bins) == pytest.approx(expected, rel=1e-9), k
        assert oracle.calibration_error(rows.numpy(), labels.numpy(), bins) == pytest.approx(expected, rel=1e-9), k


def test_calibration_error_with_confidences_on_all_edges_is_the_loop() -> None:
    values = [k / 15 for k in range(1, 16) for _ in range(3)] + np.linspace(0.03, 1, 50).tolist()
    rows = confident(values)
    labels = (torch.arange(len(values)) % 3).clamp(max=1)
    expected = oracle.calibration_error(rows.numpy(), labels.numpy())
    assert calibration_error(rows, labels) == pytest.approx(expected, rel=1e-12)
    assert expected > 0.01


def test_calibration_error_is_zero_where_confidence_is_accuracy() -> None:
    rows = confident([0.75] * 4 + [0.5] * 2 + [1.0])
    assert calibration_error(rows, torch.tensor([0, 0, 0, 1, 0, 1, 0])) == pytest.approx(0, abs=1e-15)
    assert calibration_error(rows[:4], torch.tensor([1, 1, 1, 1])) == pytest.approx(0.75, rel=1e-12)


def test_held_out_logits_are_those_of_the_network_in_evaluation_mode(
    network: Callable[..., nn.Module], data: ImageSet, teacher: oracle.Teacher
) -> None:
    model = network("dropout")
    for _ in range(3):
        model(oracle.normalised(data.images, data.mean, data.std).float())
    before = copy.deepcopy(model.state_dict())
    plain = copy.deepcopy(model).double().eval()
    for of in ({}, {"mean": teacher.mean, "std": teacher.std}, {"chunk": 5}):
        mean, std = of.get("mean", data.mean), of.get("std", data.std)
        with torch.no_grad():
            expected = plain(oracle.normalised(data.images, mean, std))
        found = held_out_logits(model, data, CPU, torch.float64, **of)
        assert found.dtype == torch.float64
        assert (found - expected).abs().max() < 1e-12
        assert (held_out_logits(model, data, CPU, torch.float32, **of) - expected).abs().max() < 1e-4
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
