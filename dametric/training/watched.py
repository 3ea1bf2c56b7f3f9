"""Training runs with a progress bar; Ctrl-C saves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from dametric.base.interrupts import until_interrupted
from dametric.base.progress import Advance, progress
from dametric.errors import Interrupted
from dametric.records.record import RunRecord
from dametric.training.context import TrainingRun
from dametric.training.run import OnEpoch, Result, carry_out_together


@dataclass
class Watch:
    """Callbacks of the runs that are watched, and their outcome."""

    stop: Callable[[], bool]
    advance: Advance
    results: list[Result] = field(default_factory=list)


@contextmanager
def watching(
    works: Sequence[TrainingRun], quiet: bool = False, stop: Callable[[], bool] | None = None
) -> Iterator[Watch]:
    """A bar over runs that are carried out in lockstep, which Ctrl-C (or ``stop``) saves.

    Yields
    ------
    Watch
        Whose ``results`` are to be set.

    Raises
    ------
    Interrupted
        If a run was, with how to go on.
    """
    for work in works:
        if not work.finished:
            work.look(quiet)
            work.context.tell(work.training.interface, quiet)
    title = works[0].title + (f" and {len(works) - 1} more in lockstep" if len(works) > 1 else "")
    with (
        until_interrupted() as interrupted,
        progress(title, sum(work.epochs for work in works), quiet=quiet) as advance,
    ):
        watch = Watch(stop or interrupted, advance)
        yield watch
    for result in watch.results:
        if isinstance(result, Interrupted):
            raise Interrupted(f"{result}; everything is saved, the same command goes on") from result


def watched(
    work: TrainingRun,
    *,
    quiet: bool = False,
    on_epoch: OnEpoch = lambda row: None,
    stop: Callable[[], bool] | None = None,
) -> RunRecord:
    """Carry out a run with a bar, so that Ctrl-C (or ``stop``) saves it and says how to go on.

    Raises
    ------
    BusyError, Interrupted, RunFailed
        See :func:`~dametric.training.run.carry_out`.
    """
    with watching([work], quiet, stop) as watch:
        watch.results = carry_out_together(
            [work], stop=watch.stop, advance=watch.advance, on_epoch=lambda work, row: on_epoch(row)
        )
    (result,) = watch.results
    if isinstance(result, BaseException):
        raise result
    return result
