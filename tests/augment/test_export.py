"""The code that ``dametric export`` prints, carried out: its images follow the law of ours."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from dametric.augment import AUGS, ImageSpec, Keys, parse
from dametric.augment.export import LIBRARIES, export
from dametric.errors import UsageError
from tests.loops import each

COUNT, SIDE = 160, 32
MEAN = (0.5, 0.25, 0.75)
COMPOSED = [
    "crop+flip",
    "blur:p=0.4+jitter",
    "oneof(flip:p=1,invert:p=0.5+solarize,identity)",
    "identity",
    "noise:std=0.5:p=0.7",
]
MIXING = ["mixup", "mixup:alpha=0.3", "cutmix", "cutmix:alpha=0.5", "mixup-or-cutmix:mixup=0.4:switch=0.3"]


@pytest.fixture(autouse=True)
def seeds() -> Iterator[None]:
    """Fixed seeds of the generators that libraries draw from, whose state is restored."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    random.setstate(python)
    np.random.set_state(array)  # noqa: NPY002


def smooth() -> Tensor:
    """Images of large blots with a little noise."""
    generator = torch.Generator().manual_seed(0)
    blots = torch.rand(COUNT, 3, 4, 4, generator=generator)
    noise = 0.03 * torch.randn(COUNT, 3, SIDE, SIDE, generator=generator)
    images = F.interpolate(blots, (SIDE, SIDE), mode="bilinear") * 0.9 + 0.05 + noise
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def by_library(library: str, code: str, images: Tensor) -> Tensor:
    """What the code makes of the images."""
    place: dict[str, Any] = {}
    exec(code, place)
    if library == "kornia":
        return place["transform"](images.float() / 255) * 255
    if "after_normalisation" in place:  # with a deviation of 0.25
        mean = torch.tensor(MEAN).view(3, 1, 1)
        erased = [place["after_normalisation"]((image / 255 - mean) / 0.25) for image in images]
        return ((torch.stack(erased) * 0.25 + mean) * 255).clamp(0, 255)
    if library == "albumentations":
        place["transform"].set_random_seed(0)
        arrays = [place["transform"](image=image.permute(1, 2, 0).numpy())["image"] for image in images]
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    return torch.stack([place["transform"](image) for image in images])


def features(images: Tensor, before: Tensor) -> dict[str, np.ndarray]:
    """Numbers that tell laws of augmentations apart, one an image."""
    x, y = images.double(), before.double()
    weight = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    return {
        "change": (x - y).abs().mean((1, 2, 3)).round(decimals=0).numpy(),
        "mean": x.mean((1, 2, 3)).round(decimals=0).numpy(),
        "spread": x.std((1, 2, 3)).round(decimals=0).numpy(),
        "tilt": ((x - y) * weight).mean((1, 2, 3)).round(decimals=0).numpy(),
        "detail": x.diff(dim=3).abs().mean((1, 2, 3)).round(decimals=0).numpy(),
        "colour": (x[:, 0] - x[:, 2]).abs().mean((1, 2)).round(decimals=0).numpy(),
    }


def exported(spec: str, library: str) -> str | None:
    try:
        return export(spec, library, SIDE, MEAN)
    except UsageError:
        return None


@pytest.mark.parametrize("library", LIBRARIES)
def test_images_of_the_code_follow_the_same_law(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
    pytest.importorskip(library, reason=f"{library} is not installed")
    images, wrong, tried = smooth(), [], 0
    for spec in [*AUGS, *COMPOSED, "rand-m7-n2-mstd0.5-inc1", "erasing:mode=pixel:p=1"]:
        aug, code = parse(spec, ImageSpec(SIDE, MEAN)), exported(spec, library)
        if code is None or aug.mixes:
            continue
        tried += 1
        here, there = features(aug(images, Keys(0, 1, COUNT)).images, images), by_library(library, code, images)
        for name, values in features(there, images).items():
            pvalue = stats.ks_2samp(here[name], values, method="asymp").pvalue
            # libraries round, or truncate, in other places
            if pvalue < 1e-4 and stats.wasserstein_distance(here[name], values) > 1:
                wrong.append(f"{spec}: {name}, p = {pvalue:.1g}, means {here[name].mean():.2f}, {values.mean():.2f}")
    assert not wrong, "\n".join(wrong)
    assert tried > 15


@pytest.mark.parametrize("library", LIBRARIES)
def test_shares_of_mixed_images_follow_the_same_law(library: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    images, batches = 255 * torch.eye(3)[:, :, None, None].expand(3, 3, SIDE, SIDE), 400
    for spec in MIXING:
        code = exported(spec, library)
        if code is None:
            continue
        place: dict[str, Any] = {}
        exec(code.replace("NUM_CLASSES = 10", "NUM_CLASSES = 4"), place)
        shares = []
        for _ in range(batches):
            given = images[[0, 1, 2, 0]]  # an even number, as timm asks
            mixed = place["mix"](given.clone() / 255, torch.arange(4))[0]
            shares.append(float(mixed[1, 1].mean()))
        per = "batch" if library == "torchvision" else "sample"
        ours = parse(spec)(images.repeat(batches, 1, 1, 1).to(torch.uint8), Keys(0, batches, 3, per=per)).lam
        assert ours is not None
        here, there = ours.view(batches, 3)[:, 1].numpy(), np.array(shares)
        # one may be a partner of its own where partners are a permutation
        here, there = (values[values < 0.9999] for values in (here, there))
        assert stats.ks_2samp(here.round(4), there.round(4), method="asymp").pvalue > 1e-4, spec
        assert len(there) > batches / 2


@each("library", LIBRARIES)
def test_what_a_library_cannot_do_is_said(library: str) -> None:
    for spec in (
        "cutout",
        "cutmixpick",
        "pick(mixup)",
        "gridmask",
        "mask:share=0.3",
        "fmix",
        "cutmix+flip",
        "resizemix",
    ):
        with pytest.raises(UsageError, match=rf"^{spec.split(':')[0][:4]}.* cannot be written for {library}: "):
            export(spec, library)
    with pytest.raises(UsageError, match="unknown library 'tensorflow'"):
        export("flip", "tensorflow")
    with pytest.raises(UsageError, match="unknown augmentation"):
        export("flop", library)
    with pytest.raises(UsageError, match="a number of pixels from 1 up"):
        export("flip", library, 0)


def test_thresholds_beyond_bytes_and_borders_are_written_as_they_are_scored() -> None:
    image = torch.full((3, SIDE, SIDE), 200, dtype=torch.uint8)
    for library, name in (("torchvision", "v2.Identity()"), ("albumentations", "A.NoOp()"), ("kornia", "(p=0)")):
        assert name in export("solarize:threshold=256:p=1", library), library
    assert torch.equal(
        by_library("torchvision", export("solarize:threshold=256:p=1", "torchvision"), image[None])[0], image
    )
    # with its default, 0, torchvision takes the border twice: what is scored is pixels outside that are black
    assert "fill=None" in export("perspective:p=1", "torchvision")
    assert "inc0" not in export("rand-m9-n2", "timm")
    assert "-inc1" in export("rand-m9-n2-inc1", "timm")
