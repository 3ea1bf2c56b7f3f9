"""Probabilities of operations, one of several, and what nothing changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dametric.augment import AUGS, Keys, parse, versions
from dametric.augment.catalogue import WITHOUT_PROBABILITY
from dametric.errors import UsageError
from tests.loops import each

NEW = list(AUGS)[list(AUGS).index("brightness") :]


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@each("spec", [name for name in AUGS if name not in WITHOUT_PROBABILITY])
def test_p_is_the_share_of_rows_to_which_an_operation_happens(spec: str) -> None:
    images, keys = noise(400, 3, 18, 17), Keys(0, 4, 100)
    always = parse(f"{spec}:p=1")(images, keys)
    some, never = parse(f"{spec}:p=0.3")(images, keys), parse(f"{spec}:p=0")(images, keys)
    assert torch.equal(never.images.float(), images.float())
    assert never.lam is None or (never.lam == 1).all()
    as_always = (some.images.float() == always.images.float()).flatten(1).all(1)
    as_before = (some.images.float() == images.float()).flatten(1).all(1)
    assert (as_always | as_before).all()
    changed = (always.images.float() != images.float()).flatten(1).any(1)
    rate, count = float(as_always[changed].double().mean()), int(changed.sum())
    assert abs(rate - 0.3) < 4.5 * (0.21 / count) ** 0.5, rate
    if some.lam is not None:
        assert always.lam is not None
        assert torch.equal(some.lam[~changed | as_always], always.lam[~changed | as_always])
        assert (some.lam[changed & as_before] == 1).all()


@each("spec", [*NEW, "oneof(mixup,cutout,invert:p=1)"])
def test_one_image_is_a_batch_and_a_row_depends_on_no_other_but_its_partner(spec: str) -> None:
    images, aug = noise(24, 3, 9, 8), parse(spec)
    whole = aug(images, Keys(0, 4, 6))
    assert whole.images.shape == images.shape
    assert whole.images.dtype in (torch.uint8, torch.float32)
    for batch in range(4):
        part = aug(images[6 * batch : 6 * batch + 6], Keys(0, 1, 6, first=batch))
        assert torch.equal(part.images, whole.images[6 * batch : 6 * batch + 6])
        assert part.lam is None or torch.equal(part.lam, whole.lam[6 * batch : 6 * batch + 6])  # type: ignore[index]
    partner = torch.arange(24) if whole.partner is None else whole.partner
    for row in (0, 7, 23):
        others = images.clone()
        others[[r for r in range(24) if r not in (row, int(partner[row]))]] = 0
        assert torch.equal(aug(others, Keys(0, 4, 6)).images[row], whole.images[row])
    alone = aug(images[:1], Keys(0, 1, 1)).images
    assert alone.shape == images[:1].shape
    if not aug.mixes:
        assert torch.equal(alone[0], whole.images[0])
    blend = images.float() + 0.25
    out = aug(blend, Keys(0, 4, 6)).images
    assert out.min() >= 0
    assert out.max() <= 255.25  # an operation that keeps fractions keeps them


def test_one_of_several_is_one_of_them_for_every_row_and_each_as_often() -> None:
    images, keys = noise(3000, 3, 8, 8), Keys(0, 30, 100)
    aug = parse("oneof(invert:p=1,cutmix:alpha=0.5,solarize:threshold=100:p=1+rotate)")
    (draw,) = aug.draw(keys, images.shape)
    out = aug.apply(images, (draw,))
    assert out.lam is not None
    assert out.partner is not None
    counts = torch.bincount(draw["branch"])
    assert len(counts) == 3
    assert ((counts - 1000).abs() < 5 * (3000 * 2 / 9) ** 0.5).all()
    for number, spec in enumerate(("invert:p=1", "cutmix:alpha=0.5", "solarize:threshold=100:p=1+rotate")):
        rows = draw["branch"] == number
        branch = parse(spec)(images, keys.sub("oneof").sub(str(number)))
        assert torch.equal(out.images[rows], branch.images[rows])
        lam = torch.ones(3000, dtype=torch.float64) if branch.lam is None else branch.lam
        partner = torch.arange(3000) if branch.partner is None else branch.partner
        assert torch.equal(out.lam[rows], lam[rows])
        assert torch.equal(out.partner[rows], partner[rows])
    assert aug.mixes
    assert aug.balanced
    assert not parse("oneof(flip,mixup:partner=permutation)").balanced
    assert parse("oneof(mixup,invert)+flip")(images, keys).images.dtype == torch.float32


@each(
    ("spec", "canonical"),
    [
        (
            "oneof(cutmix:alpha=1, oneof(crop + flip,cutout:p=1)) + invert:p=0.5",
            "oneof(cutmix,oneof(crop+flip,cutout))+invert",
        ),
        ("oneof(rrc,flip:p=0.25):p=0.5", "oneof(rrc,flip:p=0.25):p=0.5"),
        ("cutmix:p=0.5:alpha=1", "cutmix:p=0.5"),
        ("erasing:p=1:mode=pixel", "erasing:mode=pixel:p=1.0"),
        ("mask:patch=4+grayscale:p=0.1", "mask+grayscale"),
    ],
)
def test_canonical_specifications_say_the_same(spec: str, canonical: str) -> None:
    assert parse(spec).canonical == canonical
    assert parse(canonical).canonical == canonical
    assert parse(canonical).run == parse(spec).run
    assert versions(canonical) == versions(spec)


@each(
    ("spec", "says"),
    [
        ("oneof(mixup)", "two augmentations or more"),
        ("oneof(mixup,flip", "two augmentations or more"),
        ("oneof(mixup,)", "unknown augmentation ''"),
        ("oneof(mixup,flip)x", "after oneof(...)"),
        ("oneof(mixup,flip):q=3", "unknown parameter of oneof(...)"),
        ("oneof(cutmixpick,flip)", "stands by itself"),
        ("oneof(math:floor,flip)", "stands by itself"),
        ("oneof(mixup,flip)+cutmix", "only one of"),
        ("cutmixpick:p=0.5", "unknown parameter"),
        ("identity:p=0.5", "takes no parameters"),
        ("cutout:p=1.5", "p is from 0 to 1, not 1.5"),
        ("hue:strength=0.6", "from 0 to 0.5"),
        ("jitter:contrast=-1", "jitter: contrast is from 0 to 10"),
        ("posterize:bits=9", "from 1 to 8"),
        ("jpeg:quality=0", "from 1 to 100"),
        ("erasing:mode=noise", "mode of erasing"),
        ("fmix:alpha=0", "fmix: alpha is a positive number"),
        ("mixup-or-cutmix:mixup=0", "mixup-or-cutmix: mixup is a positive number"),
        ("resizemix:partner=other", "partner rule"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(spec: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(spec)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    if "4" not in spec:
        with pytest.raises(UsageError, match="1 or 3 channels"):
            parse("jitter")(noise(2, 4, 8, 8), Keys(0, 1, 2))


def test_rows_that_an_operation_leaves_out_are_rounded_and_their_own_partners() -> None:
    images, keys = noise(64, 3, 9, 8), Keys(0, 4, 16)
    for blended in ("mixup", "cutmix+noise", "cutout+jitter"):  # what is bytes already stays as it is
        before = parse(blended)(images, keys).images
        for later in ("invert", "grayscale", "blur"):
            out = parse(f"{blended}+{later}:p=0")(images, keys).images
            assert torch.equal(out, before.round().to(torch.uint8)), (blended, later)
    some = parse("cutmix:p=0.5")(images, keys)
    assert some.partner is not None
    left_out = some.partner == torch.arange(64)
    assert 10 < int(left_out.sum()) < 54
    assert torch.equal(some.images[left_out], images[left_out])


def test_only_specifications_whose_untouched_rows_were_truncated_have_another_version() -> None:
    raised = ("mixup+blur:p=0.5", "cutout+equalize", "oneof(cutout+invert,flip)", "pick(mixup+grayscale)")
    for spec in (*raised, "mixup+oneof(invert,flip):p=0.5"):
        assert versions(spec) == versions(parse(spec)) == {"untouched rows": 2}, spec
    for spec in ("mixup+blur", "crop+flip+grayscale", "grayscale+mixup", "cutmix", "mixup:p=0.5", "identity"):
        assert versions(spec) == {}, spec
