"""Locks that end with their process, and tell the next one when they ended badly."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dametric.errors import RunFailed, UsageError


class BusyError(RunFailed):
    """Another process is working on this run."""


@contextmanager
def claimed(lock: Path, what: str) -> Iterator[str | None]:
    """Hold a lock file for this process; the claim ends with the process, however it ends.

    Parameters
    ----------
    lock : Path
        The file; it and its folder are made where they are missing, and it stays.
    what : str
        What is claimed, for messages.

    Yields
    ------
    str or None
        Who held it before and died without giving it back; None if nobody did. A holder writes who it is into the
        file, and takes that out again when it is done.

    Raises
    ------
    BusyError
        If another process holds it.
    UsageError
        If the file cannot be made.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UsageError(f"cannot write {lock.parent}: {error.strerror or error}") from error
    try:
        if not _locked(handle):
            raise BusyError(f"another process is working on {what}")
        before = os.read(handle, 200).decode(errors="replace").strip() or None
        _write(handle, f"process {os.getpid()} on {platform.node()}\n")
        try:
            yield before
        finally:
            _write(handle, "")
    finally:
        os.close(handle)


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file; looking does not claim, and the folder may be one that cannot be written."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _locked(handle: int, patience: float = 0.5) -> bool:
    """Lock an open file, and wait a moment for somebody who only looks whether it is locked."""
    start = time.monotonic()
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() - start > patience:
                return False
            time.sleep(0.01)


def _write(handle: int, text: str) -> None:
    """Say who holds it; a full disk only costs the next one the word."""
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)
    except OSError:
        pass
