"""Runs of the ledger: begin or go on, train epoch by epoch, keep everything, finish; one, or several in lockstep."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from dametric.base.arguments import argument
from dametric.base.devices import deterministic_algorithms
from dametric.base.progress import Advance
from dametric.base.terminal import note_once
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.records.record import RunRecord
from dametric.records.runs import BusyError, Row
from dametric.training.attempt import Attempt
from dametric.training.context import TrainingRun
from dametric.training.trainer import DivergedError, Stretch, advance_together

OnEpoch = Callable[[Row], None]
Result = RunRecord | RunFailed | Interrupted


def carry_out(
    work: TrainingRun,
    *,
    stop: Callable[[], bool] = lambda: False,
    advance: Advance = lambda steps=1, note="": None,
    on_epoch: OnEpoch = lambda row: None,
    on_taken_over: Callable[[str], None] = lambda holder: None,
) -> RunRecord:
    """Train to the end, or go on to it, keeping the ledger's folder up to date.

    Parameters
    ----------
    work : TrainingRun
    stop : callable
        Asked after every step whether to save and stop there.
    advance : Advance
        Called with the fraction of an epoch that was done, and with how it goes.
    on_epoch : callable
        Called with every row of the history that is new.
    on_taken_over : callable
        Called with who was working on the run, if that was a process that died.

    Returns
    -------
    RunRecord
        At once if the run is finished already.

    Raises
    ------
    BusyError
        If another process is working on the run.
    Interrupted
        If ``stop`` said so; what was done is saved.
    RunFailed
        If the loss was not finite; the record says so.
    """
    (result,) = carry_out_together(
        [work], stop=stop, advance=advance, on_epoch=lambda work, row: on_epoch(row), on_taken_over=on_taken_over
    )
    if isinstance(result, BaseException):
        raise result
    return result


def carry_out_together(
    works: Sequence[TrainingRun],
    *,
    stop: Callable[[], bool] = lambda: False,
    advance: Advance = lambda steps=1, note="": None,
    on_epoch: Callable[[TrainingRun, Row], None] = lambda work, row: None,
    on_taken_over: Callable[[str], None] = lambda holder: None,
) -> list[Result]:
    """Train several networks in lockstep, or go on with them: the same numbers as each alone, in less time.

    Those that are at the same step take it together: they share the images and what the teacher says of the raw view.
    Those that are behind go on alone until they meet the others; a run that fails, is finished or is held by another
    process leaves the others as they are.

    Parameters
    ----------
    works : sequence of TrainingRun
        Different runs, of one context, with one batch size, seed, base augmentation and dtype.
    stop, advance, on_taken_over
        See :func:`carry_out`; progress is that of all together.
    on_epoch : callable
        Called with a run and every row of its history that is new.

    Returns
    -------
    list
        For every run the record, or what kept it from being finished: BusyError, RunFailed or Interrupted.

    Raises
    ------
    UsageError
        If runs cannot go in lockstep, or cannot be built.
    """
    _check_alike(works)
    results: dict[int, Result] = {}
    active: dict[int, Attempt] = {}
    with ExitStack() as claims:
        otherwise = claims.enter_context(_determinism(works))
        for number, work in enumerate(works):
            attempt = claims.enter_context(Attempt(work, otherwise))
            try:
                record = attempt.begin(on_taken_over)
            except BusyError as error:
                results[number] = error
                continue
            if record is not None:
                results[number] = record
                continue
            active[number] = attempt
            done = attempt.training.number / attempt.training.steps
            advance(done, note="going on" if done else "")
        while active:
            stopped = _go_on(active, results, stop, advance, on_epoch)
            if active and (stopped or stop()):
                results.update((number, attempt.interrupt()) for number, attempt in active.items())
                break
    return [results[number] for number in range(len(works))]


@contextmanager
def _determinism(works: Sequence[TrainingRun]) -> Iterator[list[str]]:
    """Deterministic algorithms where runs on a GPU ask for them; names of what has none, as it is met."""
    on_gpu = any(work.deterministic and work.context.device.type == "cuda" for work in works)
    if not on_gpu:
        yield []
        return
    with deterministic_algorithms() as otherwise:
        if any(work.compile for work in works):
            otherwise.append("compiled code")
            note_once(f"compiled code may differ between processes: {argument('deterministic')} cannot hold its bits")
        yield otherwise


def _check_alike(works: Sequence[TrainingRun]) -> None:
    if len({work.run.folder for work in works}) < len(works):
        raise UsageError("a run cannot be carried out twice at once")
    for work in works[1:]:
        if work.context is not works[0].context or work.recipe.lockstep != works[0].recipe.lockstep:
            raise UsageError(
                f"'{works[0].title}' and '{work.title}' cannot go in lockstep: they must share teacher, data set, "
                "batch size, seed, base augmentation and dtype"
            )


def _go_on(
    active: dict[int, Attempt],
    results: dict[int, Result],
    stop: Callable[[], bool],
    advance: Advance,
    on_epoch: Callable[[TrainingRun, Row], None],
) -> bool:
    """Take those that are furthest behind to where one of them ends an epoch or they meet others.

    Those that are done, or cannot go on, leave. Returns whether it was stopped.
    """
    front = min(attempt.training.number for attempt in active.values())
    group = {number: attempt for number, attempt in active.items() if attempt.training.number == front}
    members = [attempt.training for attempt in group.values() if not attempt.training.over]
    stretch = Stretch()
    ends = {training: training.epoch_end for training in members}
    if members:
        ahead = [attempt.training.number for attempt in active.values() if attempt.training.number > front]
        start = time.monotonic()
        stretch = advance_together(members, min([*ahead, *ends.values()]), stop, advance)
        for attempt in group.values():
            if attempt.training in ends:
                attempt.spent += (time.monotonic() - start) / len(members)  # a member's share of it
                attempt.beside = max(attempt.beside, len(members))
    for number, attempt in group.items():
        training = attempt.training
        try:
            if training in stretch.diverged:
                raise stretch.diverged[training]
            if training.number == ends.get(training):
                row = attempt.end_epoch()
                on_epoch(attempt.work, row)
                advance(0, note=_note(row))
            if training.over:
                results[number] = attempt.finish()
        except DivergedError as error:
            results[number] = attempt.fail(error)
        if number in results:
            attempt.release()
            del active[number]
    return stretch.stopped


def _note(row: Row) -> str:
    tested = f", test {100 * row['test_top1']:.2f} %" if math.isfinite(row["test_top1"]) else ""
    return f"loss {row['train_loss']:.3f}{tested}"
