"""Random rows of probabilities, and the same rows as metrics and as oracles take them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dametric.metrics import Design, Observation
from tests.oracles import estimator as oracle


@pytest.fixture
def random_units() -> Callable[..., list[oracle.Unit]]:
    """Units of Dirichlet rows that depend on each other, in epochs of four, with positive cross-entropies."""

    def make(count: int, rows: int, classes: int, seed: int = 0) -> list[oracle.Unit]:
        rng = np.random.default_rng(seed)
        units = []
        for number in range(count):
            raw = rng.dirichlet(np.full(classes, 0.4), rows)
            aug = 0.5 * raw + 0.3 * np.roll(raw, -1, 0) + 0.2 * rng.dirichlet(np.ones(classes), rows)
            raw_ce = rng.gamma(2.0, 0.5, rows)
            aug_ce = 0.6 * raw_ce + rng.gamma(1.0, 0.4, rows) + rng.gamma(1.0, 0.2)
            views = tuple(0.6 * raw_ce + rng.gamma(1.0, 0.4, rows) for _ in range(3))
            units.append(oracle.Unit(raw, aug, number // 4, raw_ce, aug_ce, views))
        return units

    return make


@pytest.fixture
def observed() -> Callable[[list[oracle.Unit], Design], Observation]:
    """What a metric is shown of some units."""

    def stack(values: list[np.ndarray | None]) -> torch.Tensor | None:
        return None if values[0] is None else torch.tensor(np.stack(values))

    def make(units: list[oracle.Unit], design: Design) -> Observation:
        aug = stack([unit.aug for unit in units])
        assert aug is not None
        views = tuple(
            Observation(aug, None, design, torch.tensor(np.stack(values)))
            for values in zip(*(unit.views_ce for unit in units), strict=True)
        )
        return Observation(
            aug,
            stack([unit.raw for unit in units]),
            design,
            stack([unit.aug_ce for unit in units]),
            stack([unit.raw_ce for unit in units]),
            views=views,
        )

    return make
