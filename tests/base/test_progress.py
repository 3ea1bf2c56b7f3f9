"""Progress: a Ctrl-C is never lost in it, and others' handlers are left alone."""

from __future__ import annotations

import signal
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from dametric.base.progress import progress


def press() -> None:
    signal.raise_signal(signal.SIGINT)
    for _ in range(1000):  # where Python looks for signals, if it has not yet
        pass


class Thing:
    """Something to be forgotten."""


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Python printed and dropped."""
    dropped: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda arguments: dropped.append(arguments.exc_type))
    return dropped


def press_where_it_is_dropped() -> None:
    thing = Thing()
    reference = weakref.ref(thing, lambda _: press())
    del thing
    assert reference() is None


def interrupted(work: Callable[[Callable[..., None]], None]) -> None:
    """Do some work under a progress bar, which a Ctrl-C ends."""
    with progress("counting", 3, quiet=True) as advance:
        work(advance)


def test_a_control_c_that_python_drops_is_raised_by_the_next_step(lost: list[Any]) -> None:
    done = []

    def work(advance: Callable[..., None]) -> None:
        for number in range(3):
            done.append(number)
            if number == 1:
                press_where_it_is_dropped()
            advance()

    with pytest.raises(KeyboardInterrupt):
        interrupted(work)
    assert done == [0, 1]
    assert lost == [KeyboardInterrupt]


def test_one_that_is_dropped_in_the_last_step_is_raised_at_the_end(lost: list[Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda advance: press_where_it_is_dropped())
    assert lost == [KeyboardInterrupt]


def test_an_ordinary_one_ends_the_work_at_once() -> None:
    done = []

    def work(advance: Callable[..., None]) -> None:
        press()
        done.append("more")

    with pytest.raises(KeyboardInterrupt):
        interrupted(work)
    assert not done


def test_handlers_are_given_back_and_others_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work(advance: Callable[..., None]) -> None:
        seen.append(signal.getsignal(signal.SIGINT))
        raise ZeroDivisionError

    def own(number: int, frame: object) -> None: ...

    with pytest.raises(ZeroDivisionError):
        interrupted(work)
    assert seen.pop() is not before
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, own)
    try:
        with pytest.raises(ZeroDivisionError):
            interrupted(work)
        assert seen == [own]
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_it_is_only_a_bar() -> None:
    found: list[Callable[..., None]] = []

    def work() -> None:
        with progress("counting", 1, quiet=True) as advance:
            advance()
            found.append(advance)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 1
