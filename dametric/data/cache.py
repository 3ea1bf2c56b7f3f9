"""Cache of decoded sets and their statistics, up to a limit."""

from __future__ import annotations

import contextlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from dametric.base.files import write_atomic
from dametric.data.listing import Files
from dametric.data.pixels import text_fingerprint
from dametric.errors import UsageError

FORMAT = "2"  # raise it when the content of the files or the way images are decoded changes
LIMIT = 32 << 30  # bytes of all entries together; those that were used longest ago go first
_BLOCK = 64 << 20  # bytes that are checked between two chances to press Ctrl-C
FOLDER = "decoded"  # below the cache folder


@dataclass(frozen=True)
class Entry:
    """A file of the cache.

    Attributes
    ----------
    path : Path
    size : int
        In bytes.
    used : float
        When it was last written or read, in seconds since 1970.
    """

    path: Path
    size: int
    used: float

    @property
    def what(self) -> str:
        """Source and variant of the entry, where the file tells."""
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return str(arrays["what"])
        except Exception:  # of an earlier version, or damaged, or incomplete
            return "unknown"


def entries(folder: Path) -> list[Entry]:
    """All files of a cache folder, most recently used first; including what a killed process left half written."""
    files = []
    for path in [*folder.glob("*.npz"), *folder.glob(".*.npz.*")]:
        with contextlib.suppress(OSError):  # another process may have removed it
            about = path.stat()
            files.append(Entry(path, about.st_size, about.st_mtime))
    return sorted(files, key=lambda entry: -entry.used)


def clear(folder: Path) -> list[Entry]:
    """Remove all files of a cache folder, and return their entries.

    Raises
    ------
    UsageError
        If a file cannot be removed.
    """
    removed = entries(folder)
    for entry in removed:
        try:
            entry.path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"cannot remove {entry.path}: {error.strerror or error}") from error
    return removed


