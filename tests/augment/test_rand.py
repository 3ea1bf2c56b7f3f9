"""timm's RandAugment: Pillow's pixels for the same draws, and the law that its strings describe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats
from torch import Tensor

from dametric.augment import ImageSpec, Keys, parse
from dametric.augment.rand import NAMES, WARPS, Rand
from dametric.errors import UsageError
from dametric.stats import family
from tests.loops import each

FILL, ROWS = (124, 116, 104), 8192
MEAN = tuple(value / 255 for value in FILL)
AFFINE = {
    "ShearX": lambda s, w, h: (1, s, 0, 0, 1, 0),
    "ShearY": lambda s, w, h: (1, 0, 0, s, 1, 0),
    "TranslateX": lambda s, w, h: (1, 0, s * w, 0, 1, 0),
    "TranslateY": lambda s, w, h: (1, 0, 0, 0, 1, s * h),
}


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def by_pillow(picture: Image.Image, name: str, strength: float, bicubic: bool) -> Image.Image:
    """One operation, as timm calls Pillow."""
    how = {"resample": Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR, "fillcolor": FILL}
    if name in AFFINE:
        numbers = AFFINE[name](strength, *picture.size)
        return picture.transform(picture.size, Image.Transform.AFFINE, numbers, **how)  # type: ignore[arg-type]
    brighter = [min(255, i + int(strength)) if i < 128 else i for i in range(256)]
    calls: dict[str, Callable[[], Image.Image]] = {
        "AutoContrast": lambda: ImageOps.autocontrast(picture),
        "Equalize": lambda: ImageOps.equalize(picture),
        "Invert": lambda: ImageOps.invert(picture),
        "Rotate": lambda: picture.rotate(strength, **how),  # type: ignore[arg-type]
        "Posterize": lambda: ImageOps.posterize(picture, int(strength)) if strength else picture.point([0] * 768),
        "Solarize": lambda: ImageOps.solarize(picture, int(strength)),
        "SolarizeAdd": lambda: picture.point(brighter * 3),
        "Color": lambda: ImageEnhance.Color(picture).enhance(strength),
        "Contrast": lambda: ImageEnhance.Contrast(picture).enhance(strength),
        "Brightness": lambda: ImageEnhance.Brightness(picture).enhance(strength),
        "Sharpness": lambda: ImageEnhance.Sharpness(picture).enhance(strength),
    }
    return calls[name]()


@each("spec", ["rand-m9-n2-mstd0.5", "rand-m9-n3-mstd0.5-inc1-p1", "rand-m14-n4-mstd101-mmax20-p0.9"])
@each("shape", [(300, 3, 32, 32), (150, 3, 31, 45), (20, 3, 2, 3)])
def test_pixels_are_pillows_for_the_same_draws(spec: str, shape: tuple[int, ...]) -> None:
    images, aug = noise(*shape), parse(spec, ImageSpec(32, MEAN))
    images[::2] = images[::2] // 3 + 40  # of little contrast
    (draw,) = aug.draw(Keys(0, 1, shape[0]), images.shape)
    out = aug.apply(images, (draw,)).images
    names = [*NAMES, *WARPS]
    for row, (numbers, strengths) in enumerate(zip(draw["operation"].tolist(), draw["strength"].tolist(), strict=True)):
        picture = Image.fromarray(images[row].permute(1, 2, 0).numpy())
        for number, strength in zip(numbers, strengths, strict=True):
            if number >= 0:
                picture = by_pillow(picture, names[number], strength, number >= len(NAMES))
        expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        assert torch.equal(out[row], expected), (row, [names[n] for n in numbers if n >= 0])


def test_operations_of_one_channel_stay_of_one_channel() -> None:
    images = noise(64, 1, 9, 11)
    out = parse("rand-m9-n3-p1", ImageSpec(11, (0.25,)))(images, Keys(0, 1, 64)).images
    assert out.shape == images.shape
    with pytest.raises(UsageError, match="rand needs images of 1 or 3 channels"):
        parse("rand")(noise(2, 2, 8, 8), Keys(0, 1, 2))


def test_rates_and_magnitudes_follow_the_string() -> None:
    shape = torch.Size((ROWS, 3, 32, 32))
    draw = Rand(m=6, n=2, mstd=1.5, prob=0.7, mmax=8).draw(Keys(0, 64, 128), shape)
    operation, strength = draw["operation"], draw["strength"]
    happens = operation >= 0
    assert ((happens.double().mean(0) - 0.7).abs() < 4.5 * (0.21 / ROWS) ** 0.5).all()
    assert abs(np.corrcoef(happens.double().T.numpy())[0, 1]) < 4.5 / ROWS**0.5
    for stage in (0, 1):
        counts = torch.bincount(operation[happens[:, stage], stage], minlength=20)
        again = torch.tensor([NAMES.index(name) for name in WARPS])
        assert stats.chisquare(counts[15:].numpy()).pvalue > 1e-4
        assert stats.chisquare(counts[again].numpy()).pvalue > 1e-4
        assert stats.chisquare(counts[:15].index_add(0, again, counts[15:]).numpy()).pvalue > 1e-4
    drawn = strength[operation == NAMES.index("ShearX")]
    normal = np.clip(stats.norm(6, 1.5).rvs(20000, random_state=0), 0, 8) / 10 * 0.3
    assert stats.ks_2samp(drawn.abs().numpy(), normal).pvalue > 1e-4
    assert abs(float((drawn > 0).double().mean()) - 0.5) < 2.5 / len(drawn) ** 0.5
    uniform = Rand(m=6, n=1, mstd=200, prob=1).draw(Keys(1, 64, 128), shape)
    drawn = uniform["strength"][uniform["operation"] == NAMES.index("Brightness")]
    assert stats.kstest(drawn.numpy(), stats.uniform(0.1, 0.6 * 1.8).cdf).pvalue > 1e-4
    fixed = Rand(m=9, n=1, prob=1, inc=True).draw(Keys(1, 64, 128), shape)
    for name, values in {"Posterize": {1}, "Solarize": {26}, "SolarizeAdd": {99}, "Color": {0.19, 1.81}}.items():
        drawn = fixed["strength"][fixed["operation"] == NAMES.index(name)]
        assert {round(value, 9) for value in drawn.tolist()} == values


def test_all_ways_to_write_a_string_are_one() -> None:
    for spec, canonical in {
        "rand-m9-n2-mstd0.5": "rand:m=9:mstd=0.5",
        "timm:rand-m9-mstd0.5-inc1": "rand:m=9:mstd=0.5:inc=True",
        "rand:m=9,n=3,mstd=0.5,prob=0.7": "rand:m=9:n=3:mstd=0.5:prob=0.7",
        "crop+timm:rand+flip": "crop+rand+flip",
        "rand-m7-p0.4-mmax15:p=0.3": "rand:m=7:prob=0.4:mmax=15:p=0.3",
        "oneof(rand-m5,cutmix)": "oneof(rand:m=5,cutmix)",
    }.items():
        assert parse(spec).canonical == canonical
        assert parse(canonical).canonical == canonical
        assert family(spec) == family(canonical)
    assert family("rand-m9-n2") == "policy"


@each(
    ("spec", "message"),
    [
        ("rand-tweights", "is m, n, p, mstd, mmax or inc and a number.*not 'tweights'"),
        ("rand-", "not ''"),
        ("rand-m9-m8", "m is given twice"),
        ("rand-m9.5", "rand:m is a whole number"),
        ("rand-n0", "rand: n is from 1 to 100"),
        ("rand:mstd=-1", "mstd is a standard deviation from 0 up"),
        ("rand-inc2", "rand:inc is true or false"),
        ("rand-p1.5", "rand: prob is from 0 to 1"),
    ],
)
def test_strings_that_are_none_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(spec)
