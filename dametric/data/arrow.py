"""Arrow files as tables of images, as ``save_to_disk`` of Hugging Face's datasets writes them."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dametric.data.tables import Format
from dametric.errors import UsageError


class ArrowRows:
    """Encoded images of Arrow files by row number; the files are memory-mapped."""

    def __init__(self, shards: Sequence[tuple[Path, str, Any]], memory: int) -> None:
        self._shards = []
        for path, column, table in shards:
            name, _, field = column.partition(".")
            self._shards.append((path, pc.struct_field(table[name], field) if field else table[name]))
        self._starts = [0, *accumulate(len(images) for _, images in self._shards)]

    def read(self, i: int) -> bytes:
        """Encoded bytes of row ``i``."""
        shard = bisect_right(self._starts, i) - 1
        encoded = self._shards[shard][1][i - self._starts[shard]].as_py()
        if encoded is None:
            raise UsageError(f"{self.where(i)} holds no image bytes; images kept outside the file are not supported")
        result: bytes = encoded
        return result

    def where(self, i: int) -> str:
        """File and row number within it."""
        shard = bisect_right(self._starts, i) - 1
        return f"{self._shards[shard][0]} row {i - self._starts[shard]}"


def _open(path: Path) -> tuple[Any, Any]:
    _check_plain(path.parent)
    source = pa.memory_map(str(path))
    try:
        table = pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:  # Arrow has a stream and a file layout; datasets writes streams
        table = pa.ipc.open_file(source).read_all()
    return table.schema, table


def _check_plain(folder: Path) -> None:
    """Refuse a table whose rows are selected by an index file beside it."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not every folder of Arrow files has one
        return
    if isinstance(state, dict) and (state.get("_indices_data_files") or state.get("_indices_files")):
        raise UsageError(f"{folder} is a selection of rows: write it with dataset.flatten_indices().save_to_disk(...)")


ARROW = Format("Arrow", ".arrow", _open, lambda _, table, name: table[name], ArrowRows)
