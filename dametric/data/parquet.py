"""Parquet files as tables of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dametric.data.rowgroups import RowGroups
from dametric.data.tables import Format
from dametric.data.unpacked import unpack


def _open(path: Path) -> tuple[Any, Any]:
    meta = pq.read_metadata(path)
    return meta.schema.to_arrow_schema(), meta


def _column(path: Path, _: Any, name: str) -> Any:
    return pq.read_table(path, columns=[name], partitioning=None)[name]


PARQUET = Format("Parquet", ".parquet", _open, _column, RowGroups, unpack)
