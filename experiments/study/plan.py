"""What the study consists of, where it lies, and how far it is; read without loading torch, so in a second."""

from __future__ import annotations

import csv
import hashlib
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dametric.base.files import default_cache_dir
from dametric.sweeps.blocks import TeacherSpec
from dametric.sweeps.grid import RunSpec, read_grid

ROOT = Path(__file__).resolve().parents[2]
GRIDS = ("ladder", "strengths")
RECORDS = ROOT / "experiments" / "results" / "study"
WORKTREE = ROOT / ".study"
TAG = "study-1"
RUNS = default_cache_dir() / TAG
"""Where runs are while they last; outside of the checkout, so that a new one goes on with them."""
JOBS = 2
_TRAIN_IMAGES, _BATCH = 5000, 64
_KEPT = ("record.json", "history.csv")
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Expected:
    """A run of the study.

    Attributes
    ----------
    part : str
        "teachers", "ladder", "strengths", "short" or "seeds".
    unit : str
        Teacher, or teacher and student.
    key : tuple
        What finds its record: a teacher's name, or teacher, student, augmentation, seed and steps.
    arch : str
    steps : int
    """

    part: str
    unit: str
    key: Key
    arch: str
    steps: int


def expected(grids: Path = ROOT / "experiments") -> list[Expected]:
    """Every run of the study once, in the order in which they are carried out."""
    found: dict[Key, Expected] = {}
    for name in GRIDS:
        grid = read_grid(str(grids / f"{name}.yaml"))
        for row in grid.rows:
            for run in (*_teacher(grid.teachers[row.teacher], row.teacher), _student(name, row)):
                found.setdefault(run.key, run)
    return list(found.values())


def _teacher(spec: TeacherSpec, name: str) -> Iterator[Expected]:
    if spec.trained:
        steps = spec.recipe["epochs"] * (_TRAIN_IMAGES // _BATCH)
        yield Expected("teachers", name, (name,), str(spec.arch), steps)


def _student(grid: str, row: RunSpec) -> Expected:
    steps = dict(row.training)["steps"]
    part = grid if grid == "ladder" else "short" if steps < 2000 else "seeds" if row.seed else "strengths"
    return Expected(
        part,
        f"{row.teacher} -> {row.student}",
        (row.teacher, row.student, row.aug, row.seed, steps),
        row.student,
        steps,
    )


@dataclass(frozen=True)
class Ledger:
    """Records of the study below a folder.

    Attributes
    ----------
    folder : Path
    others : Path
        Where else teachers' files are: those that were given are beside the committed records.
    """

    folder: Path
    others: Path = RECORDS

    @cached_property
    def teachers(self) -> dict[str, str]:
        """Names of teachers by the hash of their file."""
        files = sorted(path for root in (self.others, self.folder) for path in (root / "teachers").glob("*.pth"))
        return {hashlib.sha256(path.read_bytes()).hexdigest(): path.stem.rpartition("-")[2] for path in files}

    @cached_property
    def records(self) -> dict[Key, tuple[Path, dict[str, Any]]]:
        """Records and their folders, by the key of their run."""
        return {self._key(path, record): (path.parent, record) for path, record in self._read()}

    def _read(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        for path in sorted(self.folder.rglob("record.json")):
            yield path, json.loads(path.read_text(encoding="utf-8"))

    def _key(self, path: Path, record: dict[str, Any]) -> Key:
        config = record["config"]
        if config["kind"] == "train":
            return (path.parent.stem.rpartition("-")[2],)
        recipe = config["recipe"]
        teacher = self.teachers.get(config["teacher"]["sha256"])
        per = () if recipe.get("per", "sample") == "sample" else (recipe["per"],)
        return (teacher, config["student"], recipe["aug"], recipe["seed"], recipe["steps"], *per)

    def finished_folders(self) -> list[Path]:
        """Folders of all runs that are done."""
        return [path.parent for path, record in self._read() if record["status"] == "finished"]

    def finished(self) -> dict[Key, tuple[Path, dict[str, Any]]]:
        """Those that are done."""
        return {key: found for key, found in self.records.items() if found[1]["status"] == "finished"}


def is_finished(folder: Path) -> bool:
    """Whether there is a record that says so, and of a teacher its network too."""
    record = folder / "record.json"
    if not record.exists() or json.loads(record.read_text(encoding="utf-8"))["status"] != "finished":
        return False
    return folder.suffix != ".run" or folder.with_suffix(".pth").exists()


def files(folder: Path) -> list[Path]:
    """What is kept of a finished run: its record last, and of a teacher its network first."""
    network = folder.with_suffix(".pth") if folder.suffix == ".run" else None
    found = [network] if network is not None and network.exists() else []
    return [*found, *(folder / name for name in reversed(_KEPT) if (folder / name).exists())]


def status(records: Path = RECORDS, runs: Path = RUNS) -> list[str]:
    """How far the study is, part by part, and how long is left at the pace so far: lines to print."""
    plan, ledgers = expected(), [Ledger(folder, records) for folder in (records, runs) if folder.is_dir()]
    finished = {key: record for ledger in ledgers for key, (_, record) in ledger.finished().items()}
    begun = {key: record for ledger in ledgers for key, (_, record) in ledger.records.items() if key not in finished}
    done = {key: reached for ledger in ledgers for key, reached in _reached(ledger, begun)}
    lines = []
    for part in dict.fromkeys(run.part for run in plan):
        runs_of_part = [run for run in plan if run.part == part]
        count = sum(run.key in finished for run in runs_of_part)
        lines.append(f"{part:10s} {count:3d} of {len(runs_of_part):3d} runs finished")
    seconds = _seconds_left(plan, finished, done)
    left = "?" if seconds is None else f"{seconds / 3600:.1f} hours of two cores"
    total = sum(run.key in finished for run in plan)
    lines.append(f"{'all':10s} {total:3d} of {len(plan):3d} runs finished, {len(begun)} begun; left: {left}")
    return lines


def _reached(ledger: Ledger, begun: dict[Key, Any]) -> Iterator[tuple[Key, tuple[int, float]]]:
    """Steps that runs which have begun have done, and the seconds of these."""
    for key, (folder, _) in ledger.records.items():
        history = folder / "history.csv"
        if key in begun and history.exists():
            with open(history, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            yield key, (int(rows[-1]["step"]), sum(float(row["seconds"]) for row in rows))


def _seconds_left(
    plan: list[Expected], finished: dict[Key, Any], reached: dict[Key, tuple[int, float]]
) -> float | None:
    """At the median pace of runs of the same architecture, of teachers and of students apart."""
    done = {run.key: (run.steps, finished[run.key]["timing"]["seconds"]) for run in plan if run.key in finished}
    done |= reached
    paces: dict[tuple[bool, str], list[float]] = {}
    for run in plan:
        if run.key in done:
            steps, seconds = done[run.key]
            paces.setdefault((run.part == "teachers", run.arch), []).append(seconds / steps)
    if not paces:
        return None
    middle = {key: statistics.median(values) for key, values in paces.items()}
    usual = statistics.median(middle.values())
    left = {run: max(0, run.steps - done.get(run.key, (0, 0.0))[0]) for run in plan if run.key not in finished}
    return sum(steps * middle.get((run.part == "teachers", run.arch), usual) for run, steps in left.items()) / JOBS
