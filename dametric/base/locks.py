"""Locks that end with their process, and tell the next holder when the one before died."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from dametric.errors import RunFailed, UsageError

_PATIENCE = 0.5  # seconds that a look at a lock may take, which is waited for


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
        Who held it before and died without giving it back; None if nobody did. A holder writes who it is into a file
        beside the lock, and takes that away when it is done.

    Raises
    ------
    BusyError
        If another process holds it.
    UsageError
        If the file cannot be made, or its file system has no locks that end with their process.
    """
    held = FileLock(lock, timeout=_PATIENCE)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(poll_interval=0.01)
    except Timeout:
        raise BusyError(f"another process is working on {what}") from None
    except NotImplementedError as error:
        raise UsageError(f"{lock.parent}: its file system has no locks, use another one") from error
    except OSError as error:
        raise UsageError(f"cannot write {lock.parent}: {error.strerror or error}") from error
    try:
        if isinstance(held, SoftFileLock):  # what filelock turns into there: it would outlive a killed process
            raise UsageError(f"{lock.parent}: its file system has no locks, use another one")
        yield _exchange_holder(lock)
    finally:
        with suppress(OSError):
            _holder_file(lock).unlink(missing_ok=True)
        held.release()


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file; looking does not claim, and the folder may be one that cannot be written."""
    try:
        import fcntl
    except ImportError:  # Windows has no shared locks
        return _is_held_by_trying(lock)
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


def _is_held_by_trying(lock: Path) -> bool:
    """The same where only holding a lock tells whether it is free."""
    try:
        with FileLock(lock, timeout=0) if lock.exists() else nullcontext():
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _holder_file(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}-holder")


def _exchange_holder(lock: Path) -> str | None:
    """Write who holds a lock now; who held it before and died. A full disk only costs the next one the word."""
    file, before = _holder_file(lock), None
    with suppress(OSError):
        before = file.read_text(encoding="utf-8", errors="replace")[:200].strip() or None
    with suppress(OSError):
        file.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
    return before
