"""Every metric equals a plain loop on random rows; contributions add; nothing divides by zero."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from dametric.metrics import METRICS, Design, Observation
from dametric.scoring.jackknife import Blocks, leave_one_out
from tests.loops import each
from tests.oracles import estimator as oracle

DESIGNS = [
    Design(estimator, images=48, unit=12, lag=lag, raw_weight=w, pooled=pooled)
    for estimator, lag, w, pooled in itertools.product(("images", "units"), (0, 1), (0.0, 0.3, 0.5), (False, True))
]
DESIGNS += [Design("units", images=48, unit=12, lag=1, raw_weight=w, controlled=True) for w in (0.0, 0.3, 0.5)]
KINDS = [
    Design("images", images=48, unit=12),
    *(Design("units", images=48, unit=12, controlled=c) for c in (False, True)),
]


def plan(design: Design) -> oracle.Plan:
    return oracle.Plan(
        design.estimator,
        design.images,
        design.unit,
        design.lag,
        design.raw_weight,
        design.pooled,
        design.controlled,
    )


def value(name: str, units: list[oracle.Unit], design: Design, observed) -> float:
    metric = METRICS[name]
    contribution = metric.observe(observed(units, design))
    blocks = Blocks(contribution, torch.ones(len(units)).long(), torch.tensor([unit.epoch for unit in units]))
    return float(leave_one_out(blocks, metric, design)[0])


def test_the_metrics_are_there_with_their_stated_directions() -> None:
    assert {name: metric.direction for name, metric in METRICS.items()} == {
        "t_stddev": "lower",
        "t_stddev_rms": "lower",
        "t_stddev_aug": "lower",
        "t_entropy": "higher",
        "t_gini": "higher",
        "t_conf": "lower",
        "information_kept": "open",
        "t_consistency": "open",
        "t_agree": "open",
        "t_ei": "open",
        "t_nll": "lower",
        "t_brier": "lower",
        "t_ece": "lower",
        "t_cmi": "higher",
        "order_violation": "lower",
        "mix_gap": "open",
        "t_cov_rows": "lower",
        "t_cov_classes": "open",
        "t_var_label": "open",
        "t_var_image": "open",
        "t_var_aug": "open",
        "t_var_shared": "open",
        "t_confidence": "open",
        "affinity_acc": "higher",
        "affinity_loss": "lower",
        "div_aff": "higher",
        "ce_mean": "open",
        "ce_std": "open",
        "ce_cov": "lower",
        "ce_std_within": "open",
        "ce_std_between": "open",
        "ts_gap": "higher",
        "ts_kl": "higher",
        "ts_useful": "higher",
    }
    assert all(metric.name == name and metric.summary and metric.reference for name, metric in METRICS.items())


def test_needs_are_no_more_than_the_definitions_ask_for() -> None:
    needs = {name: set(metric.needs) for name, metric in METRICS.items()}
    assert needs["t_stddev"] == needs["t_stddev_rms"] == needs["information_kept"] == {"raw"}
    assert needs["t_stddev_aug"] == needs["t_entropy"] == needs["t_gini"] == needs["t_conf"] == set()
    assert needs["ce_mean"] == needs["ce_std"] == needs["ce_std_within"] == needs["ce_std_between"] == {"student"}
    split = {"t_var_label", "t_var_image", "t_var_aug", "t_var_shared"}
    several = {"ce_std_within", "ce_std_between", "div_aff", *split}
    assert {name for name, metric in METRICS.items() if metric.views > 1} == several
    assert needs["affinity_acc"] == needs["affinity_loss"] == {"raw", "labels", "held_out"}
    assert needs["ce_cov"] == {"raw", "student"}
    assert needs["t_consistency"] == needs["t_agree"] == needs["t_ei"] == {"raw"}
    assert needs["t_cov_rows"] == needs["t_cov_classes"] == {"raw"}
    assert needs["t_nll"] == needs["t_brier"] == needs["t_ece"] == needs["t_cmi"] == {"labels"}
    assert needs["order_violation"] == {"labels", "mixing"}
    assert needs["mix_gap"] == {"raw", "mixing"}
    assert needs["ts_gap"] == {"student", "labels"}
    assert needs["ts_kl"] == needs["ts_useful"] == {"student"}


@each("design", DESIGNS)
@each("name", list(oracle.METRICS))
def test_every_metric_equals_the_plain_loop(name: str, design: Design, random_units, observed) -> None:
    for seed, (count, rows, classes) in enumerate([(10, 12, 4), (3, 12, 2), (9, 12, 30)]):
        units = random_units(count, rows, classes, seed)
        assert value(name, units, design, observed) == pytest.approx(
            oracle.METRICS[name](units, plan(design)), rel=1e-10, abs=1e-13
        )


def test_entropy_equals_scipy(random_units, observed) -> None:
    units = random_units(5, 16, 7)
    rows = np.concatenate([unit.aug for unit in units])
    expected = stats.entropy(rows, axis=1).mean()
    assert value("t_entropy", units, Design(), observed) == pytest.approx(expected, rel=1e-12)


def test_entropy_of_a_certain_teacher_is_zero_and_of_an_ignorant_one_log_classes() -> None:
    for rows, expected in ((torch.eye(5), 0.0), (torch.full((5, 5), 0.2), np.log(5))):
        metric = METRICS["t_entropy"]
        total = metric.observe(Observation(rows.double()[None], None, Design()))
        assert float(metric.reduce(total, Design())) == pytest.approx(expected, abs=1e-7)


def test_augmented_only_is_raw_weight_zero(random_units, observed) -> None:
    units = random_units(8, 12, 5)
    for estimator in ("images", "units"):
        none = Design(estimator, images=48, unit=12, raw_weight=0.0)
        half = Design(estimator, images=48, unit=12, raw_weight=0.5)
        assert value("t_stddev_aug", units, half, observed) == pytest.approx(
            value("t_stddev", units, none, observed), rel=1e-13
        )


def test_augmented_only_metrics_do_not_look_at_raw_rows(random_units, observed) -> None:
    for name in oracle.METRICS:
        metric = METRICS[name]
        if "raw" in metric.needs:
            continue
        for design in (Design(), Design("units")):
            full = observed(random_units(3, 8, 4), design)
            bare = Observation(full.aug, None, design, full.aug_ce, None, views=full.views)
            for key, values in metric.observe(full).items():
                assert torch.equal(values, metric.observe(bare)[key]), (name, key)


@each("design", KINDS)
@each("name", list(oracle.METRICS))
def test_contributions_add(name: str, design: Design, random_units, observed) -> None:
    metric = METRICS[name]
    units = random_units(10, 12, 4)
    together = metric.observe(observed(units, design))
    singly = [metric.observe(observed([unit], design)) for unit in units]
    for key, values in together.items():
        assert values.shape[0] == 10
        assert values.dtype == torch.float64
        torch.testing.assert_close(sum(part[key] for part in singly)[0], values.sum(0), rtol=1e-13, atol=1e-15)


@each("name", list(oracle.METRICS))
def test_leading_dimensions_are_kept_so_that_many_totals_reduce_at_once(name: str, random_units, observed) -> None:
    metric = METRICS[name]
    for design in KINDS:
        sums = [
            {key: v.sum(0) for key, v in metric.observe(observed(random_units(6, 12, 4, seed), design)).items()}
            for seed in range(3)
        ]
        if metric.centre is not None:
            sums = [metric.centre(total, design) for total in sums]
        stacked = {key: torch.stack([total[key] for total in sums]) for key in sums[0]}
        expected = torch.stack([metric.reduce(total, design) for total in sums])
        torch.testing.assert_close(metric.reduce(stacked, design), expected, rtol=1e-14, atol=0)


@each("name", list(oracle.METRICS))
def test_nothing_to_divide_by_gives_nan_never_infinity(name: str, random_units, observed) -> None:
    metric = METRICS[name]
    for design in KINDS:
        contribution = metric.observe(observed(random_units(2, 12, 4), design))
        nothing = {key: torch.zeros_like(v[0]) for key, v in contribution.items()}
        total = nothing if metric.centre is None else metric.centre(nothing, design)
        assert bool(metric.reduce(total, design).isnan())


def test_one_unit_has_no_variance_between_units(random_units, observed) -> None:
    units = random_units(1, 12, 4)
    for design in KINDS[1:]:
        for name in ("t_stddev", "t_stddev_rms", "t_stddev_aug", "ce_cov"):
            assert np.isnan(value(name, units, design, observed))
        assert value("t_entropy", units, design, observed) > 0


def test_draws_of_the_published_protocol_average_all_rows_alike_when_a_pick_kept_more(random_units) -> None:
    rng = np.random.default_rng(1)
    raw, aug = rng.dirichlet(np.ones(3), (4, 10)), rng.dirichlet(np.ones(3), (4, 14))
    design = Design("units", images=20, unit=20, pooled=True)
    metric = METRICS["t_stddev"]
    total = metric.observe(Observation(torch.tensor(aug), torch.tensor(raw), design))
    blocks = Blocks(total, torch.ones(4).long(), torch.zeros(4).long())
    expected = np.concatenate([raw, aug], 1).mean(1).std(0, ddof=1).mean()
    assert float(leave_one_out(blocks, metric, design)[0]) == pytest.approx(expected, rel=1e-12)
