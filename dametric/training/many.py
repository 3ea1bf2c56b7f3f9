"""Many training runs of one command: one after the other or side by side, in lockstep or alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from dametric.base.arguments import argument
from dametric.base.interrupts import until_interrupted
from dametric.base.progress import Advance, progress, say
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.jobs.side_by_side import side_by_side
from dametric.models.failures import network_errors
from dametric.records.record import RunRecord
from dametric.records.runs import run_id
from dametric.training.context import TrainingContext, TrainingRun
from dametric.training.request import DistillationRequest, Group, TrainingRequest, on_epoch
from dametric.training.run import Result, carry_out_together
from dametric.training.watched import Watch, watching


def one_by_one(options: DistillationRequest, context: TrainingContext, groups: Sequence[Group]) -> list[str]:
    failures = []
    with until_interrupted() as stop:
        for group in groups:
            if stop():  # in the last step of the run before
                raise Interrupted("stopped; everything is saved, the same command goes on")
            works = [options.work(context, aug, seed) for aug, seed in group]
            with with_lines(works, options.common, stop) as watch:
                notes = on_epoch(works, options.common)
                watch.results = carry_out_together(works, stop=watch.stop, advance=watch.advance, on_epoch=notes)
            every = zip(works, watch.results, strict=True)
            failed = [f"{work.title}: {result}" for work, result in every if _failed(result)]
            for line in failed:
                say(line)
            failures += failed
    return failures


def in_processes(options: DistillationRequest, context: TrainingContext, groups: Sequence[Group]) -> list[str]:
    tasks = [(options, group) for group in groups]
    works = [options.work(context, aug, seed) for group in groups for aug, seed in group]
    _say_what_is_trained_again(works, options.common.quiet)
    total = sum(work.epochs for work in works)
    what = f"{sum(map(len, groups))} runs, {options.jobs} side by side"
    try:
        with progress(what, total, quiet=options.common.quiet) as advance:
            answers = [
                answer for part in side_by_side(group_in_a_process, tasks, options.jobs, advance) for answer in part
            ]
    except Interrupted:
        raise Interrupted("stopped; everything is saved, the same command goes on") from None
    for answer, well in answers:
        say(answer, options.common.quiet and well)
    return [answer for answer, well in answers if not well]


_shared: list[TrainingContext] = []  # of a worker process


def group_in_a_process(
    task: tuple[DistillationRequest, Group], advance: Advance, stop: Callable[[], bool]
) -> list[tuple[str, bool]]:
    """A group of runs in a worker process, which reads data and teacher once for all its runs."""
    options, group = task
    with network_errors():
        if not _shared:
            quiet = replace(options.common, images=replace(options.common.images, quiet=True))
            _shared.append(replace(options, common=quiet).context())
        works = [options.work(_shared[0], aug, seed) for aug, seed in group]
        results = carry_out_together(works, stop=stop, advance=advance, on_epoch=on_epoch(works, options.common))
    return [
        (f"{work.title}: {_text(result)}", not _failed(result)) for work, result in zip(works, results, strict=True)
    ]


def _failed(result: Result) -> bool:
    return isinstance(result, RunFailed)


def _text(result: Result) -> str:
    if isinstance(result, RunRecord):
        return outcome(result)
    return str(result) if _failed(result) else "saved"


@contextmanager
def with_lines(
    works: Sequence[TrainingRun], options: TrainingRequest, stop: Callable[[], bool] | None = None
) -> Iterator[Watch]:
    """A bar over runs that are carried out in lockstep, and a line for each at its end."""
    known = [work.finished for work in works]
    _say_what_is_trained_again(works, options.quiet)
    with watching(works, options.quiet, stop) as watch:
        yield watch
    for work, result, before in zip(works, watch.results, known, strict=True):
        if not _failed(result):
            say(f"{work.title}: {'done before: ' if before else ''}{_text(result)}", options.quiet)


def _say_what_is_trained_again(works: Sequence[TrainingRun], quiet: bool) -> None:
    for work in works:
        if why := work.starts_over:
            say(f"{work.title}: finished before, {why}: it is trained again", quiet)


def outcome(record: RunRecord) -> str:
    """Result of a finished run in a few words; "nan" for a loss that its record lacks."""
    last = record.result
    accuracy = f", {100 * last.test_top1:.2f} %" if math.isfinite(last.test_top1) else ""  # none without labels
    return f"test loss {last.test_loss:.4f}{accuracy} ({record.seconds:.0f} s)"


def refuse_another(work: TrainingRun) -> None:
    """Refuse to go on in a folder that holds a run of another configuration."""
    record = work.run.written
    config = None if record is None else record.config.document()
    if config is None or run_id(config) == run_id(work.config):
        return
    recorded, requested = _flat(config), _flat(work.config)
    every = {**requested, **recorded}
    names = [name for name in every if recorded.get(name) != requested.get(name)] or ["its configuration"]
    first = f"{names[0]} was {recorded.get(names[0])}, now {requested.get(names[0])}"
    if names[0].startswith("data."):  # hashes say nothing to a reader
        first = f"the {names[0].removeprefix('data.').replace('_', '-')} images were others"
    raise UsageError(
        f"{work.run.folder} holds another run ({first}): choose another {argument('output')}, or remove that folder"
    )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
