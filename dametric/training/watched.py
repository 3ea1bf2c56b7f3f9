"""Training runs with a bar, which Ctrl-C saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dametric.base.interrupts import until_interrupted
from dametric.base.progress import progress
from dametric.errors import Interrupted
from dametric.records.record import RunRecord
from dametric.records.runs import Row
from dametric.training.run import OnEpoch, Result, carry_out_together
from dametric.training.setting import Work


def watched(
    work: Work,
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
    (result,) = watched_together([work], quiet=quiet, on_epoch=lambda work, row: on_epoch(row), stop=stop)
    if isinstance(result, BaseException):
        raise result
    return result


def watched_together(
    works: Sequence[Work],
    *,
    quiet: bool = False,
    on_epoch: Callable[[Work, Row], None] = lambda work, row: None,
    stop: Callable[[], bool] | None = None,
) -> list[Result]:
    """Carry out runs in lockstep with a bar, so that Ctrl-C (or ``stop``) saves them and says how to go on.

    Returns
    -------
    list
        As :func:`~dametric.training.run.carry_out_together`, without Interrupted, which is raised.

    Raises
    ------
    Interrupted
        If a run was.
    """
    for work in works:
        if not work.finished:
            work.look(quiet)
            work.setting.tell(work.training.interface, quiet)
    title = works[0].title + (f" and {len(works) - 1} more in lockstep" if len(works) > 1 else "")
    total = sum(work.epochs for work in works)
    with until_interrupted() as asked, progress(title, total, quiet=quiet) as advance:
        results = carry_out_together(works, stop=stop or asked, advance=advance, on_epoch=on_epoch)
    for result in results:
        if isinstance(result, Interrupted):
            raise Interrupted(f"{result}; everything is saved, the same command goes on") from result
    return results
