"""Sweeps that are killed at random moments, or side by side: every record once, equal to an undisturbed sweep's."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dametric import cli
from dametric.jobs.executor import Event
from dametric.jobs.processes import ProcessExecutor
from dametric.records.runs import load_runs
from tests.sweeps.conftest import FORKED, PATIENCE, ROOT, USUAL, Said, Started, outcomes, same, write_grid

Start = Callable[..., Started]
Write = Callable[..., Path]
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to see processes in")


@pytest.fixture(scope="module")
def smooth(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A grid, and what an undisturbed sweep made of it in a second or two."""
    folder = tmp_path_factory.mktemp("smooth")
    path = write_grid(
        folder / "grid.yaml",
        pictures,
        seeds="0-1",
        training={"epochs": 4, "batch_size": 8, "dtype": "float32"},
        teachers={"resnet8": {"epochs": 3, "batch_size": 8, "dtype": "float32"}},
        score={"student": "identity", "batches": 6, "batch_size": 16, "dtype": "float32"},
    )
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli._run(["sweep", str(path), "-o", str(folder / "smooth"), "-j", "1", "-q"]) == 0
    return path, folder / "smooth"


def whole(one: Path, other: Path) -> None:
    """The same runs, each once, and the same scores."""
    same(one, other)
    table = load_runs(one)
    assert not table["id"].duplicated().any()
    names = sorted(path.name for path in (other / "scores").glob("*.json"))
    assert sorted(path.name for path in (one / "scores").glob("*.json")) == names
    for name in names:
        # where the student lies is kept, for score --add, and differs
        first, second = ((root / "scores" / name).read_text().replace(f'"{root}/', '"') for root in (one, other))
        keep = [line for line in first.splitlines() if '"seconds"' not in line]
        assert keep == [line for line in second.splitlines() if '"seconds"' not in line]


def workers(pid: int) -> list[int]:
    """Processes that multiprocessing spawned for another, and that work by now."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except (OSError, IndexError):
            continue
    return sorted(found)


def begun(root: Path) -> int:
    return len(list(root.rglob("record.json")))


def histories(root: Path) -> int:
    return sum(path.read_text().count("\n") for path in root.rglob("history.csv"))


@pytest.mark.parametrize(
    ("kills", "seed"), [(2, 0), *(pytest.param(6, seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
)
def test_killing_the_driver_again_and_again_changes_nothing(
    fork: Start, smooth: tuple[Path, Path], tmp_path: Path, kills: int, seed: int
) -> None:
    path, reference = smooth
    draw, root = random.Random(seed), tmp_path / "killed"
    root.mkdir()  # that it can be made is tried first, by making it and taking it away
    for _ in range(kills):
        rows = histories(root)
        command = fork("sweep", path, "-o", root, "-j", 1)
        more = draw.randint(1, 6)
        give_up = time.monotonic() + PATIENCE
        while command.running and histories(root) < rows + more:
            assert time.monotonic() < give_up, command.err
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.05))
        command.kill()
    last = fork("sweep", path, "-o", root, "-j", 1)
    assert last.wait() == 0, last.err
    whole(root, reference)


@pytest.mark.parametrize(("kills", "seed"), [pytest.param(5, seed, marks=pytest.mark.slow) for seed in (1, 2)])
def test_spawned_workers_that_are_killed_are_replaced_and_their_runs_go_on(
    start: Start, smooth: tuple[Path, Path], tmp_path: Path, kills: int, seed: int
) -> None:
    path, reference = smooth
    draw, root = random.Random(seed), tmp_path / "killed"
    command = start("sweep", path, "-o", root, "-j", 2)
    killed = 0
    while killed < kills and command.running:
        rows = histories(root)
        give_up = time.monotonic() + PATIENCE
        while command.running and histories(root) <= rows:
            assert time.monotonic() < give_up, command.err
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.02))
        alive = workers(command.pid)
        if alive:
            os.kill(draw.choice(alive), signal.SIGKILL)
            killed += 1
    assert command.wait() == 0, command.err
    assert killed == kills
    assert "its process was lost; it goes on from its last saved epoch" in command.err
    whole(root, reference)


@pytest.mark.slow
def test_the_digits_grid_with_kills_of_workers_and_drivers(start: Start, tmp_path: Path) -> None:
    """The grid that the README begins with, shorter."""
    sets = ("seeds=0", "training.epochs=2", "teachers.resnet20.epochs=2", "score.batches=4")
    less = [word for value in sets for word in ("--set", value)]
    less += ["--only", "student=resnet8", "--only", "aug=identity", "--only", "aug=cutmix*", "-j", "2"]
    path, root = ROOT / "experiments" / "digits.yaml", tmp_path / "killed"
    smooth = start("sweep", path, "-o", tmp_path / "smooth", *less)
    assert smooth.wait() == 0, smooth.err
    draw, killed = random.Random(11), {"worker": 0, "driver": 0}
    for who in ("worker", "driver", "worker", "driver"):
        command, rows = start("sweep", path, "-o", root, *less), histories(root)
        command.until(lambda rows=rows: histories(root) > rows)  # type: ignore[misc]
        time.sleep(draw.uniform(0, 0.5))
        alive = workers(command.pid)
        if who == "worker" and alive:
            os.kill(draw.choice(alive), signal.SIGKILL)
            command.until(lambda command=command: "its process was lost" in command.err)  # type: ignore[misc]
        command.kill()
        killed[who] += 1
    assert killed == {"worker": 2, "driver": 2}
    last = start("sweep", path, "-o", root, *less)
    code = last.wait()
    assert code in (0, 3), last.err  # the old workers may still be saving what they did
    if code:
        last = start("sweep", path, "-o", root, *less)
        assert last.wait() == 0, last.err
    whole(root, tmp_path / "smooth")


def test_workers_that_are_killed_are_replaced(
    run: Callable[..., Said], smooth: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with workers that start at once, in this process."""
    path, reference = smooth
    root, seen = tmp_path / "killed", [0, 0]
    events, give = ProcessExecutor.events, ProcessExecutor.give

    def counted(self: ProcessExecutor, number: int, job: Any, advance: Any, stop: Any) -> None:
        def told(steps: float = 1, note: str = "") -> None:
            seen[0] += 1
            advance(steps, note)

        give(self, number, job, told, stop)

    def kill(self: ProcessExecutor, timeout: float) -> list[Event]:
        """When something was heard, kill one that is at work, three times."""
        found = events(self, timeout)
        seen[0] += len(found)
        busy = [worker.process.pid for worker in self._busy.values()]
        if busy and seen[0] > 1 and seen[1] < 3:
            seen[:] = [0, seen[1] + 1]
            os.kill(busy[0], signal.SIGKILL)  # the one that has been at work for longest
        return found

    monkeypatch.setattr(ProcessExecutor, "events", kill)
    monkeypatch.setattr(ProcessExecutor, "give", counted)
    begin = ProcessExecutor.__init__  # with as many threads as the reference had
    monkeypatch.setattr(ProcessExecutor, "__init__", lambda self, jobs: begin(self, jobs, FORKED, threads=1))
    said = run("sweep", path, "-o", root, "-j", 2)
    assert said.code == 0, said.err
    assert seen[1] == 3
    assert said.err.count("its process was lost") == 3
    whole(root, reference)


