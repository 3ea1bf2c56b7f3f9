"""Specifications: grammar, defaults, and what is refused with which help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from dametric.augment import AUGS, CRITERIA, PAPER, Augmentation, ImageSpec, Keys, describe, parse
from dametric.augment.chance import RandAugment, TrivialAugment
from dametric.augment.erase import Cutout
from dametric.augment.geometric import Crop, Flip, RandomResizedCrop
from dametric.augment.mix import CutMix, Mixup
from dametric.augment.pick import CutMixPick
from dametric.augment.policy import AutoAugment
from dametric.errors import UsageError
from tests.loops import each


def refusal(spec: object) -> str:
    """The message of the error, which is one line."""
    with pytest.raises(UsageError) as caught:
        parse(spec)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@each(
    ("spec", "operations"),
    [
        ("identity", ()),
        ("flip", (Flip(p=0.5),)),
        ("flip:p=0", (Flip(p=0.0),)),
        ("flip:p=0.25", (Flip(p=0.25),)),
        ("crop:padding=2", (Crop(padding=2),)),
        ("crop+flip", (Crop(padding=4), Flip(p=0.5))),
        ("flip+crop", (Flip(p=0.5), Crop(padding=4))),
        ("rrc", (RandomResizedCrop(),)),
        ("rrc:scale=0.25:ratio=2", (RandomResizedCrop(scale=0.25, ratio=2.0),)),
        ("autoaugment:policy=svhn", (AutoAugment("svhn"),)),
        ("randaugment", (RandAugment(n=2, m=9),)),
        ("randaugment:n=1,m=27", (RandAugment(n=1, m=27),)),
        ("trivialaugment+flip", (TrivialAugment(), Flip(p=0.5))),
        ("mixup", (Mixup(alpha=1.0, partner="roll"),)),
        ("cutmix:alpha=0.5", (CutMix(alpha=0.5, partner="roll"),)),
        ("cutmix:alpha=1e-1", (CutMix(alpha=0.1, partner="roll"),)),
        ("cutmix:alpha=0.5:partner=derangement", (CutMix(alpha=0.5, partner="derangement"),)),
        ("cutmix:alpha=0.5,partner=derangement", (CutMix(alpha=0.5, partner="derangement"),)),
        ("mixup:partner=permutation", (Mixup(alpha=1.0, partner="permutation"),)),
        ("cutmixpick", (CutMixPick(by="teacher_entropy", runs=2, alpha=1.0, partner="roll"),)),
        ("cutmixpick:by=kld:runs=3", (CutMixPick(by="kld", runs=3),)),
        ("cutmixpick:by=kld,runs=3", (CutMixPick(by="kld", runs=3),)),
        ("flip+cutmixpick:runs=4", (Flip(p=0.5), CutMixPick(runs=4))),
        ("flip:p=0.1+crop:padding=1+mixup:alpha=2", (Flip(p=0.1), Crop(padding=1), Mixup(alpha=2.0))),
        ("identity+flip", (Flip(p=0.5),)),
    ],
)
def test_specification_gives_these_operations_under_its_own_name(spec: str, operations: tuple) -> None:
    augmentation = parse(spec)
    assert augmentation.operations == operations
    assert augmentation.name == spec
    assert parse(augmentation) == augmentation


def test_cutout_and_mixup_compose_in_order() -> None:
    cutout, mixup = parse("cutout+mixup").operations
    assert isinstance(cutout, Cutout)
    assert mixup == Mixup()


@each(
    ("size", "padding", "length", "policy"), [(32, 4, 8, "cifar10"), (64, 8, 16, "imagenet"), (224, 28, 56, "imagenet")]
)
def test_defaults_follow_the_image_size(size: int, padding: int, length: int, policy: str) -> None:
    of = ImageSpec(size, (0.5, 0.25, 0.125))
    assert parse("crop", of).operations == (Crop(padding=padding),)
    assert parse("autoaugment", of).operations == (AutoAugment(policy),)
    (cutout,) = parse("cutout", of).operations
    assert isinstance(cutout, Cutout)
    assert cutout.length == length
    assert cutout.fill == pytest.approx((127.5, 63.75, 31.875))
    assert parse("crop:padding=3+cutout:length=5", of).operations == (Crop(padding=3), Cutout(5, cutout.fill))
    assert parse("autoaugment:policy=cifar10", of).operations == (AutoAugment("cifar10"),)


def test_without_image_facts_defaults_are_those_of_32_pixels() -> None:
    assert parse("crop+autoaugment").operations == (Crop(padding=4), AutoAugment("cifar10"))
    assert parse("cutout") == parse("cutout", ImageSpec(32))


def test_every_listed_augmentation_and_the_papers_nine_parse_and_are_described_in_one_line() -> None:
    for name in AUGS:
        assert isinstance(parse(name), Augmentation)
        assert describe(name)
        assert "\n" not in describe(name)
    assert len(PAPER) == 9
    assert [parse(spec).name for spec in PAPER] == list(PAPER)


@each(
    ("typo", "meant"),
    [
        ("cutmx", "cutmix"),
        ("CutMix", "cutmix"),
        ("mixupp", "mixup"),
        ("filp", "flip"),
        ("cutuot", "cutout"),
        ("autoaugmnt", "autoaugment"),
        ("crop+flpi", "flip"),
        ("crp+flip", "crop"),
        ("cutmixpik:by=kld", "cutmixpick"),
        ("cutmix:alhpa=1", "alpha"),
        ("crop:pading=2", "padding"),
        ("cutout:lenght=4", "length"),
        ("mixup:patner=roll", "partner"),
        ("cutmixpick:rnus=3", "runs"),
        ("autoaugment:polcy=svhn", "policy"),
        ("cutmixpick:by=kdl", "kld"),
        ("cutmixpick:by=teacher_entropi", "teacher_entropy"),
        ("cutmixpick:by=disimilarity", "dissimilarity"),
        ("autoaugment:policy=cifra10", "cifar10"),
        ("autoaugment:policy=imagnet", "imagenet"),
        ("mixup:partner=rol", "roll"),
        ("cutmix:partner=derangment", "derangement"),
        ("cutmixpick:partner=permutaton", "permutation"),
    ],
)
def test_typo_names_the_nearest(typo: str, meant: str) -> None:
    message = refusal(typo)
    assert re.search(rf"\b{meant}\b", message.replace(typo, "")), message


@each("spec", ["zzzzzz", "", "+", "flip+", "+flip", "flip++crop"])
def test_what_is_nothing_like_a_name_is_answered_with_the_known_ones(spec: str) -> None:
    message = refusal(spec)
    assert "cutmixpick" in message
    assert "autoaugment" in message


@each("by", list(CRITERIA))
def test_criteria_are_named_when_none_is_near(by: str) -> None:
    assert by in refusal("cutmixpick:by=zzzzzz")


@each(
    ("spec", "says"),
    [
        ("cutmix:alpha=0", "alpha"),
        ("cutmix:alpha=-1", "alpha"),
        ("mixup:alpha=nan", "alpha"),
        ("mixup:alpha=inf", "alpha"),
        ("mixup:alpha=-inf", "alpha"),
        ("mixup:alpha=abc", "abc"),
        ("mixup:alpha=", "alpha"),
        ("cutmixpick:alpha=0", "alpha"),
        ("cutmixpick:alpha=nan", "alpha"),
        ("flip:p=1.5", "1.5"),
        ("flip:p=-0.1", "-0.1"),
        ("flip:p=nan", "p"),
        ("cutout:length=0", "length"),
        ("cutout:length=-3", "length"),
        ("cutout:length=2.5", "2.5"),
        ("cutout:length=abc", "abc"),
        ("crop:padding=-1", "padding"),
        ("crop:padding=x", "padding"),
        ("cutmixpick:runs=1", "runs"),
        ("cutmixpick:runs=0", "runs"),
        ("cutmixpick:runs=2.5", "2.5"),
        ("rrc:scale=0", "scale"),
        ("rrc:scale=1.5", "scale"),
        ("rrc:ratio=0.5", "ratio"),
        ("rrc:scale=nan", "scale"),
        ("cutmix:alpha", "key=value"),
        ("cutmix:", "key=value"),
        ("cutmix:0.5", "key=value"),
        ("identity:p=1", "identity"),
    ],
)
def test_impossible_values_are_refused_in_one_line_that_names_them(spec: str, says: str) -> None:
    assert says in refusal(spec)


@each("spec", ["cutmix+mixup", "mixup+mixup", "cutmix+flip+cutmix", "mixup+cutmixpick"])
def test_two_mixers_are_refused(spec: str) -> None:
    assert "mixup" in refusal(spec)


@each("spec", ["cutmixpick+flip", "cutmixpick:by=kld+crop", "cutmixpick+cutmix", "cutmixpick+cutmixpick"])
def test_anything_after_a_pick_is_refused(spec: str) -> None:
    assert "cutmixpick" in refusal(spec)


@each("spec", ["cutmix:alpha=1:alpha=2", "cutmix:alpha=1,alpha=2"])
def test_a_parameter_given_twice_is_refused(spec: str) -> None:
    assert "alpha" in refusal(spec)


@each("spec", [None, 5, 0.5, ["flip"], {"flip": 1}])
def test_what_is_no_text_and_no_callable_is_refused(spec: object) -> None:
    refusal(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "flip:p=0.5",
        "crop:padding=4",
        "rrc:scale=0.08",
        "cutout:length=8",
        "autoaugment:policy=cifar10",
        "randaugment:n=2:m=9",
        "mixup:alpha=1:partner=roll",
        "cutmix:alpha=1:partner=roll",
        "cutmixpick:by=teacher_entropy:runs=2:alpha=1:partner=roll",
    ],
)
def test_what_is_named_without_its_parameters_never_changes(spec: str) -> None:
    """Runs are found again by these names, for images of 32 x 32 pixels."""
    name = spec.partition(":")[0]
    assert parse(spec).canonical == parse(name).canonical == name


def test_an_error_never_suggests_what_was_typed() -> None:
    for spec in ("paper", "cutmx", "Flip"):
        assert f"did you mean {spec}" not in refusal(spec)


def images() -> torch.Tensor:
    return torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def augs(tmp_path: Path) -> Path:
    """A file of the user's own augmentations."""
    path = tmp_path / "augs.py"
    path.write_text("def negative(images):\n    return 255 - images\n\n\nlevel = 3\n")
    return path


