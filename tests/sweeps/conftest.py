"""A grid that is carried out in seconds, and the command as a process of its own."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dametric import cli
from dametric.models.registry import MODELS
from dametric.records.runs import Run, read_record
from dametric.sweeps import carry_out
from tests.sweeps.small import SMALL, forget_shapes, perform, use_small_networks

ROOT = Path(__file__).resolve().parents[2]
USUAL = ("-m", "dametric")
SMALL_ONES = (
    "from tests.sweeps.small import use_small_networks_everywhere; use_small_networks_everywhere(); "
    "from dametric.cli import main; main()"
)
PATIENCE = 120  # seconds after which something is taken for stuck


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums are the same bits for the same number of threads only, and small networks want one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _small_networks() -> Iterator[None]:
    """In this process, and in those that do its sweeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carry_out, "perform", perform)
        for name, network in SMALL.items():
            patch.setitem(MODELS, name, network)
        forget_shapes()
        yield
    forget_shapes()


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command in this process."""

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        code = cli._run([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 noisy patterns of four kinds, 8 x 8, and 40 to test on."""
    kinds = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3))
    arrays: dict[str, np.ndarray] = {}
    for end, count in (("train", 96), ("test", 40)):
        labels = np.arange(count) % 4
        noise = np.random.default_rng(count).normal(0, 40, (count, 8, 8, 3))
        arrays[f"x_{end}"] = np.clip(kinds[labels] + noise, 0, 255).astype(np.uint8)
        arrays[f"y_{end}"] = labels
    path = tmp_path_factory.mktemp("pictures") / "tiny.npz"
    np.savez(path, **arrays)
    return path


def write_grid(path: Path, pictures: Path, **changes: Any) -> Path:
    """Write a grid: a teacher, two augmentations and two seeds unless said otherwise; None takes a block away."""
    usual: dict[str, Any] = {
        "data": {"name": "tiny", "source": str(pictures)},
        "teachers": {"resnet8": {"epochs": 2, "batch_size": 16, "dtype": "float32", "schedule": "onecycle"}},
        "pairs": ["resnet8 -> resnet8"],
        "augmentations": ["identity", "cutmix"],
        "seeds": "0-1",
        "training": {"epochs": 2, "batch_size": 16, "dtype": "float32"},
    }
    document = {key: value for key, value in {**usual, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture
def grid(pictures: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a grid: ``grid(seeds=0)``."""
    return lambda **changes: write_grid(tmp_path / "grid.yaml", pictures, **changes)


def outcome(folder: Path) -> dict[str, Any]:
    """What must be the same of two runs: all but times."""
    record = {key: value for key, value in read_record(folder / "record.json").items() if key != "timing"}
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return {"record": record, "history": rows, "last.pt": (folder / "last.pt").read_bytes()}


def outcomes(root: Path) -> dict[str, dict[str, Any]]:
    """Of every run below a folder, by name; nothing but whole files lies beside them."""
    found = {}
    for path in sorted(root.rglob("record.json")):
        found[path.parent.relative_to(root).as_posix()] = outcome(path.parent)
    assert not [path for path in root.rglob(".*.*") if path.is_file()], "something half-written is left"
    return found


def same(one: Path, other: Path) -> None:
    """Two sweeps came to the same, byte for byte."""
    first, second = outcomes(one), outcomes(other)
    assert first.keys() == second.keys()
    for name in first:
        for part in first[name]:
            assert first[name][part] == second[name][part], (name, part)
        assert first[name]["record"]["status"] == "finished"
    for path in (one / "teachers").glob("*.pth"):
        assert path.read_bytes() == (other / "teachers" / path.name).read_bytes()


@dataclass
class Started:
    """A command in the background, in a group of processes of its own, its streams in files."""

    pid: int
    folder: Path
    poll: Callable[[], int | None]

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def epochs(self) -> list[str]:
        """Those that a forked command has trained, of all its runs."""
        return (self.folder / "epochs").read_text().splitlines()

    @property
    def running(self) -> bool:
        return self.poll() is None

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something that happens before the command ends."""
        give_up = time.monotonic() + PATIENCE
        while not reached():
            assert self.running, f"ended too early: {self.err}"
            assert time.monotonic() < give_up, f"never came to it: {self.err}"
            time.sleep(0.005)

    def wait(self) -> int:
        give_up = time.monotonic() + PATIENCE
        while (code := self.poll()) is None:
            assert time.monotonic() < give_up, f"does not end: {self.err}"
            time.sleep(0.01)
        return code

    def kill(self) -> None:
        """kill -9, of this process alone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Started]]:
    """Start the command in a process; what is left of its group after the test is ended."""
    started: list[Started] = []

    def start(*arguments: object, program: tuple[str, str] = ("-c", SMALL_ONES)) -> Started:
        folder = tmp_path_factory.mktemp("streams")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
        with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
            process = subprocess.Popen(
                [sys.executable, *program, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                start_new_session=True,
            )
        started.append(Started(process.pid, folder, process.poll))
        return started[-1]

    yield start
    for command in started:
        command.kill_group()


FORKED = get_context("forkserver")
FORKED.set_forkserver_preload(["dametric.sweeps.api", "dametric.training.run", "pytest", "pandas"])


def _command(folder: Path, arguments: list[str]) -> None:
    """The command in a process that has everything imported."""
    os.setsid()
    use_small_networks()
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    torch.set_num_threads(1)
    write = Run.write_history

    def noted(self: Run, rows: Any) -> None:
        write(self, rows)
        with open(folder / "epochs", "a", encoding="utf-8") as file:
            file.write(f"{self.folder.name}, epoch {len(rows)}\n")

    Run.write_history = noted  # type: ignore[method-assign]
    os._exit(cli._run(arguments))


@pytest.fixture
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Started]]:
    """Start the command at once, without workers of its own."""
    started: list[Started] = []

    def fork(*arguments: object) -> Started:
        folder = tmp_path_factory.mktemp("streams")
        process = FORKED.Process(target=_command, args=(folder, [str(argument) for argument in arguments]))
        process.start()
        assert process.pid is not None
        for name in ("out", "err", "epochs"):
            (folder / name).touch()
        started.append(Started(process.pid, folder, lambda: process.exitcode))
        return started[-1]

    yield fork
    for command in started:
        command.kill_group()
