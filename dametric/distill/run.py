"""One run of the ledger: begin or go on, train epoch by epoch, keep everything, finish."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from dametric.distill.evaluate import evaluate, held_out_logits
from dametric.distill.recipe import learning_rate
from dametric.distill.setting import Work
from dametric.distill.trainer import DivergedError
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.ledger import Row, code_version, run_id, summary
from dametric.machine import machine
from dametric.models import load_state, save_checkpoint
from dametric.progress import Advance

OnEpoch = Callable[[Row], None]
_CODE = code_version()  # of what was imported: the files may change while a run lasts


def carry_out(
    work: Work,
    *,
    stop: Callable[[], bool] = lambda: False,
    advance: Advance = lambda steps=1, note="": None,
    on_epoch: OnEpoch = lambda row: None,
    on_taken_over: Callable[[str], None] = lambda holder: None,
) -> dict[str, Any]:
    """Train to the end, or go on to it, keeping the ledger's folder up to date.

    Parameters
    ----------
    work : Work
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
    dict
        The record; at once if the run is finished already.

    Raises
    ------
    BusyError
        If another process is working on the run.
    Interrupted
        If ``stop`` said so; what was done is saved.
    RunFailed
        If the loss was not finite; the record says so.
    """
    run, record = work.run, work.run.record
    if record is not None and record["status"] == "finished":
        return record
    training = work.training  # what cannot be built is refused before there is a folder
    with run.claimed() as before:
        if before is not None:
            on_taken_over(before)
        record = run.record  # another process may have been at it meanwhile
        if record is not None and record["status"] == "finished":
            return record
        rows, part = _restore(work)
        timing = {"started": _now(), "sessions": 0, **((record or {}).get("timing") or {})}
        timing["sessions"] += 1
        _write(work, "running", rows, timing)
        advance(len(rows) + training.step / training.steps, note="going on" if rows or training.step else "")
        started = time.monotonic() - part
        while training.epoch < training.recipe.epochs:
            try:
                finished = training.run_epoch(stop, advance)
                new = _judged(work, time.monotonic() - started) if finished else None
            except DivergedError as error:
                _write(work, "failed", rows, timing, str(error))
                raise RunFailed(str(error)) from error
            if new is not None:
                rows.append(new)
                started = time.monotonic()
                run.write_history(rows)
                on_epoch(rows[-1])
                advance(0, note=f"loss {rows[-1]['train_loss']:.3f}, test {100 * rows[-1]['test_top1']:.2f} %")
            _keep(work, {**training.state(), "seconds": 0.0 if finished else time.monotonic() - started})
            if training.epoch < training.recipe.epochs and (not finished or stop()):
                _write(work, "interrupted", rows, timing)
                raise Interrupted(f"stopped in epoch {training.epoch + 1} of {training.recipe.epochs}")
        _keep(work, {**training.state(), "momentum": {}})
        return _write(work, "finished", rows, {**timing, "finished": _now()})


def _restore(work: Work) -> tuple[list[Row], float]:
    """Bring network and training to where they were left; rows of the epochs done, seconds spent on the next one."""
    run, training = work.run, work.training
    if not run.checkpoint.exists():
        return [], 0.0
    state = load_state(run.checkpoint, training.model)
    rows = run.history()
    try:
        training.restore(state or {})
        part = float((state or {}).get("seconds", 0.0))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise UsageError(f"cannot go on from {run.checkpoint}: remove its folder to start over") from error
    if len(rows) < training.epoch:
        raise UsageError(f"the history in {run.folder} does not fit its last.pt: remove the folder to start over")
    return rows[: training.epoch], part  # one more was written if the process died between the two files


def _judged(work: Work, seconds: float) -> Row:
    """The row of the epoch that was just finished."""
    training = work.training
    of = {"mean": work.setting.train.mean, "std": work.setting.train.std}  # what it was trained with
    logits = held_out_logits(training.model, work.setting.test, training.device, training.exact, **of)
    if not bool(logits.isfinite().all()):
        raise DivergedError(
            f"the network's output is not finite after epoch {training.epoch}: "
            f"use a smaller learning rate than {training.recipe.lr:g}"
        )
    found = evaluate(logits, work.setting.test.labels.cpu(), work.setting.teacher_logits)
    rate = learning_rate(training.recipe, training.epoch * training.steps - 1, training.steps)
    losses = {f"train_{name}": value for name, value in training.losses().items()}
    tested = {f"test_{name}": value for name, value in found.items()}
    return {"epoch": training.epoch, "lr": rate, **losses, **tested, "seconds": round(seconds, 3)}


def _keep(work: Work, state: dict[str, Any]) -> None:
    training, data = work.training, work.setting.train
    save_checkpoint(
        work.run.checkpoint,
        training.model,
        arch=work.arch,
        classes=data.classes,
        mean=data.mean,
        std=data.std,
        data=data.name,
        image_size=data.image_size,
        extra={"run": run_id(work.config), "epoch": training.epoch},
        state=state,
    )


def _write(
    work: Work, status: str, rows: list[Row], timing: dict[str, Any], error: str | None = None
) -> dict[str, Any]:
    seconds = round(sum(row["seconds"] for row in rows), 3)
    record = {
        "id": run_id(work.config),
        "status": status,
        "error": error,
        "config": work.config,
        "about": work.about,
        **summary(rows),
        "code": _CODE,
        "versions": machine(work.training.device),
        "timing": {**timing, "seconds": seconds},
    }
    work.run.write_record(record)
    return record


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
