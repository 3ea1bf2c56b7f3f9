"""What a sweep has come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from dametric.jobs.schedule import Report, Task
from dametric.records.runs import Run, find_runs, load_runs
from dametric.records.scores import Scores
from dametric.sweeps.study import Study

FAILED = 1
"""Exit status where a run failed; the others were done."""
WORK_LEFT = 3
"""Exit status where nothing went wrong, and the same sweep has more to do."""


@dataclass(frozen=True)
class Swept:
    """What a sweep has come to.

    Attributes
    ----------
    folder : Path
    runs : tuple of Run
        The ledger: teachers and students that were asked for, as far as they have begun.
    scores : tuple of Path
        Score files that are there.
    failed : dict of str to str
        Why tasks failed, by their title.
    held, left : tuple of str
        Titles of tasks that another process holds, and of others that are not done.
    students : int
        How many were asked for.
    """

    folder: Path
    runs: tuple[Run, ...] = ()
    scores: tuple[Path, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    students: int = 0

    @property
    def exit_status(self) -> int:
        """0 if everything is done, 1 if something failed, 3 if something is left."""
        if self.failed:
            return FAILED
        return WORK_LEFT if self.held or self.left else 0

    @property
    def table(self) -> pd.DataFrame:
        """The runs as :func:`dametric.load_runs` has them.

        Raises
        ------
        UsageError
            If there is none.
        """
        return load_runs(self.runs)

    @property
    def score_table(self) -> pd.DataFrame:
        """All score files: who was scored and shown, and a row an augmentation; empty if there is none."""
        parts = []
        for path in self.scores:
            scores = Scores.read(path)
            config = scores.settings
            about = {
                "teacher": config.scored.arch,
                "teacher_sha256": config.scored.sha256,
                "student": config.shown.arch,
                "data": config.data.name,
            }
            parts.append(scores.table.assign(**about)[[*about, *scores.table.columns]])
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def swept(report: Report, study: Study, tasks: Sequence[Task], folder: Path) -> Swept:
    """What came of some tasks of a study."""
    titles = {task.key: task.title for task in tasks}
    outputs = [task.payload.output for task in tasks if task.kind == "score"]
    return Swept(
        folder,
        tuple(_runs(study, tasks, folder)),
        tuple(path for path in outputs if path.exists()),
        {titles[key]: reason for key, reason in report.failed.items()},
        tuple(titles[key] for key in report.held),
        tuple(titles[key] for key in report.left),
        sum(task.kind == "student" for task in tasks),
    )


def _runs(study: Study, tasks: Sequence[Task], folder: Path) -> list[Run]:
    """Of all runs below a folder those of some tasks."""
    if not any(folder.rglob("record.json")):
        return []
    wanted = set()
    for task in tasks:
        if task.kind != "score":
            run = study.runs.get(task.key)
            if run is None and Path(task.payload.teacher).exists():
                run = task.payload.work().run
            if run is not None:
                wanted.add(run.folder.resolve())
    return [run for run in find_runs(folder) if run.record and run.folder.resolve() in wanted]
