"""One image at a time: every mode becomes RGB, sizes are brought to one, damage is told."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from dametric.data.decode import decode, size_of
from dametric.errors import UsageError


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF", "PPM"])
def test_greyscale_becomes_three_equal_channels(form: str) -> None:
    got = decode(encoded(Image.fromarray(GREY), form), "x")
    assert np.array_equal(got, np.stack([GREY] * 3))


def test_black_and_white_becomes_0_and_255() -> None:
    got = decode(encoded(Image.fromarray(GREY > 127)), "x")
    assert np.array_equal(got[1], np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(form: str) -> None:
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    got = decode(encoded(Image.fromarray(deep), form), "x")
    assert np.array_equal(got, np.stack([GREY] * 3))


def test_16_bit_pgm_is_scaled() -> None:
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    got = decode(b"P5 16 16 65535\n" + deep.astype(">u2").tobytes(), "x")
    assert np.array_equal(got[2], GREY)


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(256))])
def test_palette_images_become_the_colours_of_the_palette(transparency: int | bytes | None) -> None:
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    image = Image.frombytes("P", (16, 16), GREY.tobytes())
    image.putpalette(palette.tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    got = decode(encoded(image, **options), "x")
    assert np.array_equal(got, palette[GREY].transpose(2, 0, 1))


def test_alpha_is_dropped() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    assert np.array_equal(decode(encoded(Image.fromarray(pixels)), "x"), pixels[..., :3].transpose(2, 0, 1))
    pair = np.ascontiguousarray(pixels[..., :2])
    assert np.array_equal(decode(encoded(Image.frombytes("LA", (5, 4), pair.tobytes())), "x")[2], pair[..., 0])


def test_cmyk_becomes_rgb() -> None:
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[..., 0] = 255  # cyan alone: no red, all green and blue
    image = Image.frombytes("CMYK", (8, 8), inks.tobytes())
    for form in ("TIFF", "JPEG"):
        assert decode(encoded(image, form), "x")[:, 4, 4] == pytest.approx([0, 255, 255], abs=3)


def test_exif_orientation_is_ignored() -> None:
    image = Image.fromarray(np.zeros((8, 16, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(image, "JPEG", exif=exif), "x").shape == (3, 8, 16)


@pytest.mark.parametrize(("height", "width"), [(37, 90), (90, 37), (33, 33), (20, 31), (32, 64), (47, 32)])
def test_bringing_to_a_size_equals_torchvision(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    same = v2.Compose([v2.Resize(32), v2.CenterCrop(32), v2.PILToTensor()])(image)
    assert torch.equal(torch.from_numpy(decode(encoded(image), "x", 32).copy()), same)


def test_size_comes_from_the_header() -> None:
    assert size_of(encoded(Image.new("L", (7, 3))), "x") == (3, 7)
    with pytest.raises(UsageError, match="cannot decode x"):
        size_of(b"text", "x")


def damaged() -> dict[str, tuple[bytes, str]]:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)), "JPEG")
    png = bytearray(encoded(Image.fromarray(GREY)))
    png[50] ^= 0xFF
    return {
        "empty": (b"", "not an image"),
        "text": (b"<html>not found</html>", "not an image"),
        "truncated": (whole[: len(whole) // 2], "truncated"),
        "flipped": (bytes(png), ""),
        "float": (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "mode F"),
    }


@pytest.mark.parametrize("case", damaged())
def test_damage_is_one_line_that_names_the_image(case: str) -> None:
    content, reason = damaged()[case]
    with pytest.raises(UsageError, match=rf"^cannot decode some/file\.png: .*{reason}") as caught:
        decode(content, "some/file.png")
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UsageError, match="decompression bomb"):
        decode(encoded(Image.fromarray(GREY)), "x")
