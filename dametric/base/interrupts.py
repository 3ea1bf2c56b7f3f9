"""Ctrl-C that is not lost: work that can save is asked to stop first, everything else ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received = threading.Event()
_requests: list[threading.Event] = []
"""Whether to stop, of the one block that asks; empty where nothing does."""


def _handle(number: int, frame: FrameType | None) -> None:
    """Ask the work to stop, if there is any and it has not been asked; else raise, and remember that."""
    if _requests and not _requests[0].is_set():
        _requests[0].set()
        return
    _received.set()
    raise KeyboardInterrupt


@contextmanager
def remember_ctrl_c() -> Iterator[None]:
    """Remember a Ctrl-C besides raising it.

    Python drops one that arrives in a finaliser or a callback of the interpreter's own, and libraries that are
    interrupted while they are imported turn it into other errors. Blocks may be nested; where somebody else handles
    the signal, or in another thread, nothing is changed.
    """
    if not _in_main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _received.clear()
    signal.signal(signal.SIGINT, _handle)
    try:
        yield
        raise_lost_ctrl_c()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def ctrl_c_received() -> bool:
    """Whether a Ctrl-C was raised while it was remembered."""
    return _received.is_set()


def raise_lost_ctrl_c() -> None:
    """Raise a Ctrl-C again that was swallowed, in the main thread, while it is remembered."""
    if _received.is_set() and _in_main_thread() and signal.getsignal(signal.SIGINT) is _handle:
        raise KeyboardInterrupt


@contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, or a polite kill, into a question that the work asks; the second ends it at once.

    Yields
    ------
    callable
        Whether to save and stop now. Of nested blocks the outermost is asked, and the inner ones hear the same.
    """
    if _requests or not _in_main_thread():  # only there can signals be handled
        yield _requests[0].is_set if _requests else lambda: False
        return
    if signal.getsignal(signal.SIGINT) is not _handle:  # else one that was swallowed further out is still to be raised
        _received.clear()
    _requests.append(threading.Event())
    before = {number: signal.signal(number, _handle) for number in _SIGNALS}
    try:
        yield _requests[0].is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _requests.clear()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