@pytest.mark.slow
def test_workers_end_with_a_killed_driver_and_the_next_sweep_goes_on(
    start: Start, smooth: tuple[Path, Path], tmp_path: Path
) -> None:
    path, reference = smooth
    root = tmp_path / "killed"
    command = start("sweep", path, "-o", root, "-j", 2)
    command.until(lambda: begun(root) >= 3)
    left = workers(command.pid)
    assert left
    command.kill()
    last = start("sweep", path, "-o", root, "-j", 2)
    assert last.wait() in (0, 3), last.err  # the old workers may still be saving what they did
    last = start("sweep", path, "-o", root, "-j", 1)
    assert last.wait() == 0, last.err
    whole(root, reference)


def test_two_sweeps_on_one_folder_share_the_work(fork: Start, smooth: tuple[Path, Path], tmp_path: Path) -> None:
    path, reference = smooth
    root = tmp_path / "both"
    both = [fork("sweep", path, "-o", root, "-j", 1) for _ in range(2)]
    codes = [command.wait() for command in both]
    assert all(code in (0, 3) for code in codes), [command.err for command in both]
    if 0 not in codes:
        both.append(fork("sweep", path, "-o", root, "-j", 1))
        assert both[-1].wait() == 0
    whole(root, reference)
    trained = [epoch for command in both for epoch in command.epochs]
    assert len(trained) == len(set(trained)) == 3 + 4 * 4, "every epoch was trained once, by one of them"
    lines = [line for command in both for line in command.err.splitlines() if line.startswith("[")]
    assert [line for line in lines if "teacher resnet8" in line], "somebody trained the teacher, and both knew of it"
    sessions = [record["record"]["status"] for record in outcomes(root).values()]
    assert sessions == ["finished"] * len(sessions)


@pytest.mark.slow
def test_control_c_saves_and_the_same_command_goes_on(start: Start, smooth: tuple[Path, Path], tmp_path: Path) -> None:
    path, reference = smooth
    root = tmp_path / "stopped"
    command = start("sweep", path, "-o", root, "-j", 2)
    command.until(lambda: begun(root) >= 3)
    os.killpg(command.pid, signal.SIGINT)
    assert command.wait() == 130, command.err
    last = command.err.splitlines()[-1]
    assert last == "dametric: stopped; everything is saved, the same command goes on"
    assert "Traceback" not in command.err
    assert set(load_runs(root)["status"]) <= {"finished", "interrupted"}
    again = start("sweep", path, "-o", root, "-j", 1)
    assert again.wait() == 0, again.err
    whole(root, reference)


@pytest.mark.slow
def test_a_time_budget_on_a_real_clock(start: Start, grid: Write, tmp_path: Path) -> None:
    path = grid(training={"epochs": 100_000, "batch_size": 8, "dtype": "float32"})
    began = time.monotonic()
    command = start("sweep", path, "-o", tmp_path / "runs", "-j", 2, "--time-budget", "40s", program=USUAL)
    assert command.wait() == 3, command.err
    assert time.monotonic() - began < 40
    assert "the time budget is over" in command.err
    table = load_runs(tmp_path / "runs")
    assert set(table["status"]) == {"finished", "interrupted"}
    assert (table["epoch"] > 0).all()
    shutil.rmtree(tmp_path / "runs")
