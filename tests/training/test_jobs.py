"""Runs side by side: results in order, cores shared out, and no process left when something dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from dametric.base import devices
from dametric.base.progress import Advance
from dametric.base.terminal import may_print
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.jobs.processes import ProcessExecutor
from dametric.jobs.side_by_side import side_by_side

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds after which something is taken for stuck
FORKED = get_context("forkserver")
FORKED.set_forkserver_preload(["dametric.training", "dametric.training.run", "pytest", "pandas"])
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")
Stop = Callable[[], bool]


def silent(steps: float = 1, note: str = "") -> None:
    """No progress."""


def wait_for(*paths: Path) -> None:
    """Wait until all these files are there."""
    give_up = time.monotonic() + PATIENCE
    while not all(path.exists() for path in paths):
        assert time.monotonic() < give_up, f"in vain: {[path.name for path in paths if not path.exists()]}"
        time.sleep(0.01)


@contextmanager
def as_it_was() -> Iterator[None]:
    """Environment and signal handlers are what they were before."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    variables = dict(os.environ)
    yield
    assert dict(os.environ) == variables
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start at once, where it does not matter whose children they are."""
    monkeypatch.setattr("dametric.jobs.side_by_side.get_context", lambda name: FORKED, raising=False)


# What workers do: functions that they can import by name


def tells(task: tuple[int, Path], advance: Advance, stop: Stop) -> dict[str, Any]:
    """Say who and how it is; the first waits for the second, so that it ends after it."""
    number, folder = task
    advance(0.25, note=f"task {number}")
    (folder / str(number)).touch()
    wait_for(*(folder / str(other) for other in (0, 1)))
    if number == 0:
        wait_for(folder / "1 ends")
    elif number == 1:
        (folder / "1 ends").touch()
    advance(0.5)
    threads = torch.get_num_threads()
    variables = {name: os.environ.get(name) for name in VARIABLES}
    about = {"threads": threads, "stop": stop(), "speaks": may_print()}
    about |= {"place": devices._Share.place, "processes": devices._Share.processes}
    return {"number": number, "pid": os.getpid(), **about, **variables}


def fails(task: tuple[str, Path], advance: Advance, stop: Stop) -> str:
    word, folder = task
    if word == "usage":
        raise UsageError("that cannot be")
    if word == "other":
        raise ZeroDivisionError("by zero")
    (folder / word).touch()
    return word


def dies(task: tuple[str, Path], advance: Advance, stop: Stop) -> str:
    word, folder = task
    (folder / word).touch()
    if word == "killed":
        wait_for(folder / "well")
        os.kill(os.getpid(), signal.SIGKILL)
    return word


def lasts(task: tuple[str, Path], advance: Advance, stop: Stop) -> None:
    """Work until told to stop, then save; an ``idle`` one is done at once."""
    word, folder = task
    (folder / f"{word}.pid").write_text(str(os.getpid()))
    (folder / f"{word} began").touch()
    advance(1)
    if word == "idle":
        return
    give_up = time.monotonic() + PATIENCE / 2
    while not stop() and time.monotonic() < give_up:
        time.sleep(0.01)
    (folder / f"{word} {'saved' if stop() else 'gave up'}").touch()


# In order, with a share of the cores


def test_results_come_in_order_from_processes_with_a_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    told: list[tuple[float, str]] = []
    with as_it_was():
        found = side_by_side(
            tells,
            [(number, tmp_path) for number in range(3)],
            2,
            lambda steps=1, note="": told.append((steps, note)),
        )
    assert [one["number"] for one in found] == [0, 1, 2]
    share = max(1, (os.cpu_count() or 1) // 2)
    for one in found:
        assert one["threads"] == share
        assert one["OMP_NUM_THREADS"] == str(share)
        assert one["OMP_WAIT_POLICY"] == "PASSIVE"
        assert one["place"] in {0, 1}, "of the processes that share the GPUs out"
        assert one["processes"] == 2
        assert one["stop"] is False
        assert one["speaks"] is False, "the parent talks to the user"
    pids = {one["pid"] for one in found}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert sum(steps for steps, _ in told) == 3 * 0.75
    assert {note for _, note in told if note} == {"task 0", "task 1", "task 2"}
    for pid in pids:
        assert ended(pid)


def test_no_tasks_are_no_results() -> None:
    with as_it_was():
        assert side_by_side(tells, [], 2, silent) == []


# Failures


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("word", "kind"), [("usage", UsageError), ("other", ZeroDivisionError)])
def test_a_mistake_is_passed_on_and_the_others_are_done(tmp_path: Path, word: str, kind: type[Exception]) -> None:
    with as_it_was(), pytest.raises(kind, match=r"^(that cannot be|by zero)$"):
        side_by_side(fails, [("first", tmp_path), (word, tmp_path), ("last", tmp_path)], 2, silent)
    assert {path.name for path in tmp_path.iterdir()} == {"first", "last"}


@pytest.mark.usefixtures("quick")
def test_a_worker_that_is_killed_is_a_failed_run(tmp_path: Path) -> None:
    with as_it_was(), pytest.raises(RunFailed, match="killed") as caught:
        side_by_side(dies, [("well", tmp_path), ("killed", tmp_path)], 2, silent)
    assert "the same command goes on" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("quick")
def test_control_c_is_passed_on_and_what_has_not_begun_does_not_begin(tmp_path: Path) -> None:
    names, sent = ("one", "two", "three"), []

    def advance(steps: float = 1, note: str = "") -> None:
        if not sent and all((tmp_path / f"{name} began").exists() for name in names[:2]):
            sent.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with as_it_was(), pytest.raises(Interrupted):
        side_by_side(lasts, [(name, tmp_path) for name in names], 2, advance)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}{end}" for name in names[:2] for end in (" began", " saved", ".pid")
    }


# Orphans


def state(pid: int) -> str:
    """One letter for what a process is doing, as ``ps`` has it; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def ended(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked after it yet."""
    return state(pid) in ("", "Z", "X")


def children(pid: int) -> list[int]:
    """Workers of a process: its children that multiprocessing spawned."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except (OSError, IndexError):
            continue
    return found


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with one worker that is busy and one that is idle."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc to see processes in")
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.training.test_jobs import lasts, side_by_side, silent\n"
        "folder = Path(sys.argv[1])\n"
        "side_by_side(lasts, [('busy', folder), ('idle', folder)], 2, silent)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    workers: list[int] = []
    try:
        yield process
        workers = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    finally:
        process.kill()
        process.wait()
        for pid in workers:
            if not ended(pid):
                os.kill(pid, signal.SIGKILL)


