"""Ctrl-C that cannot get lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_pressed = threading.Event()


def _handle(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    raise KeyboardInterrupt


@contextmanager
def heard() -> Iterator[None]:
    """Remember a Ctrl-C besides raising it.

    Python drops one that arrives in a finaliser or a callback of the interpreter's own, and libraries that are
    interrupted while they are imported turn it into other errors. Blocks may be nested; where somebody else handles
    the signal, or in another thread, nothing is changed.
    """
    elsewhere = threading.current_thread() is not threading.main_thread()  # only there can signals be handled
    if elsewhere or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _pressed.clear()
    signal.signal(signal.SIGINT, _handle)
    try:
        yield
        raise_if_pressed()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pressed() -> bool:
    """Whether there has been a Ctrl-C while somebody listened."""
    return _pressed.is_set()


def raise_if_pressed() -> None:
    """Raise a Ctrl-C again that got lost, in the main thread, while somebody listens for it."""
    if (
        _pressed.is_set()
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is _handle
    ):
        raise KeyboardInterrupt
