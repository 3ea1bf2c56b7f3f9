"""Image files of class folders with their sizes and times; what was found in large folders is remembered.

A remembered list holds as long as no folder of it has changed: files that come, go or get other names change their
folder's time. A file that is written anew in place does not. So a few files are looked at on every use, and

* decoded images are kept by the sizes and times of all files as they are now, never by remembered ones;
* a file that is read when it is drawn must have the size that is remembered, which is part of the set's fingerprint.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path

import numpy as np

from dametric.data.cache import FORMAT, Stored
from dametric.data.listing import Files, Ints
from dametric.data.pixels import text_fingerprint

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".gif"]
)
REMEMBERED = 20_000  # files from which on a list is remembered; fewer are listed in a tenth of a second
SETTLED = 2_000_000_000  # ns that a folder must have been left alone: its time is coarse, and may hide a second change
_LOOKED_AT = 256  # files of a remembered list that are looked at
_THREADS = 16  # that list folders of a slow file system
_PATIENCE, _SLOW = (
    1.0,
    1e-4,
)  # a file system is slow that takes longer than the one, and than the other for each file, in s
_KEYS = ("names", "counts", "sizes", "times", "folders", "states")


def is_image(name: str) -> bool:
    """Whether a file is taken for an image, by its name; hidden ones are not."""
    return name[:1] != "." and name[name.rfind(".") :].lower() in SUFFIXES


@dataclass(frozen=True)
class Scan:
    """Image files of some folders, in the order of the folders, in each by path with its own files first.

    Attributes
    ----------
    files : Files
        With -1 as the size of what is no regular file, or is not there: a link into nothing.
    counts : ndarray of shape (folders,), int64
        Files of each folder.
    """

    files: Files
    counts: Ints


def scan(root: Path, folders: Sequence[str], cache: Path | None = None) -> Scan:
    """List the image files in some folders, at any depth; links are followed.

    Parameters
    ----------
    root : Path
        Names are relative to it.
    folders : sequence of str
        Relative to the root; one that is not there has no files.
    cache : Path, optional
        Folder in which lists of `REMEMBERED` files or more are kept.
    """
    entry = None if cache is None else _entry(root, folders, cache)
    if entry is not None and (kept := _remembered(root, entry)) is not None:
        return kept
    start, walk = time.time_ns(), _Walk(str(root))
    walks = _walks(str(root), folders)
    for each in walks:
        walk += each
    result = Scan(walk.files, np.array([len(each.names) for each in walks], dtype=np.int64))
    settled = max((max(times) for times in walk.states), default=0) < start - SETTLED
    if entry is not None and len(walk.names) >= REMEMBERED and settled:
        entry.store(
            names=_packed(walk.names),
            counts=result.counts,
            sizes=walk.files.sizes,
            times=walk.files.times,
            folders=_packed(walk.folders),
            states=np.array(walk.states, dtype=np.int64),
        )
    return result


def files_at(root: Path, names: list[str]) -> Files:
    """Named files, with -1 as the size of what is no regular file, or is not there."""
    found = [_size_and_time(os.path.join(root, name)) for name in names]
    sizes, times = np.array(found, dtype=np.int64).reshape(-1, 2).T
    return Files(root, names, sizes.copy(), times.copy())


@dataclass(frozen=True)
class RememberedFiles(Files):
    """Files as they were when they were listed.

    Attributes
    ----------
    entry : Stored
        Where they are remembered.
    """

    entry: Stored | None = None

    @property
    def now(self) -> Files:
        return self._now

    @cached_property
    def _now(self) -> Files:
        return files_at(self.root, self.names)

    def fits(self, i: int, size: int) -> bool:
        if size == vars(self).get("_now", self).sizes[i]:  # images that are decoded all at once are those of now
            return True
        if self.entry is not None:
            self.entry.remove()
        return False


class _Walk:
    """Image files found so far, and the folders that were looked into with their times."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.names: list[str] = []
        self.folders: list[str] = []
        self.states: list[tuple[int, int]] = []
        self._sizes: list[int] = []
        self._times: list[int] = []

    def __iadd__(self, other: _Walk) -> _Walk:
        for name in ("names", "folders", "states", "_sizes", "_times"):
            getattr(self, name).extend(getattr(other, name))
        return self

    def into(self, folder: str) -> None:
        waiting = [folder]
        while waiting:
            waiting += reversed(self._list(waiting.pop()))

    def _list(self, folder: str) -> list[str]:
        """List the files of a folder itself; return the folders in it."""
        path = os.path.join(self._root, folder)
        try:
            # names are looked up in the open folder, not from the root on; Windows opens no folders
            handle = os.open(path, os.O_RDONLY) if os.scandir in os.supports_fd else path
        except OSError:  # as os.walk: a folder that cannot be read has no files
            return []
        try:
            state = _state(handle)  # before its content, which may change meanwhile
            with os.scandir(handle) as entries:
                present = sorted(entries, key=attrgetter("name"))
            self.folders.append(folder)
            self.states.append(state)
            return self._sort(os.path.join(folder, ""), present)
        except OSError:
            return []
        finally:
            if isinstance(handle, int):
                os.close(handle)

    def _sort(self, before: str, present: list[os.DirEntry[str]]) -> list[str]:
        """Keep the images of what is in a folder; return the folders."""
        inside = []
        for entry in present:
            name = entry.name
            if _is_folder(entry):
                if name[0] != ".":
                    inside.append(before + name)
            elif is_image(name):
                size, changed = _size_and_time(entry)
                self.names.append(before + name)
                self._sizes.append(size)
                self._times.append(changed)
        return inside

    @property
    def files(self) -> Files:
        sizes, times = (np.array(values, dtype=np.int64) for values in (self._sizes, self._times))
        return Files(Path(self._root), self.names, sizes, times)


