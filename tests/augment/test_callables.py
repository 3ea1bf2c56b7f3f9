"""Parameters of the user's own functions and classes, and bounds of those that are built in."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dametric.augment import Augmentation, ImageSpec, Keys, parse
from dametric.augment.geometric import Crop
from dametric.errors import UsageError

AUGS = """
import torch
print("imported")


def snow(images, p, level=255.0, kind="fresh"):
    assert kind in ("fresh", "old-snow")
    return (images.float() * (1 - p) + level * p).to(torch.uint8)


def plain(images):
    return images


class Shift:
    def __init__(self, by=1, axes=(2, 3)):
        if by == 0:
            raise SystemExit("nothing to shift")
        self.by, self.axes = by, axes

    def __call__(self, images):
        return images.roll([self.by] * len(self.axes), list(self.axes))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "augs.py").write_text(AUGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def refusal(spec: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(spec)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.usefixtures("here")
def test_parameters_reach_the_function_and_are_part_of_the_name(images: Tensor) -> None:
    keys = Keys(0, 2, 3)
    for spec, p, level in (
        ("./augs.py:snow:p=0.5", 0.5, 255),
        ("./augs.py:snow:p=0.25:level=10", 0.25, 10),
        ("./augs.py:snow:level=1e2,p=.75:kind=old-snow", 0.75, 100),
    ):
        aug = parse(spec)
        assert aug.name == spec
        wanted = (images.float() * (1 - p) + level * p).to(torch.uint8)
        assert torch.equal(aug(images, keys).images, wanted)
    same = ("./augs.py:snow:p=0.5:level=10", "./augs.py:snow:level=10,p=.5", "./augs.py:snow:p=5e-1: level = 10")
    assert len({parse(spec).canonical for spec in same}) == 1
    assert len({parse(spec).operations[0].stream for spec in same}) == 1
    assert parse("./augs.py:snow").canonical == "./augs.py:snow"
    assert parse("./augs.py:snow:p=0.5").canonical != parse("./augs.py:snow:p=0.6").canonical
    both = parse("flip+./augs.py:snow:p=0.5+cutmix:alpha=0.5")
    assert [type(operation).__name__ for operation in both.operations] == ["Flip", "External", "CutMix"]
    assert both.canonical == "flip+./augs.py:snow:p=0.5+cutmix:alpha=0.5"


@pytest.mark.usefixtures("here")
def test_parameters_make_an_object_of_a_class(images: Tensor) -> None:
    keys = Keys(0, 2, 3)
    wanted = images.roll([3, 3], [2, 3])
    assert torch.equal(parse("./augs.py:Shift:by=3")(images, keys).images, wanted)
    assert torch.equal(parse("./augs.py:Shift:by=3,axes=[3]")(images, keys).images, images.roll(3, 3))
    assert torch.equal(parse("./augs.py:Shift:axes=(3,):by=3")(images, keys).images, images.roll(3, 3))
    jitter = parse("torchvision.transforms.v2:ColorJitter:brightness=(2,2)")
    assert (jitter(images, keys).images.int() - (2 * images.int()).clamp(max=255)).abs().max() <= 1
    assert torch.equal(parse("torchvision.transforms.v2:ColorJitter")(images, keys).images, images)
    rotated = parse("torchvision.transforms.v2:RandomRotation:degrees=(180,180)")(images, keys).images
    assert torch.equal(rotated, images.flip(-1, -2))


@pytest.mark.usefixtures("here")
def test_parameters_that_cannot_be_are_refused_with_the_way_out() -> None:
    for spec, says in {
        "./augs.py:snow:q=1": "parameter of ./augs.py:snow 'q'",
        "./augs.py:snow:images=1": "parameter",
        "./augs.py:plain:p=1": "takes no parameters",
        "./augs.py:snow:p=1:p=2": "p is given twice",
        "./augs.py:snow:p=": "key=value",
        "./augs.py:snow:p=1,2": "key=value",
        "./augs.py:snow:**p": "",
        "./augs.py:Shift:bye=2": "did you mean by?",
        "./augs.py:Shift:by=0": "SystemExit: nothing to shift",
        "torchvision.transforms.v2:ColorJitter:brightnes=1": "brightness",
        "torchvision.transforms.v2:RandomRotation": "needs arguments",
        "torchvision.transforms.v2:RandomRotation:degrees=-3": "cannot be made",
        f"./augs.py:snow:p={'9' * 5000}": "1000 at most",
        f"./augs.py:snow:p={'(' * 400}1{')' * 400}": "key=value",
        "./augs.py:snow:p=__import__('os').getcwd()": "",
    }.items():
        if "getcwd" in spec:  # it is read, not run: a word like any other
            assert parse(spec).operations[0].function.keywords == {"p": "__import__('os').getcwd()"}  # type: ignore[attr-defined]
        else:
            assert says in refusal(spec), spec


@pytest.mark.usefixtures("here")
def test_what_a_file_prints_when_it_is_imported_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loud.py").write_text("print('imported')\n\n\ndef fn(images):\n    return images\n")
    parse("./loud.py:fn")
    out, err = capsys.readouterr()
    assert out == ""
    assert "imported" in err


def test_several_augmentations_in_one_word_are_told_apart() -> None:
    assert "augs='cutmix' augs='mixup'" in refusal("cutmix,mixup")
    assert "augs='cutmix:alpha=2' augs='paper'" in refusal("cutmix:alpha=2, paper")


def test_parameters_have_bounds_and_refusals_are_short_and_quick() -> None:
    digits = "9" * 5000
    start = time.perf_counter()
    for spec, says in {
        "randaugment:n=999999999": "at most 100",
        "cutmixpick:runs=999999999": "at most 100",
        "cutout:length=999999999": "at most 1000000",
        "crop:padding=999999999": "at most 1000000",
        f"randaugment:n={digits}": "fewer than 5000 digits",
        f"randaugment:n={digits[:4000]}": "at most 100",
        f"cutout:length={digits[:4000]}": "at most 1000000",
        f"cutmix:alpha={digits}": "finite",
        f"randaugment:m={digits[:4000]}": "from 0 to 30",
        digits: "unknown augmentation",
    }.items():
        assert says in refusal(spec), spec
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("padding", [0, 3, 8, 9, 40, 1_000_000])
def test_a_crop_of_any_padding_is_a_window_on_black_and_takes_little_memory(images: Tensor, padding: int) -> None:
    crop = Crop(padding)
    keys = Keys(0, 2, 3)
    draw = crop.draw(keys, images.shape)
    draw = {
        name: torch.where(torch.arange(6) % 2 == 0, values, padding - 2 * torch.arange(6))
        for name, values in draw.items()
    }
    draw = {name: values.clamp(0, 2 * padding) for name, values in draw.items()}
    wanted = torch.zeros_like(images)
    for row in range(6):
        top, left = (int(draw[name][row]) - padding for name in ("top", "left"))
        for y in range(8):
            for x in range(8):
                if 0 <= y + top < 8 and 0 <= x + left < 8:
                    wanted[row, :, y, x] = images[row, :, y + top, x + left]
    assert torch.equal(crop.apply(images, draw).images, wanted)


def test_defaults_of_large_images_are_within_the_bounds() -> None:
    of = ImageSpec(4096)
    for spec in ("crop+flip", "cutout", "rrc"):
        assert isinstance(parse(spec, of), Augmentation)