def test_workers_end_when_their_parent_is_killed(driver: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The busy one saves first."""
    wait_for(tmp_path / "busy began", tmp_path / "idle began")
    pids = [int((tmp_path / f"{name}.pid").read_text()) for name in ("busy", "idle")]
    assert not any(ended(pid) for pid in pids)
    driver.kill()
    driver.wait()
    give_up = time.monotonic() + PATIENCE
    while not all(ended(pid) for pid in pids):
        assert time.monotonic() < give_up, f"still there: {[state(pid) for pid in pids]}"
        time.sleep(0.01)
    assert (tmp_path / "busy saved").exists()


@pytest.mark.slow
def test_a_second_control_c_does_not_wait_for_the_end_of_the_runs(
    driver: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    wait_for(tmp_path / "busy began", tmp_path / "idle began")
    driver.send_signal(signal.SIGINT)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(PATIENCE / 4) != 0
    pids = [int((tmp_path / f"{name}.pid").read_text()) for name in ("busy", "idle")]
    give_up = time.monotonic() + PATIENCE / 4
    while not all(ended(pid) for pid in pids):
        assert time.monotonic() < give_up, f"still there: {[state(pid) for pid in pids]}"
        time.sleep(0.01)


@pytest.mark.slow
def test_workers_that_are_still_starting_end_too(driver: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """They take seconds to import torch, and their parent may be gone before they look."""
    give_up = time.monotonic() + PATIENCE
    while len(pids := children(driver.pid)) < 2:
        assert time.monotonic() < give_up, "the workers did not start"
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    give_up = time.monotonic() + PATIENCE / 3
    while time.monotonic() < give_up and not all(ended(pid) for pid in pids):
        time.sleep(0.01)
    left = [pid for pid in pids if not ended(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


# A process that is killed while it says something


def dies_talking(delay: float, advance: Advance, stop: Stop) -> None:
    """Be killed in the midst of a long word, which nobody can finish."""
    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    while True:
        advance(0.001, note="x" * 50_000_000)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("delay", [0.01, 0.04, 0.08])
def test_a_worker_that_is_killed_while_it_reports_keeps_nobody_waiting(delay: float) -> None:
    with as_it_was(), pytest.raises(RunFailed, match="killed"):
        side_by_side(dies_talking, [delay, delay], 2, silent)


@pytest.mark.usefixtures("quick")
def test_what_follows_a_killed_worker_is_done_by_another(tmp_path: Path) -> None:
    with as_it_was(), ProcessExecutor(1, FORKED) as executor:
        (tmp_path / "well").touch()
        kinds = []
        for number, word in enumerate(("killed", "after")):
            executor.give(number, partial(dies, (word, tmp_path)), silent, lambda: False)
            while not executor.free:
                kinds += [event.kind for event in executor.events(1)]
    assert kinds == ["lost", "done"]


class Picky(Exception):
    """It cannot be made of its message alone."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def is_picky(task: int, advance: Advance, stop: Stop) -> None:
    raise Picky("some", "trouble")


@pytest.mark.usefixtures("quick")
def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    with as_it_was(), pytest.raises(RuntimeError, match="Picky: some trouble"):
        side_by_side(is_picky, [0], 1, silent)
