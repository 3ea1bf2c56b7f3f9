"""The metrics of single rows, labels and mixtures: each equals a slow loop, and has its null cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from scipy.spatial import distance

from dametric.metrics import METRICS, Design, Observation
from dametric.scoring.jackknife import Blocks, leave_one_out

ROWS = 12


@dataclass(frozen=True)
class Row:
    """One augmented image, as plain numbers."""

    unit: int
    a: np.ndarray
    r: np.ndarray
    s: np.ndarray  # the student's probabilities
    y: int
    other: int | None  # label of the partner
    lam: float
    partner: np.ndarray  # the raw row of the partner
    target: np.ndarray


def simulated(units: int, classes: int, mixed: bool, seed: int = 0) -> tuple[Observation, list[Row]]:
    """Random rows that are surer of their own label, as a metric and as a loop see them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=(units, ROWS))
    lam = rng.random((units, ROWS)) if mixed else np.ones((units, ROWS))

    def answers() -> np.ndarray:
        logits = rng.standard_normal((units, ROWS, classes)) + 2 * np.eye(classes)[labels]
        return special.softmax(logits, -1)

    raw, aug, student = answers(), answers(), answers()
    partner_labels, partner_raw = np.roll(labels, -1, 1), np.roll(raw, -1, 1)
    if mixed:
        aug = lam[..., None] * aug + (1 - lam[..., None]) * np.roll(aug, -1, 1)
    shown: dict[str, Any] = {"raw": raw, "labels": labels, "aug_student": np.log(student)}
    if mixed:
        shown |= {"partner_labels": partner_labels, "lam": lam, "partner_raw": partner_raw}
    rows = [
        Row(
            unit,
            aug[unit, i],
            raw[unit, i],
            student[unit, i],
            int(labels[unit, i]),
            int(partner_labels[unit, i]) if mixed else None,
            float(lam[unit, i]),
            partner_raw[unit, i],
            lam[unit, i] * np.eye(classes)[labels[unit, i]]
            + (1 - lam[unit, i]) * np.eye(classes)[partner_labels[unit, i]],
        )
        for unit in range(units)
        for i in range(ROWS)
    ]
    return Observation(torch.tensor(aug), design=Design(), **{k: torch.tensor(v) for k, v in shown.items()}), rows


def mean(value: Callable[[Row], float]) -> Callable[[Sequence[Row]], float]:
    return lambda rows: math.fsum(value(row) for row in rows) / len(rows)


def agrees(row: Row) -> bool:
    return int(row.r.argmax()) == int(row.a.argmax())


def calibration_error(rows: Sequence[Row]) -> float:
    """15 bins, half open to the left: |sum of confidence - sum of accuracy| of each, over all rows."""
    total = 0.0
    for k in range(15):
        inside = [row for row in rows if k / 15 < row.a.max() <= (k + 1) / 15]
        total += abs(sum(row.a.max() - row.target[row.a.argmax()] for row in inside))
    return total / len(rows)


def conditional_information(rows: Sequence[Row]) -> float:
    """``E_y E KL(a || Q_y)``, every image in each of its classes by its share."""
    total = 0.0
    for y in range(len(rows[0].a)):
        shares = np.array([row.target[y] for row in rows])
        if shares.sum() == 0:
            continue
        centre = sum(share * row.a for share, row in zip(shares, rows, strict=True)) / shares.sum()
        total += sum(share * special.rel_entr(row.a, centre).sum() for share, row in zip(shares, rows, strict=True))
    return float(total / len(rows))


def violates(row: Row) -> bool:
    top = set(np.argsort(-row.a)[:2].tolist())
    return row.y not in top and row.other not in top


def of_batches(covariance: Callable[[np.ndarray], np.ndarray]) -> Callable[[Sequence[Row]], float]:
    def value(rows: Sequence[Row]) -> float:
        batches = [[row for row in rows if row.unit == unit] for unit in sorted({row.unit for row in rows})]
        matrices = [covariance(np.array([*(row.r for row in b), *(row.a for row in b)])) for b in batches]
        return float(np.mean([matrix.mean() for matrix in matrices]))

    return value


ORACLES: dict[str, Callable[[Sequence[Row]], float]] = {
    "t_consistency": mean(lambda row: distance.jensenshannon(row.r, row.a) ** 2),
    "t_agree": mean(agrees),
    "t_ei": mean(lambda row: math.sqrt(row.r.max() * row.a.max()) if agrees(row) else 0.0),
    "t_nll": mean(lambda row: -sum(t * math.log(a) for t, a in zip(row.target, row.a, strict=True))),
    "t_brier": mean(lambda row: sum((a - t) ** 2 for t, a in zip(row.target, row.a, strict=True))),
    "t_ece": calibration_error,
    "t_cmi": conditional_information,
    "order_violation": mean(violates),
    "mix_gap": mean(lambda row: np.abs(row.a - row.lam * row.r - (1 - row.lam) * row.partner).sum()),
    "ts_gap": mean(lambda row: float(row.target @ (np.log(row.a) - np.log(row.s)))),
    "ts_kl": mean(lambda row: special.rel_entr(row.a, row.s).sum()),
    "ts_useful": mean(
        lambda row: special.rel_entr(row.a, row.s).sum() * (1 - special.entr(row.a).sum() / math.log(len(row.a)))
    ),
    "t_cov_rows": of_batches(np.cov),
    "t_cov_classes": of_batches(lambda rows: np.cov(rows.T)),
}
ZERO_OF_A_PERFECT_TEACHER = (
    "t_consistency",
    "t_nll",
    "t_brier",
    "t_ece",
    "t_cmi",
    "order_violation",
    "mix_gap",
    "ts_gap",
    "ts_kl",
)


