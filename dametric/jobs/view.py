"""All runs in one live view on stderr; in a log file a line for each that ends."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dametric.jobs.schedule import Outcome, Task

_MARKS = {"finished": "", "failed": "FAILED: ", "busy": "left to another process: ", "saved": "saved: "}


class View:
    """Watches a schedule; a context manager.

    Parameters
    ----------
    tasks : list of Task
        Those that are to be done.
    quiet : bool
        Show nothing.
    """

    def __init__(self, tasks: list[Task], quiet: bool = False) -> None:
        self.quiet, self.count, self.ended_count = quiet, len(tasks), 0
        self.console = Console(stderr=True, quiet=quiet, highlight=False, emoji=False, soft_wrap=True)
        self.bars: dict[str, TaskID] = {}
        self.done: dict[str, float] = {}
        self.progress: Progress | None = None
        self._stack = ExitStack()
        if self.console.is_terminal and not quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
            times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
            self.progress = Progress(*columns, *times, console=self.console, transient=True, refresh_per_second=4)
            units = sum(task.units for task in tasks)
            self.total = self.progress.add_task("all", total=units, note=f"0/{self.count}")

    def __enter__(self) -> View:
        if self.progress is not None:
            self._stack.enter_context(self.progress)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def began(self, task: Task) -> None:
        """Add a bar for a task."""
        self.done[task.key] = 0.0
        if self.progress is not None:
            self.bars[task.key] = self.progress.add_task(escape(task.title), total=task.units, note="")

    def went_on(self, task: Task, steps: float, note: str) -> None:
        """Move the bar of the task and that of all."""
        self.done[task.key] = self.done.get(task.key, 0.0) + steps
        if self.progress is not None and task.key in self.bars:
            self.progress.update(self.bars[task.key], advance=steps, **({"note": escape(note)} if note else {}))  # type: ignore[arg-type]
            self.progress.update(self.total, advance=steps)

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Remove the bar of a task, and print its outcome."""
        over = outcome.status in ("finished", "failed")
        self.ended_count += over
        if self.progress is not None:
            if task.key in self.bars:
                self.progress.remove_task(self.bars.pop(task.key))
            missing = (task.units if over else 0.0) - self.done.get(task.key, 0.0)
            self.progress.update(self.total, advance=missing, note=f"{self.ended_count}/{self.count}")
        if over:
            self.say(f"[{self.ended_count}/{self.count}] {task.title}: {_MARKS[outcome.status]}{outcome.text}")

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if not self.quiet:
            self.console.print(line, markup=False)