def _walks(root: str, folders: Sequence[str]) -> list[_Walk]:
    """Walks through some folders: one after the other, unless most of the time goes by waiting, as on networks."""
    walks: list[_Walk] = []
    start, files = time.perf_counter(), 0
    for number, folder in enumerate(folders, 1):
        walks.append(_walked(root, folder))
        files += len(walks[-1].names)
        if time.perf_counter() - start > max(_PATIENCE, _SLOW * files):
            with ThreadPoolExecutor(_THREADS) as pool:
                return [*walks, *pool.map(partial(_walked, root), folders[number:])]
    return walks


def _walked(root: str, folder: str) -> _Walk:
    walk = _Walk(root)
    walk.into(folder)
    return walk


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _size_and_time(entry: os.DirEntry[str] | str) -> tuple[int, int]:
    try:
        status = os.stat(entry) if isinstance(entry, str) else entry.stat()
    except OSError:
        return -1, 0
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (-1, 0)


def _state(path: str | int) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ctime_ns  # the second cannot be set back, as copying tools do


def _entry(root: Path, folders: Sequence[str], cache: Path) -> Stored:
    name = text_fingerprint([FORMAT, str(root.resolve()), *folders])[:20]
    return Stored(cache / f"{name}-list.npz", f"{root.resolve()}: list of files")


def _remembered(root: Path, entry: Stored) -> Scan | None:
    """The list that is kept; None where there is none, or where it no longer holds."""
    arrays = entry.load(_KEYS)
    if arrays is None:
        return None
    with contextlib.suppress(OSError):
        folders, states = _unpacked(arrays["folders"]), arrays["states"].tolist()
        if all(list(_state(os.path.join(root, name))) == state for name, state in zip(folders, states, strict=True)):
            names = _unpacked(arrays["names"])
            files = RememberedFiles(root, names, arrays["sizes"], arrays["times"], entry)
            some = np.unique(np.linspace(0, len(names) - 1, _LOOKED_AT).astype(np.int64))
            if _same(files, some):
                return Scan(files, arrays["counts"])
    entry.remove()
    return None


def _same(files: Files, some: Ints) -> bool:
    for i in some.tolist():
        if files.sizes[i] >= 0:
            status = os.stat(os.path.join(files.root, files.names[i]))
            if (status.st_size, status.st_mtime_ns) != (files.sizes[i], files.times[i]):
                return False
    return True


def _packed(names: Sequence[str]) -> np.ndarray:
    return np.frombuffer("\0".join(names).encode("utf-8", "surrogateescape"), dtype=np.uint8)


def _unpacked(packed: np.ndarray) -> list[str]:
    return packed.tobytes().decode("utf-8", "surrogateescape").split("\0")
