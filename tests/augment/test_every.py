"""What every augmentation of the catalogue does: nothing at zero strength, any batch, range and type of the images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dametric.augment import AUGS, ImageSpec, Keys, parse, policy, static
from dametric.base.devices import tf32
from tests.loops import each

ZERO = {
    "identity": "identity",
    "flip": "flip:p=0",
    "crop": "crop:padding=0",
    "rrc": "rrc:p=0",
    "cutout": "cutout:p=0",
    "autoaugment": "autoaugment:p=0",
    "randaugment": "randaugment:p=0",
    "trivialaugment": "trivialaugment:p=0",
    "mixup": "mixup:p=0",
    "cutmix": "cutmix:p=0",
    "cutmixpick": None,  # a pick has no strength
    "brightness": "brightness:strength=0",
    "contrast": "contrast:strength=0",
    "saturation": "saturation:strength=0",
    "hue": "hue:strength=0",
    "jitter": "jitter:brightness=0:contrast=0:saturation=0:hue=0",
    "grayscale": "grayscale:p=0",
    "solarize": "solarize:threshold=256:p=1",
    "posterize": "posterize:bits=8:p=1",
    "equalize": "equalize:p=0",
    "autocontrast": "autocontrast:p=0",
    "sharpness": "sharpness:factor=1:p=1",
    "invert": "invert:p=0",
    "blur": "blur:sigma=0",
    "noise": "noise:std=0",
    "jpeg": "jpeg:p=0",
    "rotate": "rotate:degrees=0",
    "translate": "translate:share=0",
    "shear": "shear:degrees=0",
    "scale": "scale:change=0",
    "perspective": "perspective:distortion=0:p=1",
    "erasing": "erasing:area=0:p=1",
    "gridmask": "gridmask:drop=0",
    "mask": "mask:share=0",
    "mixup-or-cutmix": "mixup-or-cutmix:p=0",
    "resizemix": "resizemix:scale=0",
    "fmix": "fmix:p=0",
    "augmix": "augmix:p=0",
    "rand": "rand:prob=0",
}
SHAPES = [(16, 3, 31, 33), (5, 1, 8, 9), (1, 3, 1, 1), (7, 3, 2, 5)]


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_every_augmentation_of_the_catalogue_is_here() -> None:
    assert set(ZERO) == set(AUGS)


@each("shape", SHAPES)
@each("spec", [spec for spec in ZERO.values() if spec is not None])
def test_strength_zero_changes_nothing(spec: str, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    out = parse(spec)(images, Keys(0, 1, shape[0]))
    assert torch.equal(out.images.to(torch.uint8), images)
    assert torch.equal(out.images.float(), images.float())
    assert out.lam is None or (out.lam == 1).all()


@each("shape", SHAPES)
@each("spec", [*AUGS, "pick(mixup)", "pick(rand-m9-inc1):runs=3"])
def test_batches_of_one_and_odd_ones_keep_size_type_and_range(spec: str, shape: tuple[int, ...]) -> None:
    mean = (0.5, 0.25, 0.75)[: shape[1]]
    aug, images = parse(f"{spec}:p=1" if spec in {"erasing", "invert"} else spec, ImageSpec(32, mean)), noise(*shape)
    for given in (images, images.float() + 0.25):  # bytes, and what is blended before
        for size in (1, shape[0]):
            out = aug(given, Keys(3, shape[0] // size, size))
            assert out.images.shape == (aug.runs * shape[0], *shape[1:])
            assert out.images.dtype in (torch.uint8, torch.float32)
            assert 0 <= out.images.min() <= out.images.max() <= 255.25
            assert (out.partner is None) == (out.lam is None) == (not aug.mixes)
            if out.lam is not None and out.partner is not None:
                assert out.lam.dtype == torch.float64
                assert ((out.lam >= 0) & (out.lam <= 1)).all()
                own = torch.arange(shape[0]).repeat(aug.runs)
                assert torch.equal(out.partner // size, own // size)  # within the batch


class _Products(TorchDispatchMode):
    """Notes of every product of float32 matrices whether it may be rounded to fewer bits."""

    def __init__(self) -> None:
        super().__init__()
        self.rounded: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("mm", "bmm", "addmm", "baddbmm", "mv", "convolution"):
            self.rounded += [tf32()["matmul"]] * (args[0].dtype == torch.float32)
        return func(*args, **(kwargs or {}))


def test_pixels_do_not_depend_on_the_precision_that_networks_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.set_float32_matmul_precision`` lets chips round products: coordinates of warps would be off by pixels."""
    images, products = noise(16, 3, 31, 33), 0
    for form in ("of a CPU", "of a GPU"):  # policies are warped one operation after the other, and all at once
        if form == "of a GPU":
            monkeypatch.setattr(policy, "grouped", lambda name, images, draw: static.applied(images, **_names(draw)))
        for name in AUGS:
            aug, keys = parse(name, ImageSpec(31)), Keys(0, 2, 8)
            before = aug(images, keys).images
            torch.set_float32_matmul_precision("medium")
            try:
                with _Products() as seen:
                    after = aug(images, keys).images
                assert tf32()["matmul"], "as the user set it"
            finally:
                torch.set_float32_matmul_precision("highest")
            assert not any(seen.rounded), (name, form)
            assert torch.equal(after, before), (name, form)
            products += len(seen.rounded)
    assert products > 20


def _names(draw: Any) -> dict[str, Tensor]:
    return {"operations": draw["operation"], "strengths": draw["strength"]}
