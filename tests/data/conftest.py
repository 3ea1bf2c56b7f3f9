"""Small image sets on disk, in the layouts that the loader reads."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Picture = Callable[..., Image.Image]
WriteShard = Callable[..., Path]


@pytest.fixture
def picture() -> Picture:
    """A random image: ``picture(seed, height, width)``, RGB."""

    def make(seed: int, height: int = 8, width: int = 8) -> Image.Image:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return make


@pytest.fixture
def folder(tmp_path: Path, picture: Picture) -> Path:
    """``train/{ant,bee}`` with 5 images each and ``val/{ant,bee}`` with 2, all 8 x 8 PNG."""
    root = tmp_path / "pictures"
    for split, count in (("train", 5), ("val", 2)):
        for label, name in enumerate(("ant", "bee")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                picture(100 * label + i + 10 * count).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture
def write_shard(picture: Picture) -> WriteShard:
    """Write a Parquet file in the Hugging Face layout; returns its path."""

    def write(
        path: Path,
        labels: Sequence[int | None],
        *,
        images: Sequence[bytes | None] | None = None,
        image: str = "image",
        label: str = "label",
        names: Sequence[str] | None = ("ant", "bee"),
        seed: int = 0,
        group: int = 3,
        more: dict[str, Sequence[object]] | None = None,
    ) -> Path:
        if images is None:
            images = [png(picture(seed + i)) for i in range(len(labels))]
        rows = pa.array(
            [{"bytes": b, "path": None} for b in images], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        )
        table = pa.table({image: rows, label: pa.array(labels, pa.int64()), **(more or {})})
        if names is not None:
            features = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=group)
        return path

    return write


def png(image: Image.Image) -> bytes:
    """Encode without loss."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
