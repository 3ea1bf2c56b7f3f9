"""Work on every image of a set, by threads that stop at once where it is broken off."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

from dametric.base.progress import progress
from dametric.data.decode import workers

T = TypeVar("T")
_CHUNK = 64  # images a task: many enough to hide the cost of a task, few enough for a bar that moves


def in_parallel(
    work: Callable[[int], T],
    take: Callable[[list[T]], str | None],
    count: int,
    *,
    description: str,
    quiet: bool,
) -> None:
    """Call a function with the number of every image, in threads, and another one with the results, in order.

    After an error or Ctrl-C each thread ends with the image that it is at.

    Parameters
    ----------
    work : callable
        Of the number of an image; called from several threads at once.
    take : callable
        Takes the results of some images, which are then let go of; may return a note for the progress bar.
    count : int
        Number of images.
    description, quiet
        Of the progress bar.
    """
    stopped = Event()

    def chunk(start: int) -> list[T]:
        return [work(i) for i in range(start, min(start + _CHUNK, count)) if not stopped.is_set()]

    with progress(description, count, quiet=quiet) as advance, ThreadPoolExecutor(workers()) as pool:
        tasks = deque(pool.submit(chunk, start) for start in range(0, count, _CHUNK))
        try:
            while tasks:
                results = tasks.popleft().result()
                advance(len(results), take(results) or "")
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
