"""Augmentations of other libraries, as the files of examples/ name them, where the libraries are installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from dametric.augment import Keys, parse
from dametric.augment.examine import examined, remarks

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMED = {
    "torchvision": {
        "pipeline": "returns images normalised by its own constants",
        "mixed": "mixes images of a batch",
        "torchvision.transforms.v2:ColorJitter:brightness=0.4": "",
    },
    "albumentations": {
        "weather": "as image=",
        "holes": "as image=",
        "albumentations:HorizontalFlip:p=0.5": "as image=",
    },
    "kornia": {
        "colours": "is given float tensors from 0 to 1",
        "mixed": "mixes images of a batch",
        "kornia.augmentation:RandomHorizontalFlip:p=0.5": "is given float tensors from 0 to 1",
    },
    "timm": {"policy": "is given PIL pictures", "erased": "", "mixed": "with labels; mixes images of a batch"},
}


@pytest.mark.parametrize("library", NAMED)
def test_a_librarys_transforms_augment_and_repeat(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "NO_ALBUMENTATIONS_UPDATE", "1")  # which would ask the network
    pytest.importorskip(library, reason=f"{library} is not installed")
    images = torch.randint(0, 256, (16, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for name, line in NAMED[library].items():
        spec = name if ":" in name else f"{EXAMPLES / f'{library}_augmentation.py'}:{name}"
        aug = examined(parse(spec), images)
        (operation,) = aug.operations
        assert line in operation.findings.line  # type: ignore[attr-defined]
        assert aug.mixes == (name == "mixed")
        assert remarks(aug, images) == []
        out, again, other = (aug(images, Keys(seed, 1, 16)).images.float() for seed in (0, 0, 1))
        assert out.shape == images.shape
        assert torch.equal(out, again)
        assert not torch.equal(out, other)
        assert 0 <= out.min() <= out.max() <= 255
        changed = (out - images.float()).abs().flatten(1).amax(1) > 1
        assert changed.double().mean() > 0.2, name
