"""What is known to change no image changes none, what is not does; and one augmentation under two names is known."""

from __future__ import annotations

from dataclasses import replace

import torch
from torchvision.transforms import v2

from dametric.augment import AUGS, ImageSpec, Keys, parse, repeated
from dametric.augment.base import Augmentation
from dametric.augment.catalogue import NO_EFFECT, RANGES
from dametric.augment.sameness import effective, same_operations
from tests.augment.test_every import SHAPES, ZERO, noise
from tests.loops import each


def changes(aug: Augmentation) -> bool:
    images = noise(64, 3, 32, 32)
    return not torch.equal(aug(images, Keys(0, 4, 16)).images.float(), images.float())


@each("name", list(AUGS))
def test_an_operation_is_known_to_change_nothing_where_it_does_not(name: str) -> None:
    if ZERO[name] is not None:
        assert effective(parse(ZERO[name])) == ()
    usual = parse(name)
    assert bool(effective(usual)) == changes(usual) == (name != "identity")
    for key, value in NO_EFFECT.get(name, {}).items():
        assert key in RANGES[name]
        others = ":".join(f"{other}={at}" for other, at in NO_EFFECT[name].items() if other != key)
        p = ":p=1" if "p" not in NO_EFFECT[name] else ""
        weak = {"posterize": 7, "solarize": 248, "crop": 1, "rotate": 15, "shear": 10}.get(name, value + 0.3)
        aug = parse(":".join(filter(None, [name, f"{key}={weak}", others])) + p)
        assert effective(aug) == aug.operations
        assert changes(aug), "one parameter alone away from where it changes nothing"


@each("shape", SHAPES)
@each("spec", ["crop+rotate:degrees=0", "blur:sigma=0+crop", "oneof(hue:p=0,noise:std=0)+crop", "crop+cutmix:p=0"])
def test_operations_that_change_nothing_do_not_count_beside_others(spec: str, shape: tuple[int, ...]) -> None:
    images, keys = noise(*shape), Keys(3, 1, shape[0])
    aug = parse(spec, ImageSpec(32))
    assert same_operations(effective(aug), parse("crop").operations)
    assert torch.equal(aug(images, keys).images.float(), parse("crop")(images, keys).images.float())


def test_names_of_one_augmentation_are_known() -> None:
    specs = ["cutmix:alpha=1.0", "cutmix", "pick(cutmix)", "cutmixpick", "cutmix:alpha=2", "cutmix:alpha=1:p=1"]
    assert repeated([parse(spec) for spec in specs]) == {
        "cutmix": "cutmix:alpha=1.0",
        "cutmixpick": "pick(cutmix)",
        "cutmix:alpha=1:p=1": "cutmix:alpha=1.0",
    }
    assert repeated([parse(spec) for spec in ("jitter:hue=0", "flip:p=0", "mixup:alpha=1e-9", "randaugment:m=0")]) == {
        "flip:p=0": "identity"
    }, "half of the images are others under the smallest alpha, and histograms have no magnitude"
    assert repeated([parse("pick(crop:padding=0)")]) == {}, "a pick repeats some images and leaves others out"


def test_functions_of_ones_own_are_the_same_where_they_are_the_same_object(tmp_path, monkeypatch) -> None:
    still, other = v2.Identity(), v2.Identity()
    first, again, second = (
        replace(parse(each), name=name) for name, each in zip("abc", (still, still, other), strict=True)
    )
    assert repeated([first, again, second]) == {"b": "a"}
    (tmp_path / "augs.py").write_text("def same(images):\n    return images\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    typed = [parse("./augs.py:same") for _ in range(2)]
    assert repeated([replace(aug, name=name) for name, aug in zip("ab", typed, strict=True)]) == {"b": "a"}
    beside = parse("./augs.py:same+rotate:degrees=0")
    assert effective(beside) == beside.operations, "who knows what a function sees"
