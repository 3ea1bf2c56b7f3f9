"""A made-up study of any size on disk, for what has to be timed or tried without training anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dametric.records.runs import Run, run_id
from dametric.records.scores import Scores

PICKS = ("cutmixpick:by=student_entropy", "cutmixpick:by=teacher_entropy")
NINE = ("identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix", *PICKS)
SWEEP = tuple(f"{name}={value}" for name in ("mixup:alpha", "cutmix:alpha") for value in (0.2, 0.5, 2, 4))
EIGHTEEN = (*NINE, *SWEEP, "cutout:size=4")
METRICS = {"t_stddev": "lower", "t_entropy": "higher", "t_gini": "higher", "ce_mean": "higher", "ce_cov": "lower"}


def study(folder: Path, augs: Sequence[str], teachers: int, seeds: int, seed: int = 0) -> list[str]:
    """Score files and a ledger: scores that correlate with the losses by about 0.9.

    Parameters
    ----------
    folder : Path
    augs : sequence of str
    teachers, seeds : int
        One student architecture a teacher; ``len(augs) * teachers * seeds`` runs.
    seed : int

    Returns
    -------
    list of str
        The paths that `dametric report` takes.
    """
    draw, paths = np.random.default_rng(seed), []
    common = draw.standard_normal(len(augs))
    for place in range(teachers):
        true = 0.7 * common + 0.7 * draw.standard_normal(len(augs))
        teacher = {"arch": f"teacher{place}", "sha256": f"{place:064x}"}
        paths.append(str(_scores(augs, teacher, true, draw).write(folder / f"scores{place}.json")))
        for aug, value in zip(augs, true, strict=True):
            for number in range(seeds):
                loss = 1 + 0.04 * value + 0.02 * draw.standard_normal()
                _run(folder / "runs", f"student{place}", aug, number, loss, teacher)
    return [*paths, str(folder / "runs")]


def _scores(augs: Sequence[str], teacher: dict[str, Any], true: Any, draw: np.random.Generator) -> Scores:
    rows: list[dict[str, Any]] = []
    for aug, value in zip(augs, true, strict=True):
        metrics = {}
        for name, direction in METRICS.items():
            turn = 1 if direction == "lower" else -1
            score, se = 0.01 + 0.001 * turn * (value + 0.45 * draw.standard_normal()), 1e-4
            ends = {"low": score - 2 * se, "high": score + 2 * se}
            metrics[name] = {"value": score, "se": se, **ends, "direction": direction}
        rows.append({"aug": aug, "metrics": metrics, "parameters": [], "rows": 64, "batches": 88})
    rows.sort(key=lambda row: row["metrics"]["t_stddev"]["value"])
    best = rows[0]
    for row in rows:
        gap = row["metrics"]["t_stddev"]["value"] - best["metrics"]["t_stddev"]["value"]
        difference = {"to": best["aug"], "value": gap, "se": 1.4e-4, "low": gap - 2.8e-4, "high": gap + 2.8e-4}
        row |= {"difference": difference, "tied_with_best": bool(gap < 2.8e-4)}
    data = {"name": "made-up", "fingerprint": "0" * 64}
    config = {"metrics": list(METRICS), "teacher": teacher, "n": 320, "b": 64, "batches": 88, "seed": 0, "data": data}
    return Scores(rows, config, {})


def _run(root: Path, student: str, aug: str, seed: int, loss: float, teacher: dict[str, Any]) -> None:
    recipe = {"base_aug": "crop+flip", "aug": aug, "seed": seed, "epochs": 240, "lr": 0.05}
    config = {"kind": "distill", "student": student, "recipe": recipe}
    run = Run.of(root, config, f"{student}-{aug.replace(':', '-')}-{seed}")
    run.folder.mkdir(parents=True)
    last = {"epoch": 240, "test_loss": loss, "test_top1": 0.9 - loss / 5, "test_top5": 0.95, "test_ece": 0.1}
    about = {"student": {"arch": student}, "teacher": teacher, "data": {"name": "made-up"}}
    made = {"code": {"version": "none", "sha256": "0" * 64}, "versions": {}, "timing": {"seconds": 1.0}}
    names = {"id": run_id(config), "status": "finished", "error": None}
    run.write_record({**names, "config": config, "about": about, "last": last, "best": last, **made})
