"""From accumulated contributions to rows of a table, best to worst."""

from __future__ import annotations

import hashlib
import inspect
import math
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from scipy import stats

from dametric.augment import Augmentation
from dametric.base.guards import DESTROYED, KEPT
from dametric.metrics import Design, Metric
from dametric.records.score_rows import MetricValue, ScoreRow
from dametric.scoring.engine import Engine
from dametric.scoring.jackknife import Blocks, Estimate, measured
from dametric.scoring.paired import Paired, ordered
from dametric.scoring.population import Passes, of_population
from dametric.scoring.strata import Influence


class Measured(NamedTuple):
    """One metric of one augmentation."""

    blocks: Blocks
    design: Design
    estimate: Estimate
    influence: Influence
    passes: Passes | None

    @property
    def paired(self) -> Paired:
        """What differences to other augmentations are made of."""
        return Paired(self.estimate, self.influence, self.passes, self.blocks.epoch, self.blocks.units)

    def less(self, other: Measured) -> Measured:
        """Difference to a metric of other images, whose error is independent."""
        first, second = ((each.estimate, each.influence) for each in (other, self))
        value, dof = self.estimate.value - other.estimate.value, min(self.influence.dof, other.influence.dof)
        parts = [
            sign * influence.total * (estimate.se / influence.se if influence.se > 0 else 1.0)
            for sign, (estimate, influence) in ((-1.0, first), (1.0, second))
        ]
        # the other's come first: theirs are as many for all augmentations, ours where one was shown more batches not
        influence = Influence(torch.cat(parts), torch.zeros(sum(map(len, parts)), dtype=torch.float64), dof)
        se = math.hypot(self.estimate.se, other.estimate.se)
        half = float(stats.t.ppf(0.975, dof)) * se if dof >= 1 else math.nan
        plugin = self.estimate.plugin - other.estimate.plugin
        blocks = min(self.estimate.blocks, other.estimate.blocks)
        estimate = Estimate(value, se, value - half, value + half, plugin, blocks)
        units, epoch = (
            torch.cat([getattr(each.blocks, name) for each in (other, self)]) for name in ("units", "epoch")
        )
        return Measured(Blocks({}, units, epoch), self.design, estimate, influence, None)

    @property
    def floor(self) -> float:
        """The relative error that no further pass over the same images lowers."""
        if self.passes is None or not self.estimate.value:
            return 0.0
        share = math.sqrt(of_population(self.influence.total, self.passes).floor)
        return self.influence.se * share / abs(self.estimate.value)


def measure_of(engine: Engine, aug: Augmentation, metric: Metric) -> Measured:
    """Estimate a metric from what has been accumulated so far, of whichever images it is."""
    if "held_out" in metric.needs:
        assert engine.held_out is not None
        return measure_of_stream(engine.held_out, aug, metric)
    if metric.less is not None:
        return measure_of_stream(engine, aug, metric).less(measure_of(engine, aug, metric.less))
    return measure_of_stream(engine, aug, metric)


def measure_of_stream(engine: Engine, aug: Augmentation, metric: Metric) -> Measured:
    """Estimate a metric from one pass alone; what was estimated of these blocks before is kept."""
    blocks = engine.blocks[aug.name, metric.contributor]
    known = engine.measured.get((aug.name, metric))
    if known is not None and known[0] is blocks:
        measurement: Measured = known[1]
        return measurement
    on_cpu, design, plan = blocks.cpu(), engine.protocol.design(aug), engine.protocol
    passes = None if plan.reference else Passes(on_cpu.epoch, on_cpu.units, len(engine.data) // plan.batch)
    estimated = measured(on_cpu, metric, design, plugin=plan.reference, passes=passes)
    # what they hold is not needed again, and would be kept twice where the device has memory of its own
    measurement = Measured(Blocks({}, on_cpu.units, on_cpu.epoch), design, *estimated, passes)
    engine.measured[aug.name, metric] = blocks, measurement
    return measurement


def ranked(engine: Engine) -> list[ScoreRow]:
    """The augmentations best to worst by the first metric, as rows of a score file; destroyed images come last."""
    return ordered([_row(engine, aug) for aug in engine.augs], engine.metrics[0].name)


def _destroyed(engine: Engine, aug: Augmentation) -> bool:
    """Whether so little of the information between images is left that no score speaks for this augmentation."""
    guards = [metric for metric in engine.metrics if metric.name == KEPT]
    return any(measure_of(engine, aug, guard).estimate.value < DESTROYED for guard in guards)


def _row(engine: Engine, aug: Augmentation) -> ScoreRow:
    """An augmentation's scores, without the differences to others."""
    first, values = measure_of(engine, aug, engine.metrics[0]), {}
    for metric in engine.of_augmentations:
        measured = first if metric is engine.metrics[0] else measure_of(engine, aug, metric)
        numbers = asdict(measured.estimate)
        values[metric.name] = MetricValue(**numbers, direction=metric.direction, estimator=measured.design.estimator)
    return ScoreRow(
        aug=aug.name,
        metrics=values,
        parameters=[parameters(operation) for operation in aug.operations],
        batches=_batches(engine, aug) * (engine.protocol.draw if engine.protocol.reference else 1),
        rows=engine.rows[aug.name],
        destroyed=_destroyed(engine, aug),
        influence=first.paired.kept(),
        aug_spelling=None if aug.canonical == aug.name else aug.canonical,
    )


def _batches(engine: Engine, aug: Augmentation) -> int:
    """Batches under which an augmentation was shown."""
    return max(int(blocks.units.sum()) for (name, _), blocks in engine.blocks.items() if name == aug.name)


def parameters(operation: Any) -> dict[str, Any]:
    """An operation as plain values; a function by its name and the hash of its source."""
    values = {field.name: getattr(operation, field.name) for field in fields(operation)}
    return {"operation": type(operation).__name__, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Augmentation):  # a branch
        return [parameters(operation) for operation in value.operations]
    if isinstance(value, tuple) and any(is_dataclass(item) for item in value):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return _function(value) if callable(value) else value


def _function(function: Any) -> dict[str, str]:
    if isinstance(function, partial):  # its parameters are in the operation's name
        function = function.func
    name = getattr(function, "__qualname__", None) or " ".join(repr(function).split())
    try:
        source = inspect.getsource(function if hasattr(function, "__qualname__") else type(function))
    except (OSError, TypeError):  # built in, or typed at a prompt
        return {"name": name}
    return {"name": name, "source_sha256": hashlib.sha256(source.encode()).hexdigest()}
