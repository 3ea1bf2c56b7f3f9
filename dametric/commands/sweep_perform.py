"""Doing what a sweep does, in any process, and going on with what another one left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dametric.claims import BusyError
from dametric.commands.inputs import near_chance, network_errors
from dametric.commands.score import _score as scored
from dametric.commands.sweep_tasks import AnyTask, ScoreTask, TeacherTask, claimed_file
from dametric.commands.training import outcome, write_teacher
from dametric.distill import Work
from dametric.distill.run import OnEpoch, carry_out
from dametric.errors import Interrupted, RunFailed
from dametric.progress import Advance
from dametric.sweep.schedule import Outcome

Stop = Callable[[], bool]


def perform(task: AnyTask, advance: Advance, stop: Stop, on_epoch: OnEpoch = lambda row: None) -> Outcome:
    """Do a task, or go on with it, and say in a line what came of it.

    Raises
    ------
    UsageError
        If it cannot be done, whoever does it: a full disk, for example.
    """
    said: list[str] = []

    def taken_over(holder: str) -> None:
        said.append(f"taken over from {holder}, which died; ")
        advance(0, note=said[-1])

    try:
        with network_errors():
            if isinstance(task, ScoreTask):
                text = _make_scores(task, stop, taken_over)
            else:
                work = task.work()
                record = carry_out(work, stop=stop, advance=advance, on_epoch=on_epoch, on_taken_over=taken_over)
                text = outcome(record)
                if isinstance(task, TeacherTask):
                    _write_once(work, record, Path(task.output))
                    text += _warning(work, record)
    except BusyError:
        return Outcome("busy")
    except RunFailed as error:
        return Outcome("failed", f"{''.join(said)}{error}")
    except Interrupted:
        return Outcome("saved")
    return Outcome("finished", f"{''.join(said)}{text}")


def _warning(work: Work, record: dict[str, Any]) -> str:
    """What is to be said of a teacher that has learnt next to nothing."""
    classes, images = work.setting.train.num_classes, len(work.setting.test)
    if not near_chance(record["last"]["test_top1"], classes, images):
        return ""
    return f"; WARNING: that is near chance ({100 / classes:.2f} %), so what it teaches and how it scores mean nothing"


def _write_once(work: Work, record: dict[str, Any], target: Path) -> None:
    """Write a teacher's checkpoint, unless it is there."""
    if not target.exists():
        with claimed_file(target):
            write_teacher(work, record, target)


def _make_scores(task: ScoreTask, stop: Stop, taken_over: Callable[[str], None]) -> str:
    with claimed_file(task.output) as before:
        if before is not None:
            taken_over(before)
        if task.finished:
            return "made before"
        options = task.resolved()
        result = scored(replace(options, passed_on={**(options.passed_on or {}), "stop": stop}))
        result.config["asked"] = task.asked()
        result.write(task.output)
    best = result.scores[0]
    return f"{len(result.scores)} augmentations, best {best['aug']} ({result.config['seconds']:.0f} s)"
