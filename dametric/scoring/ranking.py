"""From accumulated contributions to rows of a table, best to worst."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import Any, NamedTuple

from dametric.augment import Augmentation
from dametric.metrics import Design, Metric
from dametric.scoring.engine import Engine
from dametric.scoring.jackknife import Blocks, Estimate, difference, estimate


class Found(NamedTuple):
    """One metric of one augmentation."""

    blocks: Blocks
    design: Design
    estimate: Estimate


def found(engine: Engine, aug: Augmentation, metric: Metric) -> Found:
    """Estimate a metric from what has been accumulated so far."""
    blocks, design = engine.blocks[aug.name, metric.observe].cpu(), engine.protocol.design(aug)
    return Found(blocks, design, estimate(blocks, metric, design, plugin=engine.protocol.reference))


def ranked(engine: Engine) -> list[dict[str, Any]]:
    """The augmentations best to worst by the first metric, as rows of a score file."""
    first = engine.metrics[0]
    sign = -1 if first.direction == "higher" else 1
    by_name = {aug.name: found(engine, aug, first) for aug in engine.augs}
    order = sorted(engine.augs, key=lambda aug: _sortable(sign * by_name[aug.name].estimate.value))
    return [_row(engine, aug, by_name[aug.name], order[0].name, by_name[order[0].name]) for aug in order]


def _sortable(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _row(engine: Engine, aug: Augmentation, ours: Found, best_name: str, best: Found) -> dict[str, Any]:
    values = {}
    for metric in engine.metrics:
        that = ours if metric is engine.metrics[0] else found(engine, aug, metric)
        values[metric.name] = {
            **asdict(that.estimate),
            "direction": metric.direction,
            "estimator": that.design.estimator,
        }
    gap = difference(ours, best, engine.metrics[0])  # exactly zero for the best itself
    return {
        "aug": aug.name,
        "metrics": values,
        "difference": {"to": best_name, **dict(zip(("value", "se", "low", "high"), gap, strict=True))},
        "tied_with_best": gap[2] <= 0 <= gap[3],  # not where the error is not known
        "parameters": [_parameters(operation) for operation in aug.operations],
        "batches": int(ours.blocks.units.sum()) * (engine.protocol.draw if engine.protocol.reference else 1),
        "rows": engine.rows[aug.name],
    }


def _parameters(operation: Any) -> dict[str, Any]:
    """An operation as plain values, functions by their names."""
    values = {field.name: getattr(operation, field.name) for field in fields(operation)}
    plain = {
        name: getattr(value, "__qualname__", type(value).__name__) for name, value in values.items() if callable(value)
    }
    return {"operation": type(operation).__name__, **values, **plain}