class Stored:
    """Arrays in a file of the cache: an uncompressed ``.npz``, read without unpickling, whose checksums reveal damage.

    Parameters
    ----------
    path : Path
    what : str
        Source and variant, for those who list the cache.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path, self._what = path, what

    def load(
        self, keys: Iterable[str], mapped: str | None = None, *, check: bool = True
    ) -> dict[str, np.ndarray] | None:
        """Read arrays; None where there is no file. A damaged one is removed.

        Parameters
        ----------
        keys : iterable of str
        mapped : str, optional
            A further array that stays in the file: its pages are read when they are used, and are shared by all
            processes. It can be written to, which leaves the file as it is.
        check : bool
            Hold the mapped array against its checksum; it is read once for that, a second or so for each GB.
        """
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                loaded = {key: arrays[key] for key in keys}
                if mapped is not None:
                    loaded[mapped] = _mapped(self.path, file, arrays.zip, f"{mapped}.npy", check)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception:  # zlib, zipfile and the parser of array headers each raise errors of their own
            self.remove()
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path)  # the least recently used entries are removed first
        return loaded

    def store(self, **arrays: np.ndarray) -> str | None:
        """Write the file; return the reason where that is impossible."""

        def write(file: BinaryIO) -> None:
            save: Callable[..., None] = np.savez  # its annotations take array names for its own options
            save(file, **arrays, what=np.array(self._what))

        try:
            write_atomic(self.path, write)
            _bound(self.path)
        except (UsageError, OSError) as error:
            return str(error)
        return None

    def write(self, name: str, pieces: Iterable[bytes], arrays: Callable[[], dict[str, np.ndarray]]) -> str | None:
        """Write the file with bytes that need not all be in memory; return the reason where that is impossible.

        Parameters
        ----------
        name : str
            What the bytes are called.
        pieces : iterable of bytes
            Written one after the other.
        arrays : callable
            Returns the arrays, once all pieces are written.
        """

        def write(file: BinaryIO) -> None:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                with archive.open(name, "w", force_zip64=True) as member:
                    for piece in pieces:
                        member.write(piece)
                for key, array in {**arrays(), "what": np.array(self._what)}.items():
                    with archive.open(f"{key}.npy", "w") as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)

        try:
            write_atomic(self.path, write)
            _bound(self.path)
        except OSError as error:
            return str(error)
        return None

    def start(self, name: str) -> int | None:
        """Where in the file the bytes of a name begin; None where they are not there."""
        try:
            with open(self.path, "rb") as file, zipfile.ZipFile(file) as archive:
                return _start(file, archive.getinfo(name))
        except (OSError, KeyError, zipfile.BadZipFile, struct.error):
            return None

    def remove(self) -> None:
        """Remove the file, where there is one."""
        with contextlib.suppress(OSError):
            self.path.unlink()


class Cached(Stored):
    """One cache entry: arrays computed from source files.

    When the source files change, so does the entry's name, and the entry of the earlier state is removed.

    Parameters
    ----------
    folder : Path
        Folder of the entries; created by the first write.
    files : Files
        The source files; their paths, sizes and times identify the entry.
    variant : str
        What was computed from them: split, image size.
    """

    def __init__(self, folder: Path, files: Files, variant: str) -> None:
        self.files = files
        self._stem = text_fingerprint([str(files.root.resolve()), *files.names, variant])[:20]
        state: list[str | bytes] = [FORMAT, PIL.__version__, files.sizes.tobytes(), files.times.tobytes()]
        path = folder / f"{self._stem}-{text_fingerprint(state)[:20]}.npz"
        super().__init__(path, f"{files.root.resolve()}: {variant}")

    def store(self, **arrays: np.ndarray) -> str | None:
        """Write the entry; return a note where that is impossible."""
        size = sum(array.nbytes for array in arrays.values())
        if size > LIMIT:
            return f"the decoded images are not cached: they take {size >> 30} GiB, and the limit is {LIMIT >> 30} GiB"
        error = super().store(**arrays)
        if error is not None:
            return f"the decoded images could not be cached, so the next run decodes them again: {error}"
        self._remove_former()
        return None

    def write(self, name: str, pieces: Iterable[bytes], arrays: Callable[[], dict[str, np.ndarray]]) -> str | None:
        error = super().write(name, pieces, arrays)
        if error is None:
            self._remove_former()
        return error

    def _remove_former(self) -> None:
        """Remove what was computed from an earlier state of the files."""
        for old in self.path.parent.glob(f"{self._stem}-*.npz"):
            if old != self.path:
                with contextlib.suppress(OSError):
                    old.unlink()


def _start(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where in an archive the content of an uncompressed file begins."""
    file.seek(member.header_offset)
    _, of_name, of_extra = struct.unpack("<26sHH", file.read(30))
    return int(member.header_offset + 30 + of_name + of_extra)


def _mapped(path: Path, file: BinaryIO, archive: zipfile.ZipFile, name: str, check: bool) -> np.ndarray:
    """An uncompressed array of an archive, in place.

    Raises
    ------
    Exception
        If the file is damaged.
    """
    member = archive.getinfo(name)
    start = _start(file, member)
    file.seek(start)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    array = np.memmap(path, dtype, mode="c", offset=file.tell(), shape=shape)
    if check:
        content = np.memmap(path, np.uint8, mode="r", offset=start, shape=member.file_size)
        sum_ = 0
        for at in range(0, len(content), _BLOCK):
            sum_ = zlib.crc32(content[at : at + _BLOCK].data, sum_)
        if sum_ != member.CRC or member.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile(f"{name} in {path} is damaged")
    return array.view(np.ndarray)


def _bound(newest: Path) -> None:
    """Remove the least recently used entries until the limit is kept."""
    kept = 0
    for entry in entries(newest.parent):
        kept += entry.size
        if kept > LIMIT and entry.path != newest:
            entry.path.unlink(missing_ok=True)
