"""Single rows of Parquet files, which are stored and compressed in row groups."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dametric.data.decode import workers
from dametric.errors import UsageError


class RowGroups:
    """Encoded images of Parquet files by row number, with the most recently used row groups in memory.

    Attributes
    ----------
    bytes : int
        Of all row groups, about.
    fits : bool
        Whether all of them are kept.
    single : callable, optional
        Reads single rows from elsewhere instead; returns None for a row without an image.

    Parameters
    ----------
    shards : sequence of (Path, str, metadata)
        Files, the column of encoded bytes in each ("img.bytes"), and their metadata as pyarrow gives it.
    memory : int
        Bytes that row groups may occupy; at least two groups for each reading thread are kept.
    """

    def __init__(self, shards: Sequence[tuple[Path, str, Any]], memory: int) -> None:
        self._groups = [(shard, g) for shard in shards for g in range(shard[2].num_row_groups)]
        rows: list[int] = [shard[2].row_group(g).num_rows for shard, g in self._groups]
        self._starts: list[int] = [0, *accumulate(rows)]
        self._first = {shard[0]: 0 for shard in shards}
        for (shard, g), start in zip(self._groups, self._starts, strict=False):
            if g == 0:
                self._first[shard[0]] = start
        sizes = [_bytes_of(shard[2], g, shard[1]) for shard, g in self._groups]
        self.bytes = sum(sizes)
        self._keep = max(2 * workers(), memory // max(*sizes, 1))
        self.fits = len(self._groups) <= self._keep
        self.single: Callable[[int], bytes | None] | None = None
        self._lock = Lock()
        self._held: OrderedDict[int, Future[Any]] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def cost(self) -> float:
        """Bytes that are read for each byte of an image drawn at random."""
        return len(self) / max(len(self._groups), 1) * max(0.0, 1 - self._keep / max(len(self._groups), 1))

    def each(self) -> Iterator[bytes | None]:
        """Encoded bytes of every row in order, one row group after the other; None for a row without an image."""
        for group in range(len(self._groups)):
            for encoded in self._load(group):
                yield encoded.as_py()

    def read(self, i: int) -> bytes:
        """Encoded bytes of row ``i``, counted through all files; safe to call from several threads."""
        encoded = self._of_group(i) if self.single is None else self.single(i)
        if encoded is None:
            raise UsageError(f"{self.where(i)} holds no image bytes; images kept outside the file are not supported")
        return encoded

    def _of_group(self, i: int) -> bytes | None:
        group = bisect_right(self._starts, i) - 1
        encoded: bytes | None = self._column(group)[i - self._starts[group]].as_py()
        return encoded

    def where(self, i: int) -> str:
        """File and row number within it, for error messages."""
        path = self._groups[bisect_right(self._starts, i) - 1][0][0]
        return f"{path} row {i - self._first[path]}"

    def _column(self, group: int) -> Any:
        with self._lock:
            slot = self._held.get(group)
            first = slot is None
            if slot is None:
                slot = self._held[group] = Future()
                if len(self._held) > self._keep:
                    self._held.popitem(last=False)
            else:
                self._held.move_to_end(group)
        if first:  # outside the lock, so that other threads can read other groups meanwhile
            try:
                slot.set_result(self._load(group))
            except BaseException as error:
                slot.set_exception(error)
        return slot.result()

    def _load(self, group: int) -> Any:
        (path, column, meta), number = self._groups[group]
        try:
            with pq.ParquetFile(path, metadata=meta, memory_map=True) as file:
                data = file.read_row_group(number, columns=[column], use_threads=False).column(0)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"cannot read {path} as Parquet: {' '.join(str(error).split())}") from error
        return pc.struct_field(data, "bytes") if pa.types.is_struct(data.type) else data


def _bytes_of(meta: Any, group: int, column: str) -> int:
    row_group = meta.row_group(group)
    chunks = (row_group.column(c) for c in range(row_group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)
