"""The final table: nothing that was estimated of the same batches is estimated again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from dametric import ImageSet
from dametric.augment import parse
from dametric.metrics import METRICS
from dametric.scoring import paired, ranking
from dametric.scoring.engine import Engine
from dametric.scoring.jackknife import difference
from dametric.scoring.protocol import Protocol
from dametric.scoring.ranking import measure_of, ranked
from dametric.scoring.strata import CELL, _cells, _sums_of_cells
from tests.loops import each


class Rows:
    """A network of ten classes: means of some pixels."""

    chunk, dtype, rows = 64, torch.float64, 0

    def __call__(self, images: Tensor) -> Tensor:
        return images.double().flatten(1)[:, ::7][:, :10] / 50

    def limit(self, rows: int) -> None:
        """There is memory enough."""


def test_what_was_estimated_of_the_same_batches_is_kept(monkeypatch: pytest.MonkeyPatch, data: ImageSet) -> None:
    estimated: Counter[str] = Counter()

    def counting(blocks: Any, metric: Any, *rest: Any, **more: Any) -> Any:
        estimated[metric.name] += 1
        return original(blocks, metric, *rest, **more)

    original = ranking.measured
    monkeypatch.setattr(ranking, "measured", counting)
    augs = [parse(spec) for spec in ("identity", "flip", "cutmix")]
    metrics = [METRICS[name] for name in ("t_stddev", "t_entropy", "information_kept")]
    network: Any = Rows()
    engine = Engine(network, None, data, augs, metrics, Protocol(batch=8), parse("flip"), torch.device("cpu"))
    steps = engine.run(iter([4, 6]))
    next(steps)
    measure_of(engine, augs[0], metrics[0])
    first = ranked(engine)
    assert estimated == dict.fromkeys(("t_stddev", "t_entropy", "information_kept"), 3)  # a guard is asked for twice
    assert ranked(engine) == first
    next(steps)
    engine.retired.add("flip")
    later = ranked(engine)
    assert estimated["t_entropy"] == 6
    fresh = Engine(network, None, data, augs, metrics, Protocol(batch=8), parse("flip"), torch.device("cpu"))
    next(fresh.run(iter([6])))
    assert ranked(fresh) == later


def test_differences_are_made_once_a_pair(monkeypatch: pytest.MonkeyPatch, data: ImageSet) -> None:
    augs = [parse(spec) for spec in ("identity", "flip", "cutmix", "cutout", "mixup")]
    network: Any = Rows()
    metrics = [METRICS[name] for name in ("t_stddev", "information_kept")]
    engine = Engine(network, None, data, augs, metrics, Protocol(batch=8), parse("flip"), torch.device("cpu"))
    steps = engine.run(iter([5, 8]))
    next(steps)
    engine.retired.add("mixup")  # shown fewer batches than the others
    next(steps)
    compared: Counter[str] = Counter()

    def counting(*given: Any) -> Any:
        compared["pairs"] += 1
        return difference(*given)

    monkeypatch.setattr(paired, "difference", counting)
    rows = ranked(engine)
    assert compared["pairs"] == 5 + 5 * 4 // 2
    known = {row.aug: paired.Paired.read(row, "t_stddev") for row in rows}
    for row in rows:
        for other, gap in row.differences.items():
            assert gap == known[row.aug].gap(known[other]), (row.aug, other)


@each("classes", [1, CELL - 1, CELL, CELL + 1, 1000])
def test_sums_of_cells_are_those_of_neighbours(classes: int) -> None:
    values = torch.rand(2, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(classes))
    expected = [[float(part.sum()) for part in line.split(CELL)] for line in values]
    assert torch.tensor(_sums_of_cells(values)).double() == pytest.approx(torch.tensor(expected).T.double(), rel=1e-14)
    assert _cells(classes) == [len(part) for part in values[0].split(CELL)]
