"""Which of several might be the best: against plain loops, and how often the best is among them."""

from __future__ import annotations

import numpy as np
from scipy import stats

from dametric.stats.best_set import best_set, dof_of


def test_each_is_held_against_every_other_at_a_level_for_all() -> None:
    draw = np.random.default_rng(0)
    for k in (2, 3, 7):
        value, dof = draw.normal(size=k), draw.integers(3, 30, (k, k))
        gap, se = value[:, None] - value, 0.1 + draw.random((k, k))
        expected = []
        for i in range(k):
            tests = [stats.t.sf(gap[i, j] / se[i, j], dof[i, j]) < 0.05 / (k - 1) for j in range(k) if j != i]
            expected.append(not any(tests))
        assert best_set(gap, se, dof).tolist() == expected
        half = stats.t.ppf(0.975, dof) * se
        np.testing.assert_allclose(dof_of(gap - half, gap + half, se), dof, rtol=1e-6)


def test_the_best_is_among_them_19_times_of_20_where_all_are_nearly_alike() -> None:
    draw, k, n, held, sizes = np.random.default_rng(1), 6, 20, 0, []
    truth = np.array([0.0, 0.05, 0.1, 0.4, 0.8, 1.2])
    for _ in range(400):
        batches = truth + draw.normal(size=(n, 1)) * 3 + draw.normal(size=(n, k))  # what all share cancels
        pairs = batches[:, :, None] - batches[:, None]
        kept = best_set(pairs.mean(0), pairs.std(0, ddof=1) / np.sqrt(n), np.full((k, k), n - 1))
        held += kept[0]
        sizes.append(kept.sum())
    assert held >= 0.95 * 400
    assert 2 < np.mean(sizes) < 5, "and those that are plainly worse are not"


def test_what_is_not_known_shows_nothing() -> None:
    unknown = np.full((3, 3), np.nan)
    assert best_set(unknown, unknown, unknown).all()
    assert best_set([[0.0]], [[0.0]], [[np.nan]]).tolist() == [True]
    assert np.isnan(dof_of([np.nan], [np.nan], [0.0])).all()
