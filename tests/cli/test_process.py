"""The installed command as a process: exit codes, streams, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REAL_NETWORKS = True
COMMAND = [sys.executable, "-c", "from dametric.cli import main; main()"]
ENDLESS = ["--batches", "1000000", "--no-accuracy", "--dtype", "float32"]


@dataclass
class Started:
    """A command that runs in the background, its streams in files."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def until(self, word: str) -> None:
        """Wait until stderr says a word."""
        give_up = time.monotonic() + 120
        while word not in self.err:
            assert self.process.poll() is None, f"ended before it said {word!r}: {self.err}"
            assert time.monotonic() < give_up, f"did not say {word!r} in two minutes: {self.err}"
            time.sleep(0.05)

    def end(self) -> int:
        """Wait for the end; the exit code, negative for a signal."""
        return self.process.wait(timeout=120)


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start the command in the background; what still runs after the test is ended."""
    started: list[Started] = []

    def start(*arguments: object, stdout: int | None = None, **environment: str) -> Started:
        folder = tmp_path_factory.mktemp("streams")
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default", **environment}
        with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
            process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err,
                env=variables,
            )
        started.append(Started(process, folder))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


def test_a_mistake_ends_with_2_and_one_line(start: Start) -> None:
    """Of a command that needs no torch; what the others say is tried without a process."""
    command = start("ls", "agus")
    assert command.end() == 2
    assert command.out == ""
    assert command.err.count("\n") == 1
    assert command.err.startswith("dametric: ")
    assert "did you mean augs" in command.err


@pytest.mark.slow
def test_the_command_is_installed(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("dametric")
    if not command.exists():
        pytest.skip("the package is not installed with its command")
    done = subprocess.run([command, "ls", "augs"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert "cutmix" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_json_on_stdout_is_pure_and_warnings_do_not_leak(start: Start, teacher: Path) -> None:
    command = start("score", "-a", "cutmix", "-t", teacher, "--json", "-q", "--batches", 3)
    assert command.end() == 0
    assert json.loads(command.out)["scores"][0]["aug"] == "cutmix"
    assert command.out.endswith("}\n")
    assert command.err == ""


@pytest.mark.parametrize("old", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_control_c_ends_with_130_and_one_line(start: Start, teacher: Path, tmp_path: Path, old: bool) -> None:
    target = tmp_path / "out" / "scores.json"
    if old:
        target.parent.mkdir()
        target.write_text("old")
    command = start("score", "-a", "cutmix", "-t", teacher, "-o", target, *ENDLESS)
    command.until("scoring ...")
    time.sleep(0.3)
    before = command.err
    command.process.send_signal(signal.SIGINT)
    assert command.end() == 130
    assert command.out == ""
    said = command.err.removeprefix(before)
    assert said.count("\n") == 1
    assert said.startswith("dametric: interrupted")
    if old:
        assert target.read_text() == "old"
        assert os.listdir(target.parent) == ["scores.json"]
    else:
        assert not target.exists()


@pytest.mark.slow
def test_being_killed_leaves_the_old_file(start: Start, teacher: Path, tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    target.write_text("old")
    command = start("score", "-a", "cutmix", "-t", teacher, "-o", target, *ENDLESS)
    command.until("scoring ...")
    command.process.kill()
    assert command.end() == -signal.SIGKILL
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores.json"]


def test_a_reader_that_has_gone_is_no_error(start: Start) -> None:
    """As in ``dametric ls data | true``."""
    reading, writing = os.pipe()
    os.close(reading)
    command = start("ls", "data", stdout=writing)
    os.close(writing)
    code = command.end()
    assert command.err == ""
    assert code in (0, 128 + signal.SIGPIPE, -signal.SIGPIPE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("what", ["ls", pytest.param("score", marks=pytest.mark.slow)])
def test_a_full_disk_behind_stdout_is_one_line(start: Start, teacher: Path, what: str) -> None:
    score = ["score", "--json", "-a", "identity", "-t", teacher, "-q", "--batches", 2, "--no-accuracy"]
    with open("/dev/full", "wb") as full:
        command = start(*(score if what == "score" else ["ls", "data"]), stdout=full.fileno())
        assert command.end() == 2
    assert command.err.count("\n") == 1
    assert command.err.startswith("dametric: ")
    assert "No space left" in command.err


@pytest.mark.slow
def test_a_page_without_unicode_is_no_error(start: Start, teacher: Path) -> None:
    """A terminal or a log of another time knows no ±."""
    more = ["-t", teacher, "-q", "--batches", 3, "--no-accuracy", "--dtype", "float32"]
    old = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    command = start("score", "-a", "identity", "-a", "cutmix", *more, **old)
    assert command.end() == 0, command.err
    assert "identity" in command.out
    assert "Traceback" not in command.err


@pytest.mark.slow
def test_progress_in_a_log_is_whole_lines_without_escapes(start: Start, teacher: Path) -> None:
    command = start("score", "-a", "cutmix", "-t", teacher, "--batches", 3)
    assert command.end() == 0
    for text in (command.out, command.err):
        assert "\x1b" not in text
        assert "\r" not in text
    assert "scoring" in command.err
    assert "scoring" not in command.out
