"""Carry out the study: `make study`, or `python -m experiments.study.run --data DIR`.

The code is that of a tag, in a worktree of its own, so that the package can go on changing while runs last. They go on
from wherever they stand; finished records, histories and teachers are copied beside the others in
experiments/results/study as they come, and from there into a worktree that is new.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from dametric.base.files import write_atomic
from dametric.records.runs import Run
from experiments.study.plan import GRIDS, JOBS, RECORDS, ROOT, RUNS, TAG, WORKTREE, Ledger, files, is_finished

COMMIT = Path(__file__).with_name("commit.txt")
"""The commit of the tag, for checkouts that were made without tags."""
_EVERY = 20.0  # seconds between two looks at what is finished
_RUN_FAILED, _WORK_LEFT = 1, 3  # exit codes of a sweep after which the next one can go on


def main(
    data: Annotated[str, typer.Option(help="CIFAR-100: Parquet shards or a folder of images.")],
    time_budget: Annotated[
        str | None, typer.Option(help="Begin nothing that cannot end in it, for example 90m.")
    ] = None,
) -> None:
    """Carry out what is left of the study, and keep what is finished."""
    checkout()
    give_way()
    copied = collect(RECORDS, RUNS)
    print(f"study: {copied} files of finished runs were here before", file=sys.stderr)
    start, codes = time.monotonic(), []
    for grid in GRIDS:
        command = [str(Path(sys.executable).with_name("dametric")), "sweep", str(WORKTREE / f"experiments/{grid}.yaml")]
        command += ["-o", str(RUNS), "--set", f"data.source={data}", "--jobs", str(JOBS)]
        if time_budget is not None:
            left = seconds(time_budget) - (time.monotonic() - start)
            command += ["--time-budget", f"{max(1, int(left))}s", "--whole-runs"]
        codes.append(carry_out(command))
        if codes[-1] not in (0, _RUN_FAILED, _WORK_LEFT):
            break
    failed = [abs(code) for code in codes if code not in (0, _WORK_LEFT)]
    raise typer.Exit(max(failed or codes))


def give_way() -> None:
    """Lowest priority towards other terminals too: Linux shares time by session before it looks at nice."""
    with contextlib.suppress(OSError):  # another system, or no such groups
        Path("/proc/self/autogroup").write_text("19")


def checkout() -> None:
    """Bring the worktree to the tag's commit; it holds nothing but code, so one that is broken is made anew."""
    found = _git("rev-parse", "--verify", "--quiet", f"{TAG}^{{commit}}")
    commit = found or (COMMIT.read_text().strip() if COMMIT.exists() else "")
    if not commit or _git("cat-file", "-t", commit) != "commit":
        raise typer.BadParameter(f"this clone has neither the tag {TAG} nor the commit that it names: fetch it all")
    if _git("rev-parse", "--show-toplevel", at=WORKTREE) != str(WORKTREE):
        shutil.rmtree(WORKTREE, ignore_errors=True)
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", str(WORKTREE), commit)
    if _git("rev-parse", "HEAD", at=WORKTREE) != commit:
        _git("checkout", "--quiet", "--detach", commit, at=WORKTREE)
    if _git("rev-parse", "HEAD", at=WORKTREE) != commit or _git("status", "--porcelain", at=WORKTREE):
        raise typer.BadParameter(f"{WORKTREE} is not {TAG} as it was committed: remove that folder")


def _git(*arguments: str, at: Path | None = None) -> str:
    """What git says in a folder, the checkout's by default; nothing where it fails or there is no such folder."""
    at = at or ROOT
    if not at.is_dir():
        return ""
    return subprocess.run(["git", "-C", str(at), *arguments], capture_output=True, text=True).stdout.strip()


def carry_out(command: list[str]) -> int:
    """Run a sweep with the worktree's code, and copy what is finished as it comes; its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(WORKTREE), "OMP_WAIT_POLICY": "PASSIVE"}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
        while True:
            try:
                code = process.wait(_EVERY)
                collect(RUNS, RECORDS)
                return code
            except subprocess.TimeoutExpired:
                collect(RUNS, RECORDS)
            except KeyboardInterrupt:  # the sweep got it too, and saves
                continue


def collect(source: Path, target: Path) -> int:
    """Copy finished runs that are not in another folder yet; how many files."""
    copied = 0
    for folder in Ledger(source).finished_folders():
        other = target / folder.relative_to(source)
        if not is_finished(other) and not Run(other).held:  # one that was begun there gives way to what is finished
            for path in files(folder):
                write_atomic(target / path.relative_to(source), path.read_bytes())
                copied += 1
    return copied


def seconds(text: str) -> float:
    """A time as `dametric sweep` reads it."""
    from dametric.jobs.budget import seconds_of

    return seconds_of(text)


if __name__ == "__main__":
    typer.run(main)
