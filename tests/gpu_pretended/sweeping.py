"""A sweep on a GPU, pretended or real: a teacher, two students, a score file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dametric import sweep
from dametric.records.runs import read_record
from dametric.records.scores import Scores

RECIPE = {"steps": 2, "batch_size": 16, "dtype": "float32"}
GRID: dict[str, Any] = {
    "data": {"source": "digits", "train_images": 64, "image_size": 8},
    "teachers": {"resnet8": RECIPE},
    "pairs": ["resnet8 -> resnet8"],
    "augmentations": ["identity", "cutmix"],
    "training": RECIPE,
    "score": {"batches": 4, "batch_size": 16, "dtype": "float32"},
    "eval_every": "last",
    "deterministic": True,
}


def check_sweep(folder: Path, **how: Any) -> None:
    """Carry it out, and begin it again, on CUDA."""
    swept = sweep(GRID, folder, device="cuda", quiet=True, **how)
    assert (swept.exit_status, swept.failed, swept.students) == (0, {}, 2)
    assert swept.table["status"].tolist() == ["finished"] * 3
    for path in folder.rglob("record.json"):
        record = read_record(path)
        assert record["about"]["device"].startswith("cuda"), path
        assert record["versions"]["deterministic"], path
    (scores,) = swept.scores
    assert str(Scores.read(scores).settings.device).startswith("cuda")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    assert sweep(GRID, folder, device="cuda", quiet=True, **how).exit_status == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}, "what is done is not repeated"
