"""What an augmentation costs: images a second of its own, and a training step under it relative to one under identity.

Times of a machine that others use too are honest only as minima: identity's step and every augmentation are measured
in turn, several rounds of them, and the least of each counts. On a CPU they are seconds that the CPU spent for this
process, all threads added up, so that waiting for others does not count; elsewhere seconds of the wall, the device's
queue drained before and after.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dametric.augment import Augmentation
from dametric.base.devices import drain
from dametric.base.progress import progress
from dametric.models import LoadedNetwork
from dametric.records.score_rows import Cost, ScoreRow
from dametric.scoring.cached_rows import CachedRows, Pool
from dametric.scoring.engine import Engine, Segment, of_base
from dametric.scoring.protocol import units

ROUNDS = 7
_SECONDS = 20.0  # after which no further round is begun, from the second on


def with_costs(rows: Sequence[ScoreRow], engine: Engine, student: LoadedNetwork, quiet: bool) -> list[ScoreRow]:
    """Rows with the costs of their augmentations; a row of an augmentation that the engine does not have keeps its own.

    Parameters
    ----------
    rows : sequence of ScoreRow
    engine : Engine
        After its pass.
    student : LoadedNetwork
        What is trained in the step: a student, or the teacher's own architecture.
    quiet : bool
        No progress bar.
    """
    costs = engine.ranks.agree(_costs(engine, student, quiet))
    return [replace(row, cost=costs.get(row.aug, row.cost)) for row in rows]


def _costs(engine: Engine, student: LoadedNetwork, quiet: bool) -> dict[str, Cost]:
    unit = next(units(engine.protocol, len(engine.data)))
    segment = Segment(1, len(unit.batches[0]), unit.first)
    keys = engine.keys(segment)
    pixels = next(iter(engine.base_view.stream([(unit.batches[0], [of_base(keys)])], engine.device)))
    view = engine.base_view(pixels, of_base(keys)).images

    def teacher(images: Tensor) -> Tensor:
        return engine.teacher(images).softmax(-1)

    def student_log(images: Tensor) -> Tensor:
        assert engine.student is not None
        return engine.student(images).log_softmax(-1)

    def augmented(aug: Augmentation) -> None:
        with torch.inference_mode():
            runs = aug(view, keys).images.split(len(view))
            if aug.pick is not None:  # the pool is judged by networks
                raw = teacher(view) if aug.pick == "dissimilarity" else None
                pool = Pool([CachedRows(run, teacher, student_log) for run in runs])
                pool.judge(aug.pick, raw)

    works = [partial(augmented, aug) for aug in engine.augs]
    step = _Step(engine, student, view)
    with progress("timing", ROUNDS, quiet=quiet) as show, torch.random.fork_rng():  # dropout draws
        least = _least([step, *works], engine.device, show)
    clock = "cpu" if engine.device.type == "cpu" else "wall"
    return {
        aug.name: Cost(segment.size / seconds, 1 + seconds / least[0], clock)
        if aug.operations
        else Cost(math.nan, 1.0, clock)
        for aug, seconds in zip(engine.augs, least[1:], strict=True)
    }


class _Step:
    """A training step of distillation under identity: two views through the teacher, and the student there and back."""

    def __init__(self, engine: Engine, student: LoadedNetwork, view: Tensor) -> None:
        self._teacher, self._view, self._interface = engine.teacher, view, student.interface
        self._network = copy.deepcopy(student.model).to(engine.device, torch.float32).train()
        self._network.requires_grad_(True)
        mean, std = (
            torch.tensor(values, device=engine.device).view(1, -1, 1, 1) for values in (student.mean, student.std)
        )
        self._input = self._interface.arrange((view.float() / 255 - mean) / std)

    def __call__(self) -> None:
        with torch.inference_mode():
            target = self._teacher(torch.cat([self._view, self._view])).float().softmax(-1)
        with torch.enable_grad():
            output = self._network(torch.cat([self._input, self._input]).clone())
            log = self._interface.logits(output, training=True).float().log_softmax(-1)
            torch.nn.functional.kl_div(log, target.clone(), reduction="batchmean").backward()
        self._network.zero_grad(set_to_none=True)


def _least(works: Sequence[Callable[[], object]], device: torch.device, show: Callable[..., None]) -> list[float]:
    """The least seconds of each over interleaved rounds, after one that is not counted."""
    least, start = [math.inf] * len(works), time.perf_counter()
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    for number in range(ROUNDS + 1):
        if number > 1 and time.perf_counter() - start > _SECONDS:
            break
        for place, work in enumerate(works):
            drain(device)
            before = clock()
            work()
            drain(device)
            if number:
                least[place] = min(least[place], clock() - before)
        show(int(number > 0))
    return least
