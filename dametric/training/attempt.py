"""What one process does for a run of the ledger: claims it, goes on from where it was left, keeps everything."""

from __future__ import annotations

import glob
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from torch import Tensor

from dametric.base.arguments import argument
from dametric.base.environment import machine
from dametric.base.terminal import note_once
from dametric.data import ImageSet
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.models import load_state, save_checkpoint
from dametric.records.documents import plain
from dametric.records.record import CodeVersion, RunConfig, RunRecord, Timing
from dametric.records.runs import BusyError, Row, Run, code_version, run_id, seconds_of, summary_of
from dametric.training.context import TrainingRun
from dametric.training.evaluate import MEASURES, all_finite, evaluate, evaluate_unlabelled, held_out_logits
from dametric.training.recipe import learning_rate
from dametric.training.trainer import DivergedError, Training

_CODE = CodeVersion.of(code_version())  # of what was imported: the files may change while a run lasts


class Attempt:
    """One process at work on a run, from claiming it to giving it back; a context manager.

    Parameters
    ----------
    work : TrainingRun
    otherwise : list of str
        What torch cannot compute to the same bits each time, as far as it was met and should: others add to it.
    """

    def __init__(self, work: TrainingRun, otherwise: list[str]) -> None:
        self.work = work
        self.run = work.run
        self.rows: list[Row] = []
        self.timing = Timing()
        self.spent = 0.0  # seconds on the epoch that is not done
        self.beside = 1  # students in lockstep, at most
        self.otherwise = otherwise
        self._before: dict[str, Any] | None = None  # versions and settings of the session that is gone on from
        self._written_otherwise = 0
        self._claim = ExitStack()

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock on the run."""
        self._claim.close()

    @property
    def training(self) -> Training:
        """The network, trained so far."""
        return self.work.training

    def begin(self, on_taken_over: Callable[[str], None]) -> RunRecord | None:
        """Claim the run and go to where it was left; the record if it is finished.

        Raises
        ------
        BusyError
            If another process is working on it.
        """
        work = self.work
        if not work.finished:
            _ = self.training  # what cannot be built is refused before there is a folder
            before = self._claim.enter_context(work.run.claimed())
            if before is not None:
                on_taken_over(before)
            if work.target is not None:
                for left in work.target.parent.glob(f".{glob.escape(work.target.name)}.*"):
                    left.unlink(missing_ok=True)  # by a process that was killed while it wrote
        if work.finished:  # another process may have been at it meanwhile
            self.release()
            tidy(work)
            return work.run.written
        self.run = work.run.again if work.weights_gone else work.run  # what it came to is known all the same
        self.rows, self.spent = _restore(work, self.run)
        if not self.rows:  # training starts over: what a history would say of it is not true any more
            self.run.files[1].unlink(missing_ok=True)
        record = self.run.written
        timing = Timing() if record is None or record.timing is None else record.timing
        self.timing = replace(timing, started=timing.started or _now(), sessions=timing.sessions + 1)
        self.beside = timing.lockstep or 1
        if self.training.number:
            self._before = {} if record is None else record.versions
            self._tell_other_bits()
        else:
            self.timing = replace(self.timing, same_bits=None)
        self.passed_over = set(record.about.data.passed_over or ()) if record is not None and self.rows else set()
        self._write("running")
        return None

    def end_epoch(self) -> Row:
        """Judge the epoch that is done and keep everything; its row.

        Raises
        ------
        DivergedError
            If what the network says is not finite.
        """
        start = time.monotonic()
        row = _judged(self.work)
        row["seconds"] = round(self.spent + time.monotonic() - start, 3)
        self.rows.append(row)
        self.spent = 0.0
        self.run.write_history(self.rows)
        _keep(self.work, self.run, {**self.training.state(), "seconds": 0.0})
        if not self.passed_over.issuperset(_passed_over(self.work)) or len(self.otherwise) > self._written_otherwise:
            self._write("running")  # a process that goes on may not meet these images, and operations, again
        return row

    def interrupt(self) -> Interrupted:
        """Save the state, to resume from."""
        _keep(self.work, self.run, {**self.training.state(), "seconds": self.spent})
        self._write("interrupted")
        return Interrupted(f"stopped in epoch {self.training.epoch + 1} of {self.training.epochs}")

    def fail(self, error: DivergedError) -> RunFailed:
        """Record that the run failed."""
        self._write("failed", str(error))
        failure = RunFailed(str(error))
        failure.__cause__ = error
        return failure

    def finish(self) -> RunRecord:
        """Write what is to be kept, and the record last: what it says is there."""
        work = self.work
        _keep(work, self.run, {**self.training.state(), "momentum": {}})
        if self.run != work.run:
            self._take_place()
        if work.target is not None:
            _save(work, work.target, extra={"run": run_id(work.config), "test": plain(summary_of(self.rows)[0])})
        self.timing = replace(self.timing, finished=_now())
        record = self._write("finished", kept=work.keep)
        for path in _surplus(work):
            path.unlink(missing_ok=True)
        return record

    def _take_place(self) -> None:
        """Replace the weights that were gone first: without them the run is trained again, with them it is finished."""
        os.replace(self.run.checkpoint, self.work.run.checkpoint)
        self.run = self.work.run
        self.run.write_history(self.rows)

    def _write(self, status: str, error: str | None = None, kept: str = "last") -> RunRecord:
        work, (last, best) = self.work, summary_of(self.rows)
        beside = self.beside if self.beside > 1 else self.timing.lockstep
        self.passed_over |= _passed_over(work)
        data = replace(work.about.data, passed_over=sorted(self.passed_over) or None)
        versions, self._written_otherwise = self._versions(), len(self.otherwise)
        if self._before is not None and not _same_bits(self._before, versions):
            self.timing = replace(self.timing, same_bits=False)
        record = RunRecord(
            run_id(work.config),
            status,
            error,
            kept,
            last,
            best,
            _CODE,
            versions,
            replace(self.timing, lockstep=beside, seconds=seconds_of(self.rows)),
            config=RunConfig.of(work.config),
            about=replace(work.about, data=data),
        )
        self.run.write_record(record.document())
        return record

    def _versions(self) -> dict[str, Any]:
        """Versions of the libraries, the machine, and whether it computed the same bits as it would again."""
        versions = machine(self.training.device)
        return {**versions, "deterministic": False} if self.otherwise else versions

    def _tell_other_bits(self) -> None:
        if self._before is not None and not _same_bits(self._before, self._versions()):
            note_once(
                "on a GPU a run that was interrupted does not go on to the same bits, which its record says: "
                f"{argument('deterministic', True)} from its start lets it"
            )


def _same_bits(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two sessions, by their versions and settings, compute what one would: on a GPU if they are alike."""
    on_gpus = [versions for versions in (before, now) if "deterministic" in versions]
    alike = all(before.get(name) == now.get(name) for name in ("chip", "torch", "cudnn"))
    return not on_gpus or (alike and all(versions["deterministic"] for versions in on_gpus))


