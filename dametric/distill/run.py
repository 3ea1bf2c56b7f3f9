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


def carry_out(
    work: Work,
    *,
    stop: Callable[[], bool] = lambda: False,
    advance: Advance = lambda steps=1, note="": None,
    on_epoch: OnEpoch = lambda row: None,
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
    run = work.run
    with run.claimed():
        record = run.record
        if record is not None and record["status"] == "finished":
            return record
        training = work.training
        rows = _restore(work)
        timing = {"started": _now(), "sessions": 0, **((record or {}).get("timing") or {})}
        timing["sessions"] += 1
        _write(work, "running", rows, timing)
        advance(len(rows) + training.step / training.steps, note="going on" if rows or training.step else "")
        started = time.monotonic() - timing.pop("part", 0.0)  # of an epoch that was begun before
        while training.epoch < training.recipe.epochs:
            try:
                finished = training.run_epoch(stop, advance)
            except DivergedError as error:
                _write(work, "failed", rows, timing, str(error))
                raise RunFailed(str(error)) from error
            if finished:
                rows.append(_judged(work, time.monotonic() - started))
                started = time.monotonic()
                run.write_history(rows)
                on_epoch(rows[-1])
                advance(0, note=f"loss {rows[-1]['train_loss']:.3f}, test {100 * rows[-1]['test_top1']:.2f} %")
            _keep(work, training.state())
            if training.epoch < training.recipe.epochs and (not finished or stop()):
                part = {} if finished else {"part": round(time.monotonic() - started, 3)}
                _write(work, "interrupted", rows, {**timing, **part})
                raise Interrupted(f"stopped in epoch {training.epoch + 1} of {training.recipe.epochs}")
        _keep(work, {**training.state(), "momentum": {}})
        return _write(work, "finished", rows, {**timing, "finished": _now()})


def _restore(work: Work) -> list[Row]:
    """Bring the network and the training to where they were left; the rows of the epochs that are done."""
    run, training = work.run, work.training
    if not run.checkpoint.exists():
        return []
    state = load_state(run.checkpoint, training.model)
    rows = run.history()
    if state is None or len(rows) < state["epoch"]:
        raise UsageError(f"the history in {run.folder} does not fit its last.pt: remove the folder to start over")
    training.restore(state)
    return rows[: training.epoch]  # one more was written if the process died between the two files


def _judged(work: Work, seconds: float) -> Row:
    """The row of the epoch that was just finished."""
    training = work.training
    logits = held_out_logits(training.model, work.setting.test, training.device, training.exact)
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
        "code": code_version(),
        "versions": machine(work.training.device),
        "timing": {**timing, "seconds": seconds},
    }
    work.run.write_record(record)
    return record


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
