"""Ctrl-C that lets the current step finish."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, or a polite kill, into a question that the work asks; the second ends it at once.

    Yields
    ------
    callable
        Whether to stop now.
    """
    asked = threading.Event()
    elsewhere = threading.current_thread() is not threading.main_thread()  # only there can signals be handled
    if elsewhere or getattr(signal.getsignal(signal.SIGINT), "asks", False):  # or somebody further out is asked
        yield asked.is_set
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    handle.asks = True  # type: ignore[attr-defined]
    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