def _passed_over(work: TrainingRun) -> set[str]:
    """The broken images that were met so far."""
    splits = (work.context.train, work.context.test, work.context.held_out)
    return {name for images in splits if images is not None for name in images.passed_over}


def tidy(work: TrainingRun) -> None:
    """Take away what a finished run does not keep, if a process was killed before it had done so."""
    if any(path.exists() for path in _surplus(work)):
        with suppress(BusyError), work.run.claimed():  # whoever holds it tidies it
            for path in _surplus(work):
                path.unlink(missing_ok=True)


def _surplus(work: TrainingRun) -> list[Path]:
    """Files that a finished run does not keep: those of training it again, and its weights where none are kept."""
    record = work.run.written
    weightless = work.keep == "none" and record is not None and record.kept == "none"
    return [*work.run.again.files, *([work.run.checkpoint] if weightless else [])]


def _restore(work: TrainingRun, run: Run) -> tuple[list[Row], float]:
    """Bring network and training to where they were left; rows of the epochs done, seconds spent on the next one."""
    training = work.training
    if work.misread:  # what it has learnt so far is of another loss
        run.checkpoint.unlink(missing_ok=True)
    if not run.checkpoint.exists():
        return [], 0.0
    state = load_state(run.checkpoint, training.model)
    rows = run.history()
    try:
        training.restore(state or {})
        part = float((state or {}).get("seconds", 0.0))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise UsageError(f"cannot resume from {run.checkpoint}: remove its folder to start over") from error
    if len(rows) < training.epoch:
        raise UsageError(f"the history in {run.folder} does not fit its last.pt: remove the folder to start over")
    return rows[: training.epoch], part  # one more was written if the process died between the two files


def _judged(work: TrainingRun) -> Row:
    """The row of the epoch that was just finished, without the seconds it took."""
    training, context = work.training, work.context
    due = training.over or (work.eval_every != "last" and training.epoch % work.eval_every == 0)
    tested = _measured(work, "test", context.test if due else None, lambda: context.teacher_logits)
    if context.held_out is not None:
        shown = context.held_out if training.over else None
        tested |= _measured(work, "held_out", shown, lambda: context.held_out_teacher_logits)
    rate = learning_rate(training.recipe, training.number - 1, training.steps)
    losses = {f"train_{name}": value for name, value in training.losses().items()}
    return {"epoch": training.epoch, "step": training.number, "lr": rate, **losses, **tested}


def _measured(work: TrainingRun, name: str, images: ImageSet | None, teacher: Callable[[], Tensor | None]) -> Row:
    """Loss and accuracy on a split; NaN where it is not evaluated."""
    measures = MEASURES if work.context.teacher else [measure for measure in MEASURES if measure != "agreement"]
    if images is None:
        return {f"{name}_{measure}": math.nan for measure in measures}
    training = work.training
    normalisation = {"mean": work.context.train.mean, "std": work.context.train.std}  # what it was trained with
    logits = held_out_logits(
        training.model, images, training.device, training.exact, training.interface, **normalisation
    )
    if not all_finite(logits):
        raise DivergedError(
            f"the network's output is not finite after epoch {training.epoch}: "
            f"use a smaller learning rate than {training.recipe.lr:g}"
        )
    asked = teacher()
    if asked is not None and not work.context.labelled:
        values = evaluate_unlabelled(logits, asked, work.recipe.objective.temperature)
    else:
        values = evaluate(logits, images.labels.cpu(), asked)
    return {f"{name}_{measure}": values[measure] for measure in measures}


def _keep(work: TrainingRun, run: Run, state: dict[str, Any]) -> None:
    extra = {"run": run_id(work.config), "epoch": work.training.epoch}
    _save(work, run.checkpoint, extra=extra, state=state)


def _save(work: TrainingRun, path: Path, **more: Any) -> None:
    data = work.context.train
    save_checkpoint(
        path,
        work.training.model,
        arch=work.arch,
        classes=data.classes,
        mean=data.mean,
        std=data.std,
        data=data.name,
        image_size=data.image_size,
        **more,
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