def test_file_path_gives_the_function_in_it(augs: Path) -> None:
    augmentation = parse(f"{augs}:negative")
    assert torch.equal(augmentation(images(), Keys(0, 2, 3)).images, 255 - images())
    assert "negative" in augmentation.name


def test_relative_file_path_gives_the_function_in_it(augs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(augs.parent)
    assert torch.equal(parse("./augs.py:negative")(images(), Keys(0, 2, 3)).images, 255 - images())


def test_file_path_composes_with_built_in_operations(augs: Path) -> None:
    keys = Keys(0, 2, 3)
    out = parse(f"flip+{augs}:negative")(images(), keys).images
    assert torch.equal(out, 255 - parse("flip")(images(), keys).images)
    out = parse(f"{augs}:negative+cutmix")(images(), keys)
    assert torch.equal(out.images, 255 - parse("cutmix")(images(), keys).images)
    assert out.lam is not None


def test_dotted_path_gives_the_function() -> None:
    augmentation = parse("torchvision.transforms.v2.functional:invert")
    assert torch.equal(augmentation(images(), Keys(0, 2, 3)).images, 255 - images())


def test_dotted_path_to_a_class_gives_an_object_of_its_defaults() -> None:
    out = parse("torchvision.transforms.v2:RandomVerticalFlip")(images(), Keys(0, 2, 3)).images
    for new, image in zip(out, images(), strict=True):
        assert torch.equal(new, image) or torch.equal(new, image.flip(1))
    assert not torch.equal(out, images())
    assert "needs arguments" in refusal("torchvision.transforms.v2:RandomRotation")


def test_missing_files_modules_and_functions_are_refused_in_one_line(augs: Path) -> None:
    for spec in ("./not_there.py:fn", f"{augs}:negativ", f"{augs}:level", "no_such_package.augs:snow", "math:snow"):
        refusal(spec)
    assert "negative" in refusal(f"{augs}:negativ")


def test_callable_is_an_augmentation() -> None:
    def darker(batch: torch.Tensor) -> torch.Tensor:
        return batch // 2

    augmentation = parse(darker)
    assert "darker" in augmentation.name
    assert torch.equal(augmentation(images(), Keys(0, 2, 3)).images, images() // 2)
    assert augmentation.random
    assert not augmentation.mixes
    assert augmentation.runs == 1


@pytest.mark.parametrize("name", ["my+augs.py", "a,b.py", "a:b.py", "v1:x=2/a+b,c.py", "with space + plus.py"])
def test_a_path_that_begins_with_a_folder_may_hold_any_character(
    name: str, augs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(augs.parent)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    augs.rename(name)
    negative = 255 - images()
    keys = Keys(0, 2, 3)
    for path in (f"./{name}", f"{augs.parent}/{name}"):
        alone = parse(f"{path}:negative")
        assert alone.name == f"{path}:negative"
        assert len(alone.operations) == 1
        assert torch.equal(alone(images(), keys).images, negative)
        twice = parse(f"flip+{path}:negative + {path}:negative+cutmix:alpha=0.5")
        assert len(twice.operations) == 4
        assert torch.equal(twice(images(), keys).images, parse("flip+cutmix:alpha=0.5")(images(), keys).images)
    assert "negative" in refusal(f"./{name}:negativ")
