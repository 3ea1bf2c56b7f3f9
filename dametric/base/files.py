"""Files that are either whole or absent, and where caches live."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from dametric.errors import UsageError


def write_atomic(path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], object]) -> Path:
    """Write a file so that a crash at any moment leaves the old file or the new one, never half of one.

    Parameters
    ----------
    path : path-like
        Where the file goes; missing parent folders are made.
    content : bytes, str or callable
        The content, or a function that writes it to the binary file it is given.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    UsageError
        If the folder cannot be made or written to, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            if callable(content):
                content(file)
            else:
                # names need not be UTF-8, and a text that holds one is worth more than none
                file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, target)
    except OSError as error:
        Path(beside).unlink(missing_ok=True)
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return target


MOST_TEXT = 64 * 2**20
"""Bytes of a text that is read whole: a score file, a record, a grid."""


def read_text(path: str | os.PathLike[str], limit: int = MOST_TEXT) -> str:
    """Read a text file that somebody else may have made.

    Parameters
    ----------
    path : path-like
    limit : int
        Bytes that are read at most.

    Raises
    ------
    UsageError
        If it cannot be read, is a pipe or a device, which may have no end, or is longer than the limit.
    ValueError
        If it is not UTF-8 (a UnicodeDecodeError).
    """
    try:
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise UsageError(f"cannot read {path}: it is a pipe or a device; give the name of a file")
        with open(path, "rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: NUL in its name
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > limit:
        raise UsageError(f"{path} has more than the {limit:,} bytes that are read of such a file")
    return content.decode("utf-8-sig")  # some editors begin a file with a mark


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written when the work is done.

    Raises
    ------
    UsageError
        If it is a folder, or its folder does not exist and cannot be made, or may not be written to.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise UsageError(f"cannot write {path}: {parent} is not a folder")
    writable = os.access(parent, os.W_OK | os.X_OK)
    if parent != path.absolute().parent and writable:  # such as /proc, which is no place for new folders
        first = path.absolute().parents[list(path.absolute().parents).index(parent) - 1]
        try:
            first.mkdir()
        except FileExistsError:  # another process was faster
            check_writable(path)
            return
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
        with contextlib.suppress(OSError):  # another process may have begun to use it
            first.rmdir()  # a command that is refused later leaves nothing
    if not writable and parent.exists():
        raise UsageError(f"cannot write into {parent}: choose another folder, or change its permissions")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file)


def _sha256(file: BinaryIO) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def default_cache_dir() -> Path:
    """The user's cache folder for dametric: ``$XDG_CACHE_HOME/dametric`` or ``~/.cache/dametric``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dametric"
