"""The installed command as a process: exit codes, streams, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from dametric.cli import main; main()"]
ENDLESS = ["--batches", "1000000", "--no-accuracy", "--dtype", "float32"]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Start:
    """Start the command in the background; what still runs after the test is ended."""
    started = []

    def start(*arguments: object, **more: object) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
        command = [*COMMAND, *map(str, arguments)]
        started.append(subprocess.Popen(command, text=True, env=environment, **{**pipes, **more}))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], word: str) -> list[str]:
    """Read stderr up to the line with this word."""
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(f"ended before it said {word!r}: {lines}")


def test_the_command_is_installed(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("dametric")
    if not command.exists():
        pytest.skip("the package is not installed with its command")
    done = subprocess.run([command, "ls", "augs"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert "cutmix" in done.stdout
    assert done.stderr == ""


def test_json_on_stdout_is_pure_and_warnings_do_not_leak(start: Start, teacher: Path) -> None:
    out, err = start("score", "-a", "cutmix", "-t", teacher, "--json", "-q", "--batches", 3).communicate()
    assert json.loads(out)["scores"][0]["aug"] == "cutmix"
    assert out.endswith("}\n")
    assert err == ""


def test_a_mistake_ends_with_2_and_one_line(start: Start, teacher: Path) -> None:
    process = start("score", "-a", "cutmx", "-t", teacher)
    out, err = process.communicate()
    assert process.returncode == 2
    assert out == ""
    assert err.splitlines() == [err.strip()]
    assert err.startswith("dametric: unknown augmentation 'cutmx': did you mean cutmix")


@pytest.mark.parametrize("old", [True, False])
def test_control_c_ends_with_130_and_one_line(start: Start, teacher: Path, tmp_path: Path, old: bool) -> None:
    target = tmp_path / "out" / "scores.json"
    if old:
        target.parent.mkdir()
        target.write_text("old")
    process = start("score", "-a", "cutmix", "-t", teacher, "-o", target, *ENDLESS)
    wait_for(process, "scoring ...")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines() == [err.strip()]
    assert err.startswith("dametric: interrupted")
    if old:
        assert target.read_text() == "old"
        assert os.listdir(target.parent) == ["scores.json"]
    else:
        assert not target.exists()


def test_being_killed_leaves_the_old_file_and_the_next_run_replaces_it(
    start: Start, teacher: Path, tmp_path: Path
) -> None:
    target = tmp_path / "scores.json"
    target.write_text("old")
    process = start("score", "-a", "cutmix", "-t", teacher, "-o", target, *ENDLESS)
    wait_for(process, "scoring ...")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    again = start("score", "-a", "cutmix", "-t", teacher, "-o", target, "-q", "--batches", 2, "--no-accuracy")
    assert again.wait() == 0
    assert json.loads(target.read_text())["scores"][0]["aug"] == "cutmix"
    assert os.listdir(tmp_path) == ["scores.json"]


def test_a_reader_that_has_gone_is_no_error(start: Start) -> None:
    """As in ``dametric ls augs | true``."""
    reading, writing = os.pipe()
    os.close(reading)
    process = start("ls", "augs", stdout=writing)
    os.close(writing)
    _, err = process.communicate()
    assert err == ""
    assert process.returncode in (0, 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["ls", "augs"], ["score", "--json"]])
def test_a_full_disk_behind_stdout_is_one_line(start: Start, teacher: Path, arguments: list[str]) -> None:
    more = ["-a", "identity", "-t", teacher, "-q", "--batches", 2, "--no-accuracy"] if "score" in arguments else []
    with open("/dev/full", "w") as full:
        process = start(*arguments, *more, stdout=full)
        _, err = process.communicate()
    assert process.returncode not in (0, -6)
    assert "Traceback" not in err
    assert err.startswith("dametric: ")
    assert "No space left" in err


def test_a_page_without_unicode_is_no_error(start: Start, teacher: Path) -> None:
    """A terminal or a log of another time knows no ±."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    more = ["-t", teacher, "-q", "--batches", 3, "--no-accuracy", "--dtype", "float32"]
    process = start("score", "-a", "identity", "-a", "cutmix", *more, env=environment)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "identity" in out
    assert "Traceback" not in err


def test_progress_in_a_log_is_whole_lines_without_escapes(start: Start, teacher: Path) -> None:
    process = start("score", "-a", "cutmix", "-t", teacher, "--batches", 3)
    out, err = process.communicate()
    assert process.returncode == 0
    for text in (out, err):
        assert "\x1b" not in text
        assert "\r" not in text
    assert "scoring" in err
    assert "scoring" not in out
