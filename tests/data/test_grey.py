"""Images in one channel, for networks that take one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dametric.data import ImageSet, load_data


def test_grey_is_what_pillow_makes_of_them() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 9, 7), generator=draw, dtype=torch.uint8)
    images[5] = images[5, :1]  # equal channels keep their value, whatever it is
    images[6] = 255
    data = ImageSet.from_tensors(images, torch.arange(40) % 4)
    found = data.grey()
    expected = np.stack([np.asarray(Image.fromarray(one.permute(1, 2, 0).numpy()).convert("L")) for one in images])
    assert np.array_equal(found.images[:, 0].numpy(), expected)
    assert torch.equal(found.images[5], images[5, :1])
    np.testing.assert_allclose([found.mean[0], found.std[0]], [expected.mean() / 255, expected.std() / 255], rtol=1e-12)
    assert (found.channels, found.classes, len(found)) == (1, data.classes, 40)
    assert found.fingerprint != data.fingerprint
    assert found.grey() is found


def test_a_lazy_set_is_grey_too(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for row in range(12):
        where = tmp_path / "train" / f"c{row % 2}"
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(where / f"{row}.png")
    eager, lazy = (load_data(str(tmp_path), lazy=lazy, quiet=True).grey() for lazy in (False, True))
    assert lazy.lazy
    assert lazy.images.shape == eager.images.shape == (12, 1, 8, 8)
    rows = torch.tensor([11, 3, 3])
    assert torch.equal(next(iter(lazy.stream([rows], "cpu"))), eager.images[rows])
    assert torch.equal(lazy.subset(rows).images[:], eager.images[rows])
    assert (lazy.mean, lazy.std) == (eager.mean, eager.std)