def reduced(name: str, observation: Observation) -> float:
    metric = METRICS[name]
    blocks = Blocks(metric.observe(observation), *torch.ones(2, len(observation.aug)).long())
    return float(leave_one_out(blocks, metric, Design())[0])


def test_every_metric_equals_a_slow_loop_and_every_deleted_value_too() -> None:
    for mixed in (False, True):
        for seed, (units, classes) in enumerate([(7, 4), (3, 2), (5, 30)]):
            observation, rows = simulated(units, classes, mixed, seed)
            for name, oracle in ORACLES.items():
                metric, said = METRICS[name], (name, mixed, classes)
                blocks = Blocks(metric.observe(observation), *torch.ones(2, units).long())
                theta, deleted = leave_one_out(blocks, metric, Design())
                assert float(theta) == pytest.approx(oracle(rows), rel=1e-9, abs=1e-15), said
                without = [oracle([row for row in rows if row.unit != unit]) for unit in range(units)]
                assert deleted.tolist() == pytest.approx(without, rel=1e-9, abs=1e-15), said


def test_contributions_are_float64_and_add_and_nothing_to_divide_by_is_nan() -> None:
    observation, _ = simulated(6, 5, True)
    for name in ORACLES:
        metric = METRICS[name]
        whole = metric.observe(observation)
        for unit in range(6):
            one = Observation(
                **{
                    key: value[unit : unit + 1] if isinstance(value, torch.Tensor) else value
                    for key, value in vars(observation).items()
                }
            )
            for key, values in metric.observe(one).items():
                torch.testing.assert_close(values[0], whole[key][unit], rtol=1e-13, atol=1e-15)
                assert values.dtype == torch.float64, (name, key)
        nothing = {key: torch.zeros_like(values[0]) for key, values in whole.items()}
        assert bool(metric.reduce(nothing, Design()).isnan()), name


def test_a_teacher_that_is_sure_and_right_has_no_loss_and_an_ignorant_one_the_known_one() -> None:
    observation, _ = simulated(4, 6, False)
    assert observation.labels is not None
    sure = torch.nn.functional.one_hot(observation.labels, 6).double()
    perfect = replace(observation, aug=sure, raw=sure, aug_student=sure.clamp(min=1e-300).log())
    for name in ZERO_OF_A_PERFECT_TEACHER:
        assert reduced(name, perfect) == pytest.approx(0, abs=1e-12), name
    for name in ("t_agree", "t_ei"):
        assert reduced(name, perfect) == 1, name
    flat = torch.full_like(sure, 1 / 6)
    ignorant = replace(observation, aug=flat, raw=flat, aug_student=flat.log())
    expected = {"t_nll": math.log(6), "t_brier": 5 / 6, "t_cmi": 0, "t_consistency": 0, "ts_kl": 0, "t_ei": 1 / 6}
    for name, value in expected.items():
        assert reduced(name, ignorant) == pytest.approx(value, abs=1e-12), name
    assert reduced("t_consistency", replace(perfect, aug=sure.roll(1, -1))) == pytest.approx(math.log(2), rel=1e-12)
    assert reduced("t_nll", replace(perfect, aug=sure.roll(1, -1))) == pytest.approx(708.4, abs=0.1)  # finite


def test_a_linear_teacher_has_no_gap_to_its_mixture_and_mixed_labels_are_what_they_are_mixed_of() -> None:
    observation, _ = simulated(4, 6, True)
    raw, lam = observation.paired_raw, observation.lam
    assert lam is not None
    assert observation.partner_raw is not None
    linear = replace(observation, aug=lam[..., None] * raw + (1 - lam[..., None]) * observation.partner_raw)
    assert reduced("mix_gap", linear) == pytest.approx(0, abs=1e-12)
    picked = replace(observation, raw=raw.roll(3, 1), own_raw=raw)  # rows of a pick are not in the order of the batch
    for name in ("t_consistency", "t_agree", "t_ei", "mix_gap"):
        assert reduced(name, picked) == reduced(name, observation), name


def test_a_label_of_which_nothing_is_in_the_image_is_no_excuse() -> None:
    answer = torch.tensor([[[0.6, 0.3, 0.1, 0.0]] * 4]).double()
    observation = Observation(
        aug=answer,
        raw=None,
        design=Design(),
        labels=torch.tensor([[3, 3, 0, 0]]),
        partner_labels=torch.tensor([[0, 0, 3, 3]]),
        lam=torch.tensor([[1.0, 0.9, 1.0, 0.0]]).double(),
    )
    blocks = METRICS["order_violation"].observe(observation)
    assert float(blocks["sum"]) == 2, "the first is all of class 3, the last is all of its partner"
