"""The jackknife equals recomputing everything without each block."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from dametric.metrics import METRICS, Design, Observation
from dametric.scoring import jackknife
from dametric.scoring.jackknife import Blocks, Estimate, difference, estimate, leave_one_out, measured
from tests.loops import each
from tests.oracles import estimator as oracle

DESIGNS = {
    "images": (Design("images", images=48), 1),
    "images that mix": (Design("images", images=48, lag=1), 1),
    "units of one epoch": (Design("units", images=48, unit=12), 1),
    "units of several epochs": (Design("units", images=48, unit=12), 4),
    "controlled units of one epoch": (Design("units", images=48, unit=12, controlled=True), 1),
    "controlled units of several epochs": (Design("units", images=48, unit=12, controlled=True), 4),
    "pooled draws": (Design("units", images=12, unit=12, pooled=True), 1),
}


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes are pooled in strata however few they are."""
    monkeypatch.setattr(jackknife, "_CLASSES", 2)


def rows(count: int, epochs: int, seed: int = 0) -> list[oracle.Unit]:
    rng = np.random.default_rng(seed)
    units = []
    for number in range(count):
        raw, aug = rng.dirichlet(np.ones(4), 12), rng.dirichlet(np.ones(4), 12)
        q = rng.gamma(2.0, 0.5, 12)
        ce = 0.6 * q + rng.gamma(1.0, 0.4, 12)
        more = np.random.default_rng([seed, number])
        views = tuple(0.6 * q + more.gamma(1.0, 0.4, 12) for _ in range(3))
        units.append(oracle.Unit(raw, aug, number * epochs // count, q, ce, views))
    return units


def blocks(units: list[oracle.Unit], name: str, design: Design) -> Blocks:
    def stack(field: str) -> torch.Tensor:
        return torch.tensor(np.stack([getattr(unit, field) for unit in units]))

    aug = stack("aug")
    views = tuple(Observation(aug, None, design, view) for view in stack("views_ce").unbind(1))
    seen = Observation(aug, stack("raw"), design, stack("aug_ce"), stack("raw_ce"), views=views)
    epoch = torch.tensor([unit.epoch for unit in units])
    return Blocks(METRICS[name].observe(seen), torch.ones(len(units)).long(), epoch)


def planned(design: Design) -> oracle.Plan:
    return oracle.Plan(
        design.estimator,
        design.images,
        design.unit,
        design.lag,
        design.raw_weight,
        design.pooled,
        design.controlled,
    )


def value_of(name: str, design: Design):
    return lambda units: oracle.METRICS[name](units, planned(design))


def by_strata(made: Blocks, units: list[oracle.Unit], name: str, design: Design):
    """None for what is no mean of roots, or not to be known from so few blocks."""
    if name not in oracle.MEAN_OF_ROOTS or design.pooled or len(made.units) < 16:
        return None
    squared = oracle.MEAN_OF_ROOTS[name]
    found = oracle.mean_of_roots(
        gathered(units, made), lambda given: squared(given, planned(design)), design.estimator == "units"
    )
    return found if found[0] > 0 else None


def numbers(found: Estimate) -> tuple[float, float, float, float]:
    return found.value, found.se, found.low, found.high


def gathered(units: list[oracle.Unit], made: Blocks) -> list[list[oracle.Unit]]:
    """The units of each block, by the sizes that the blocks state."""
    groups, start = [], 0
    for size in made.units.tolist():
        groups.append(units[start : start + size])
        start += size
    assert start == len(units)
    return groups


@each("name", list(oracle.METRICS))
@each("case", list(DESIGNS))
def test_left_out_values_equal_recomputing_without_each_block(case: str, name: str) -> None:
    design, epochs = DESIGNS[case]
    units = rows(19, epochs)
    theta, deleted = leave_one_out(blocks(units, name, design), METRICS[name], design)
    expected, without = oracle.delete_one([[unit] for unit in units], value_of(name, design))
    assert float(theta) == pytest.approx(expected, rel=1e-11)
    assert deleted.tolist() == pytest.approx(without, rel=1e-10)


@each("name", list(oracle.METRICS))
@each("case", list(DESIGNS))
def test_estimates_equal_the_classic_jackknife(case: str, name: str, pooled) -> None:
    design, epochs = DESIGNS[case]
    units = rows(19, epochs)
    theta, deleted = oracle.delete_one([[unit] for unit in units], value_of(name, design))
    made = blocks(units, name, design)
    roots = by_strata(made, units, name, design) is not None
    found = estimate(made, METRICS[name], design, plugin=roots)
    log = name in oracle.ON_LOGARITHM
    scale = np.log if log else np.asarray
    value, se = oracle.classic(float(scale(theta)), scale(deleted).tolist())
    t = stats.t.ppf(0.975, 18)
    ends = [value - t * se, value + t * se]
    if log:
        value, ends = math.exp(value), np.exp(ends).tolist()
        se *= value
    if roots:  # the published plain value is asked for: its error is the jackknife's
        scale_up = theta / value
        value, se, ends = theta, se * scale_up, [end * scale_up for end in ends]
    assert numbers(found) == pytest.approx((value, se, *ends), rel=1e-9)
    assert (found.plugin, found.blocks) == (pytest.approx(theta, rel=1e-11), 19)
    plain = estimate(blocks(units, name, design), METRICS[name], design, plugin=True)
    assert plain.value == pytest.approx(theta, rel=1e-11)
    assert plain.relative_se == pytest.approx(found.relative_se if log else se / abs(theta), rel=1e-9)


@each("name", list(oracle.METRICS))
@each("case", list(DESIGNS))
@each("times", [1, 2])
def test_unequal_blocks_equal_busings_formula(times: int, case: str, name: str, pooled) -> None:
    design, epochs = DESIGNS[case]
    units = rows(35, epochs)
    made = blocks(units, name, design)
    for _ in range(times):
        made = made.merged()
    sizes = made.units.tolist()
    assert len(set(sizes)) > 1
    roots = by_strata(made, units, name, design)
    if roots is not None:
        value, *parts = roots
        expected = oracle.roots_interval(*parts, value)
    else:
        theta, deleted = oracle.delete_one(gathered(units, made), value_of(name, design))
        expected = oracle.interval(theta, deleted, sizes, name in oracle.ON_LOGARITHM)
    assert numbers(estimate(made, METRICS[name], design)) == pytest.approx(expected, rel=1e-9)


def test_for_a_plain_mean_the_jackknife_gives_the_textbook_error() -> None:
    units = rows(20, 1)
    found = estimate(blocks(units, "t_gini", Design()), METRICS["t_gini"], Design())
    means = [np.mean(1 - (unit.aug**2).sum(1)) for unit in units]
    assert found.value == pytest.approx(np.mean(means), rel=1e-12)
    assert found.se == pytest.approx(np.std(means, ddof=1) / math.sqrt(20), rel=1e-10)


def test_equal_blocks_make_busings_formula_the_classic_one() -> None:
    rng = np.random.default_rng(0)
    deleted = rng.normal(1, 0.1, 9).tolist()
    assert oracle.busing(1.0, deleted, [3] * 9) == pytest.approx(oracle.classic(1.0, deleted), rel=1e-12)


@each("name", list(oracle.METRICS))
@each("case", list(DESIGNS))
def test_paired_difference_equals_recomputing_both_without_each_block(case: str, name: str, pooled) -> None:
    design, epochs = DESIGNS[case]
    ours = rows(19, epochs)
    theirs = [
        replace(
            unit,
            aug=0.8 * unit.aug + 0.2 * unit.raw,
            aug_ce=1.1 * unit.aug_ce,
            views_ce=tuple(1.1 * view for view in unit.views_ce),
        )
        for unit in ours
    ]
    made = [blocks(units, name, design) for units in (ours, theirs)]
    sides = [measured(side, METRICS[name], design) for side in made]
    gap = sides[0][0].value - sides[1][0].value
    roots = [by_strata(side, units, name, design) for side, units in zip(made, (ours, theirs), strict=True)]
    if roots[0] is not None and roots[1] is not None:
        (_, *one, mine), (_, *other, its) = roots
        total, straight = ([x - y for x, y in zip(*pair, strict=True)] for pair in zip(one, other, strict=True))
        se, dof = oracle.roots_interval(total, straight, mine - its, 1.0)[1], 17
    else:
        (a, a_deleted), (b, b_deleted) = (
            oracle.delete_one([[unit] for unit in units], value_of(name, design)) for units in (ours, theirs)
        )
        _, se = oracle.classic(a - b, [x - y for x, y in zip(a_deleted, b_deleted, strict=True)])
        dof = 18
    half = stats.t.ppf(0.975, dof) * se
    assert difference(*sides) == pytest.approx((gap, se, gap - half, gap + half), rel=1e-7)
    assert se < math.hypot(sides[0][0].se, sides[1][0].se)


def test_difference_of_a_side_to_itself_is_exactly_nothing() -> None:
    design = Design("units", images=48, unit=12)
    made = blocks(rows(9, 1), "t_stddev", design)
    side = measured(made, METRICS["t_stddev"], design)
    assert difference(side, side) == (0, 0, 0, 0)


@each("name", ["t_gini", "t_stddev_rms"])
def test_difference_of_sides_of_unequal_length_states_the_error_made(name: str) -> None:
    """The first 20 units are shared, one side goes on to 60: simulated against the spread of the differences."""
    design, metric = Design("images", images=48), METRICS[name]
    rng = np.random.default_rng(1)
    gaps, stated, unpaired = [], [], []
    for _ in range(200):
        raw, noise = (torch.tensor(rng.dirichlet(np.ones(4), (60, 12))) for _ in range(2))
        sides = []
        for count, aug in ((20, raw), (60, 0.7 * raw + 0.3 * noise)):
            seen = Observation(aug[:count], raw[:count], design)
            made = Blocks(metric.observe(seen), torch.ones(count).long(), torch.zeros(count).long())
            sides.append(measured(made, metric, design))
        gap, se, low, high = difference(*sides)
        assert low < gap < high
        gaps.append(gap)
        stated.append(se)
        unpaired.append(math.hypot(sides[0][0].se, sides[1][0].se))
    assert np.sqrt(np.mean(np.square(stated))) == pytest.approx(np.std(gaps), rel=0.16)
    assert np.mean(stated) < np.mean(unpaired)
    flipped = difference(*sides[::-1])
    assert flipped == pytest.approx((-gap, se, -high, -low), rel=1e-12)


def test_fewer_than_two_blocks_have_a_value_and_no_error() -> None:
    design, metric = Design("images", images=48), METRICS["t_stddev"]
    made = blocks(rows(1, 1), "t_stddev", design)
    found = estimate(made, metric, design)
    assert found.value == found.plugin > 0
    assert all(math.isnan(x) for x in (found.se, found.low, found.high, found.relative_se))
    side = measured(made, metric, design)
    assert difference(side, side)[0] == 0
    assert all(math.isnan(x) for x in difference(side, side)[1:])


def test_two_blocks_have_an_error() -> None:
    design = Design("images", images=48)
    found = estimate(blocks(rows(2, 1), "t_gini", design), METRICS["t_gini"], design)
    means = [np.mean(1 - (unit.aug**2).sum(1)) for unit in rows(2, 1)]
    assert found.se == pytest.approx(abs(means[0] - means[1]) / 2, rel=1e-10)
    assert found.high - found.value == pytest.approx(12.7062047 * found.se, rel=1e-7)  # Student's t, one degree


def test_a_scale_that_may_be_zero_without_a_block_falls_back_on_its_own_units() -> None:
    """All the spread is in one unit: the logarithm of what is left without it does not exist."""
    design, metric = Design("images", images=48), METRICS["t_stddev_aug"]
    rows_ = torch.zeros(4, 8, 2, dtype=torch.float64)
    rows_[..., 0] = 1
    rows_[2, :4] = torch.tensor([0.0, 1.0])
    made = Blocks(metric.observe(Observation(rows_, None, design)), torch.ones(4).long(), torch.zeros(4).long())
    found = estimate(made, metric, design)
    assert all(math.isfinite(x) for x in (found.value, found.se, found.low, found.high))


@each("epochs", [1, 3, 13])
def test_merging_keeps_totals_and_never_joins_epochs(epochs: int) -> None:
    units = rows(26, epochs)
    made = blocks(units, "t_stddev", Design("units", images=48, unit=12))
    for _ in range(6):
        merged = made.merged()
        for key, values in made.contribution.items():
            torch.testing.assert_close(merged.contribution[key].sum(0), values.sum(0), rtol=1e-13, atol=0)
            for epoch in range(epochs):
                torch.testing.assert_close(
                    merged.contribution[key][merged.epoch == epoch].sum(0),
                    values[made.epoch == epoch].sum(0),
                    rtol=1e-13,
                    atol=0,
                )
        assert int(merged.units.sum()) == 26
        assert merged.units.dtype == torch.int64
        assert sorted(set(merged.epoch.tolist())) == list(range(epochs))
        assert merged.epoch.tolist() == sorted(merged.epoch.tolist())
        expected = sum(-(-int((made.epoch == epoch).sum()) // 2) for epoch in range(epochs))
        assert len(merged.epoch) == len(merged.units) == expected
        made = merged
    assert len(made.epoch) == epochs


@each("name", list(oracle.METRICS))
@each("case", list(DESIGNS))
def test_merging_keeps_the_value_exactly(case: str, name: str) -> None:
    design, epochs = DESIGNS[case]
    made = blocks(rows(27, epochs), name, design)
    before = estimate(made, METRICS[name], design)
    after = estimate(made.merged(), METRICS[name], design)
    assert after.plugin == pytest.approx(before.plugin, rel=1e-12)
    assert after.blocks < before.blocks
    assert after.se == pytest.approx(before.se, rel=0.8)


def test_merged_blocks_hold_neighbours() -> None:
    made = Blocks(
        {"sum": torch.tensor([1.0, 2, 4, 8, 16, 32, 64])},
        torch.tensor([1, 1, 1, 2, 1, 1, 1]),
        torch.tensor([0, 0, 0, 1, 1, 2, 2]),
    ).merged()
    assert made.contribution["sum"].tolist() == [3, 4, 24, 96]
    assert made.units.tolist() == [2, 1, 3, 2]
    assert made.epoch.tolist() == [0, 0, 1, 2]


def test_few_classes_are_not_pooled() -> None:
    """Each of them is known by itself, or has too few neighbours that resemble it: the jackknife stays."""
    design = Design("images", images=48)
    units = rows(40, 1)
    theta, deleted = oracle.delete_one([[unit] for unit in units], value_of("t_stddev", design))
    found = estimate(blocks(units, "t_stddev", design), METRICS["t_stddev"], design)
    assert numbers(found) == pytest.approx(oracle.interval(theta, deleted, [1] * 40, log=True), rel=1e-9)


@pytest.mark.parametrize("count", [15, 16, 17])
def test_eight_blocks_a_half_are_enough_to_pool_classes(count: int, pooled) -> None:
    design = Design("images", images=48)
    units = rows(count, 1)
    made = blocks(units, "t_stddev", design)
    roots = by_strata(made, units, "t_stddev", design)
    assert (roots is not None) == (count >= 16)
    if roots is None:
        theta, deleted = oracle.delete_one([[unit] for unit in units], value_of("t_stddev", design))
        expected = oracle.interval(theta, deleted, [1] * count, log=True)
    else:
        value, *parts = roots
        expected = oracle.roots_interval(*parts, value)
    assert numbers(estimate(made, METRICS["t_stddev"], design)) == pytest.approx(expected, rel=1e-9)


def test_a_half_without_any_spread_leaves_the_plain_jackknife(pooled) -> None:
    """Every other block shows one and the same image: nothing can be told from that half."""
    design = Design("images", images=48)
    same = np.tile([0.125, 0.125, 0.25, 0.5], (12, 1))  # sums of these are exact
    units = [unit if place % 2 == 0 else oracle.Unit(same, same, 0) for place, unit in enumerate(rows(20, 1))]
    theta, deleted = oracle.delete_one([[unit] for unit in units], value_of("t_stddev", design))
    seen = Observation(
        *(torch.tensor(np.stack([getattr(unit, of) for unit in units])) for of in ("aug", "raw")), design
    )
    made = Blocks(METRICS["t_stddev"].observe(seen), torch.ones(20).long(), torch.zeros(20).long())
    found = estimate(made, METRICS["t_stddev"], design)
    assert numbers(found) == pytest.approx(oracle.interval(theta, deleted, [1] * 20, log=True), rel=1e-9)
