"""Doing what a sweep does, in any process, and going on with what another one left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dametric.base.devices import free_memory
from dametric.base.locks import BusyError
from dametric.base.progress import Advance
from dametric.errors import Interrupted, RunFailed
from dametric.jobs.executor import Stop
from dametric.jobs.schedule import Outcome
from dametric.models.accuracy import near_chance
from dametric.models.failures import network_errors
from dametric.records.record import RunRecord
from dametric.records.scores import Scores
from dametric.sweeps.tasks import AnyTask, ScoreTask, StudentTask, TeacherTask, claimed_file
from dametric.training import TrainingRun
from dametric.training.many import outcome
from dametric.training.run import Result, carry_out, carry_out_together


def perform(task: AnyTask | tuple[StudentTask, ...], advance: Advance, stop: Stop) -> Outcome | list[Outcome]:
    """Do a task, or go on with it, and say in a line what came of it; of several students in lockstep, of each.

    Raises
    ------
    UsageError
        If it cannot be done, whoever does it: a full disk, for example.
    """
    try:
        return _lockstep(task, advance, stop) if isinstance(task, tuple) else _alone(task, advance, stop)
    finally:
        free_memory()


def _lockstep(tasks: tuple[StudentTask, ...], advance: Advance, stop: Stop) -> list[Outcome]:
    with network_errors():
        works = [task.work() for task in tasks]
        again = [_again(work) for work in works]
        results = carry_out_together(
            works,
            stop=stop,
            advance=advance,
            on_taken_over=lambda holder: advance(0, note=f"taken over from {holder}, which died; "),
        )
    return [_outcome(result, text) for result, text in zip(results, again, strict=True)]


def _again(work: TrainingRun) -> str:
    """What is to be said of a run that was finished before; of some only their teacher, trained just now, tells."""
    return f"finished before, {why.replace('are gone', 'were gone')}; " if (why := work.starts_over) else ""


def _outcome(result: Result, before: str = "") -> Outcome:
    if isinstance(result, BusyError):
        return Outcome("busy")
    if isinstance(result, Interrupted):
        return Outcome("saved")
    if isinstance(result, RunFailed):
        return Outcome("failed", f"{before}{result}")
    return Outcome("finished", f"{before}{outcome(result)}")


def _alone(task: AnyTask, advance: Advance, stop: Stop) -> Outcome:
    remarks: list[str] = []

    def taken_over(holder: str) -> None:
        remarks.append(f"taken over from {holder}, which died; ")
        advance(0, note=remarks[-1])

    try:
        with network_errors():
            if isinstance(task, ScoreTask):
                text = _make_scores(task, stop, taken_over)
            else:
                work = task.work()
                remarks.append(_again(work))
                record = carry_out(work, stop=stop, advance=advance, on_taken_over=taken_over)
                text = outcome(record)
                if isinstance(task, TeacherTask):
                    text += _warning(work, record)
    except BusyError:
        return Outcome("busy")
    except RunFailed as error:
        return Outcome("failed", f"{''.join(remarks)}{error}")
    except Interrupted:
        return Outcome("saved")
    return Outcome("finished", f"{''.join(remarks)}{text}")


def _warning(work: TrainingRun, record: RunRecord) -> str:
    """What is to be said of a teacher that has learnt next to nothing."""
    classes, images = work.context.train.num_classes, len(work.context.test)
    if not near_chance(record.result.test_top1, classes, images):
        return ""
    return f"; WARNING: that is near chance ({100 / classes:.2f} %), so what it teaches and how it scores mean nothing"


def _make_scores(task: ScoreTask, stop: Stop, taken_over: Callable[[str], None]) -> str:
    with claimed_file(task.output) as before:
        if before is not None:
            taken_over(before)
        if task.finished:
            return "made before"
        scores = task.resolved().scores(stop)
        Scores.of(scores.rows, replace(scores.settings, asked=task.asked()), scores.versions).write(task.output)
    return f"{len(scores)} augmentations, best {scores.rows[0].aug} ({scores.settings.seconds:.0f} s)"
