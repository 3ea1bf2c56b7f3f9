"""Images of 16 bits of which some are in use: scaled by their own range, in all splits alike, and said."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dametric.data import load_data
from dametric.errors import UsageError


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, (H, W) or (H, W, C), written by hand: Pillow writes greyscale alone."""
    height, width = values.shape[:2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write(root: Path, bits: int, channels: int | None, highest: int | None = None) -> dict[str, np.ndarray]:
    """Two images of training and one of evaluation, the last of which alone has the highest value."""
    rng = np.random.default_rng(0)
    shape = (3, 6, 5) if channels is None else (3, 6, 5, channels)
    values = rng.integers(0, (1 << bits) // 2, shape, dtype=np.uint16)
    values[2].flat[:4] = (1 << bits) - 1 if highest is None else highest
    for split, number in (("train", 0), ("train", 1), ("val", 2)):
        folder = root / split / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png16(values[number]))
    colour = values[..., None] if channels is None else values[..., :1] if channels == 2 else values[..., :3]
    return {"train": colour[:2], "test": colour[2:]}


@pytest.mark.parametrize("lazy", [False, True])
def test_values_are_scaled_by_the_bits_in_use(tmp_path: Path, lazy: bool) -> None:
    for bits in (8, 10, 12, 14, 16):
        values = write(tmp_path / str(bits), bits, None)
        for split in ("test", "train") * 2:  # decoded, and from the cache
            data = load_data(tmp_path / str(bits), split, lazy=lazy, cache_dir=tmp_path / "cache", quiet=True)
            expected = np.floor(values[split] / 2.0 ** (bits - 8)).astype(np.uint8).transpose(0, 3, 1, 2)
            assert np.array_equal(data.images[:].numpy(), expected.repeat(3, axis=1)), bits
            assert any(f"use {bits} bits" in note for note in data.notes) == (bits < 16)
        assert data.mean == pytest.approx((data.images[:].double() / 255).mean((0, 2, 3)).tolist())


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colour_keeps_its_high_bytes_and_is_refused_where_they_are_not_in_use(tmp_path: Path, channels: int) -> None:
    values = write(tmp_path / "full", 16, channels)
    expected = (values["train"] >> 8).transpose(0, 3, 1, 2)
    assert np.array_equal(
        load_data(tmp_path / "full", quiet=True).images.numpy(), np.broadcast_to(expected, (2, 3, 6, 5))
    )
    for bits in (8, 12):
        write(tmp_path / str(bits), bits, channels)
        with pytest.raises(UsageError, match=f"16-bit colour that uses {bits} bits .*convert the images to 8 bits"):
            load_data(tmp_path / str(bits), quiet=True)


def test_the_range_is_that_of_the_highest_value(tmp_path: Path) -> None:
    for highest, bits in ((255, 8), (256, 10), (1023, 10), (1024, 12), (16384, 16), (40000, 16)):
        values = write(tmp_path / str(highest), 8, None, highest)
        data = load_data(tmp_path / str(highest), quiet=True)
        assert np.array_equal(data.images[0, 0].numpy(), values["train"][0, ..., 0] >> (bits - 8)), highest


def test_tiff_of_12_bits_and_images_of_8_bits_beside_them(tmp_path: Path) -> None:
    deep = (np.arange(256, dtype=np.uint16) * 16).reshape(16, 16)
    plain = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (tmp_path / "a").mkdir()
    Image.fromarray(deep).save(tmp_path / "a" / "0.tiff")
    Image.fromarray(plain).save(tmp_path / "a" / "1.png")
    data = load_data(tmp_path, quiet=True)
    assert torch.equal(data.images[0], data.images[1])
    assert np.array_equal(data.images[0, 0].numpy(), plain)


def test_a_value_beyond_the_range_that_was_found_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 12, None, 4095)
    monkeypatch.setattr("dametric.data.depth._LOOKED_AT", 1)  # of a split that is read lazily not all are looked at
    (tmp_path / "train" / "class1" / "1.png").write_bytes(png16(np.full((6, 5), 60000, np.uint16)))
    with pytest.raises(UsageError, match=r"1\.png: it uses more than the 12 bits"):
        load_data(tmp_path, lazy=True, quiet=True).images[:]
