"""Ctrl-C on the command line: one line and exit 130 at once, whatever libraries make of it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dametric.base import interrupts
from dametric.base.interrupts import ctrl_c_received, raise_lost_ctrl_c, remember_ctrl_c, until_interrupted

ROOT = Path(__file__).resolve().parents[2]
START = """
import atexit, signal, time
from dametric import cli

atexit.register(time.sleep, 600)  # a library that hangs when Python ends

def run(arguments):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        {then}

cli._run = run
cli.main()
"""


@pytest.mark.parametrize(
    "then",
    [
        "raise RecursionError('as an import may end that was broken off')",
        "return 0  # lost",
        "return cli._fail('interrupted by hand', 130)",
    ],
)
def test_an_interrupt_ends_the_command_at_once_in_one_line(then: str) -> None:
    command = [sys.executable, "-c", START.replace("{then}", then)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("dametric: interrupted")


def test_other_errors_are_still_errors() -> None:
    code = "from dametric import cli\ndef run(arguments): raise RecursionError('a defect')\ncli._run = run\ncli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "RecursionError: a defect" in done.stderr


def test_the_first_asks_the_second_ends_and_what_is_swallowed_is_raised_again() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def swallowed() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    with remember_ctrl_c():
        with until_interrupted() as outer, until_interrupted() as inner:
            assert not outer()
            signal.raise_signal(signal.SIGTERM)
            assert outer()
            assert inner(), "work within work is asked too"
            raise_lost_ctrl_c()
            assert not ctrl_c_received(), "that was heard"
            swallowed()
            with pytest.raises(KeyboardInterrupt):
                raise_lost_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            raise_lost_ctrl_c()
        interrupts._received.clear()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers

    def forgetful() -> None:
        with remember_ctrl_c():
            swallowed()

    with pytest.raises(KeyboardInterrupt):
        forgetful()
    with until_interrupted() as stop:
        raise_lost_ctrl_c()
        assert not stop(), "one of former times does not count"
