"""Laws of all augmentations: the nine of the paper and compositions, whatever the batch and image size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from dametric.augment import AUGS, PAPER, Augmentation, Augmented, ImageSpec, Keys, parse
from dametric.augment.base import box_mask, choose, per_row
from tests.loops import each
from tests.oracles import augment as oracle

COMPOSED = (
    "cutout+mixup",
    "flip+cutmix",
    "cutmix+flip",
    "crop+flip+cutmixpick",
    "autoaugment+cutout",
    "randaugment:n=2,m=9",
    "trivialaugment+cutmix",
    "rrc+flip",
    "flip+flip",
)
NEW = tuple(list(AUGS)[list(AUGS).index("brightness") :])
EVERY = (*PAPER, *COMPOSED, *NEW, "oneof(crop+flip,oneof(mixup,cutmix)):p=0.75")
NINE = [
    "identity",
    "flip",
    "crop+flip",
    "cutout",
    "autoaugment",
    "mixup",
    "cutmix",
    "cutmixpick:by=teacher_entropy",
    "cutmixpick:by=student_entropy",
]
BOX = ("top", "bottom", "left", "right", "partner")


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def build(spec: str, images: Tensor) -> Augmentation:
    return parse(spec, ImageSpec(32, (0.5, 0.4, 0.3)[: images.shape[1]]))


def by_batch(values: Tensor, runs: int, batches: int) -> Tensor:
    """Rows of a pool (run after run, each batch after batch) as (batches, runs * b, ...)."""
    table = values.reshape(runs, batches, -1, *values.shape[1:]).transpose(0, 1)
    return table.reshape(batches, -1, *values.shape[1:])


def test_the_papers_nine_are_all_there() -> None:
    assert list(PAPER) == NINE


@each("per", ["sample", "batch"])
@each("spec", [spec for spec in EVERY if spec not in NEW])  # the rest in test_branches
def test_16_batches_at_once_equal_batch_by_batch(spec: str, per: str) -> None:
    images = noise(16 * 5, 3, 31, 33)
    augmentation = build(spec, images)
    keys = Keys(3, 16, 5, first=7, per=per)
    whole = augmentation(images, keys)
    runs = augmentation.runs
    for size in (1, 5):
        done = 0
        while done < 16:
            n = min(size, 16 - done)
            part = augmentation(images[done * 5 : (done + n) * 5], replace(keys, batches=n, first=7 + done))
            expected = by_batch(whole.images, runs, 16)[done : done + n]
            assert torch.equal(by_batch(part.images, runs, n), expected)
            if whole.partner is not None:
                assert part.partner is not None
                assert torch.equal(
                    by_batch(part.partner, runs, n) + done * 5, by_batch(whole.partner, runs, 16)[done : done + n]
                )
            if whole.lam is not None:
                assert part.lam is not None
                assert torch.equal(by_batch(part.lam, runs, n), by_batch(whole.lam, runs, 16)[done : done + n])
            done += n


@each("spec", EVERY)
@each("shape", [(15, 3, 31, 33), (15, 1, 32, 32), (15, 3, 17, 9)])
def test_odd_batches_and_image_sizes_keep_their_shape(spec: str, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    augmentation = build(spec, images)
    for batch in (1, 3, 5, 15):
        out = augmentation(images, Keys(0, 15 // batch, batch))
        assert isinstance(out, Augmented)
        assert out.images.shape == (15 * augmentation.runs, *shape[1:])
        assert out.images.dtype in (torch.uint8, torch.float32)
        assert out.images.min() >= 0
        assert out.images.max() <= 255


@each("spec", EVERY)
@each("per", ["sample", "batch"])
def test_input_is_never_modified(spec: str, per: str) -> None:
    images = noise(15, 3, 32, 32)
    before = images.clone()
    augmentation = build(spec, images)
    keys = Keys(0, 3, 5, per=per)
    out = augmentation(images, keys)
    assert torch.equal(images, before)
    if augmentation.random:
        out.images.zero_()  # the result is no view of the input either
        assert torch.equal(images, before)
    draws = augmentation.draw(keys, images.shape)
    kept = [{name: value.clone() for name, value in draw.items()} for draw in draws]
    augmentation.apply(images, draws)
    for draw, copy in zip(draws, kept, strict=True):
        assert all(torch.equal(draw[name], copy[name]) for name in copy)


@each("spec", ["identity", "flip", "crop+flip", "autoaugment", "cutmix", "cutmixpick", "rrc"])
def test_uint8_stays_uint8_where_nothing_needs_otherwise(spec: str) -> None:
    images = noise(6, 3, 32, 32)
    assert build(spec, images)(images, Keys(0, 2, 3)).images.dtype == torch.uint8


@each("spec", ["mixup", "cutout", "cutout+mixup", "mixup+flip", "cutout+flip"])
def test_blends_and_mean_fills_are_float32_in_pixel_units(spec: str) -> None:
    images = noise(6, 3, 32, 32)
    assert build(spec, images)(images, Keys(0, 2, 3)).images.dtype == torch.float32


@each("spec", EVERY)
def test_calling_is_drawing_and_applying_and_repeats_exactly(spec: str) -> None:
    images = noise(15, 3, 32, 32)
    augmentation, keys = build(spec, images), Keys(2, 3, 5)
    one, two = augmentation(images, keys), augmentation.apply(images, augmentation.draw(keys, images.shape))
    for a, b in zip(one, two, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


@each("spec", EVERY)
def test_global_generators_are_left_alone(spec: str) -> None:
    images = noise(6, 3, 32, 32)
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()  # noqa: NPY002
    build(spec, images)(images, Keys(0, 2, 3))
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert np.array_equal(numpy_state[1], np.random.get_state()[1])  # noqa: NPY002


@each("spec", [spec for spec in EVERY if spec != "identity"])
def test_another_seed_or_batch_number_gives_other_images(spec: str) -> None:
    images = noise(64, 3, 32, 32)
    augmentation = build(spec, images)
    out = augmentation(images, Keys(0, 2, 32)).images
    assert not torch.equal(out, augmentation(images, Keys(1, 2, 32)).images)
    assert not torch.equal(out, augmentation(images, Keys(0, 2, 32, first=2)).images)


@each("spec", [spec for spec in EVERY if spec != "identity"])
def test_per_batch_shares_parameters_within_a_batch_and_not_across(spec: str) -> None:
    shape = torch.Size((40 * 8, 3, 32, 32))
    augmentation = parse(spec)
    shared = augmentation.draw(Keys(0, 40, 8, per="batch"), shape)
    own = augmentation.draw(Keys(0, 40, 8), shape)
    for draw, other in zip(shared, own, strict=True):
        for name, values in draw.items():
            if name.endswith("partner"):
                continue
            table = values.reshape(-1, 8, *values.shape[1:])
            assert (table == table[:, :1]).all(), name
            assert len({str(row) for row in table[:, 0].tolist()}) > 1, name
            table = other[name].reshape(-1, 8, *values.shape[1:])
            assert (table != table[:, :1]).any(), name


@each("spec", ["mixup", "cutmix", "cutmixpick", "cutout+mixup", "cutmix+flip"])
@each("partner", ["roll", "derangement", "permutation"])
def test_partners_never_leave_their_batch(spec: str, partner: str) -> None:
    images = noise(60, 3, 8, 8)
    name, plus, rest = spec.partition("+")
    mixer = f"{name}:partner={partner}{plus}{rest}" if name != "cutout" else f"cutout+mixup:partner={partner}"
    out = parse(mixer)(images, Keys(0, 12, 5))
    assert out.partner is not None
    rows = torch.arange(60).repeat(len(out.partner) // 60)
    assert torch.equal(out.partner // 5, rows // 5)


def test_operations_of_a_chain_draw_independently() -> None:
    rows = 8192
    draws = parse("crop+flip+cutout+mixup").draw(Keys(0, 128, 64), torch.Size((rows, 3, 32, 32)))
    columns = {
        f"{i}.{name}": v.double().numpy() for i, d in enumerate(draws) for name, v in d.items() if name != "partner"
    }
    assert len(columns) == 6
    table = np.corrcoef(list(columns.values()))
    assert np.abs(table - np.eye(6)).max() < 4.8 / rows**0.5
    for name, values in columns.items():
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4.8 / rows**0.5, name


def test_the_same_operation_twice_in_a_chain_draws_twice() -> None:
    first, second = parse("flip+flip").draw(Keys(0, 128, 64), torch.Size((8192, 3, 4, 4)))
    agree = (first["flip"] == second["flip"]).double().mean().item()
    assert abs(agree - 0.5) < 5 * 0.5 / 8192**0.5


def test_augmentations_share_the_draws_of_shared_operations() -> None:
    shape, keys = torch.Size((320, 3, 32, 32)), Keys(5, 10, 32)

    def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    assert same(parse("crop+flip").draw(keys, shape)[1], parse("flip").draw(keys, shape)[0])
    assert same(parse("crop+flip").draw(keys, shape)[0], parse("crop").draw(keys, shape)[0])
    assert same(parse("cutout+mixup").draw(keys, shape)[0], parse("cutout").draw(keys, shape)[0])
    assert same(parse("cutout+mixup").draw(keys, shape)[1], parse("mixup").draw(keys, shape)[0])
    picks = [parse(f"cutmixpick:by={by}").draw(keys, shape)[0] for by in ("teacher_entropy", "student_entropy")]
    assert same(*picks)


def test_parts_of_the_keys_draw_independently() -> None:
    shape, keys = torch.Size((8192, 3, 4, 4)), Keys(5, 128, 64)
    base, aug = (parse("flip").draw(keys.sub(name), shape)[0]["flip"] for name in ("base", "aug"))
    assert abs((base == aug).double().mean().item() - 0.5) < 5 * 0.5 / 8192**0.5


def test_flip_of_images_happens_at_its_rate_on_4096_rows() -> None:
    images = torch.tensor([0, 1], dtype=torch.uint8).expand(4096, 1, 1, 2).contiguous()
    for p in (0.25, 0.5, 0.75):
        out = parse(f"flip:p={p}")(images, Keys(0, 64, 64)).images[:, 0, 0, 0].double()
        assert abs(out.mean().item() - p) < 5 * (p * (1 - p) / 4096) ** 0.5
        assert abs(np.corrcoef(out[:-1].numpy(), out[1:].numpy())[0, 1]) < 4.5 / 64


@each("shape", [(10, 3, 32, 32), (10, 3, 31, 33), (10, 1, 31, 33)])
@each("per", ["sample", "batch"])
def test_chains_equal_the_loops_one_after_the_other(shape: tuple[int, ...], per: str) -> None:
    images, keys = noise(*shape), Keys(4, 2, 5, per=per)
    before = images.numpy()

    augmentation = build("crop+flip", images)
    crop, flip = augmentation.draw(keys, images.shape)
    expected = oracle.flip(oracle.crop(before, crop["top"].tolist(), crop["left"].tolist(), 4), flip["flip"].tolist())
    assert np.array_equal(augmentation(images, keys).images.numpy(), expected)

    augmentation = build("flip+cutmix", images)
    flip, box = augmentation.draw(keys, images.shape)
    boxes = [box[name].tolist() for name in BOX]
    expected, lam = oracle.cutmix(oracle.flip(before, flip["flip"].tolist()), *boxes)
    out = augmentation(images, keys)
    assert np.array_equal(out.images.numpy(), expected)
    assert out.lam is not None
    assert out.lam.tolist() == lam

    augmentation = build("cutmix+flip", images)
    box, flip = augmentation.draw(keys, images.shape)
    expected, lam = oracle.cutmix(before, *(box[name].tolist() for name in BOX))
    out = augmentation(images, keys)
    assert np.array_equal(out.images.numpy(), oracle.flip(expected, flip["flip"].tolist()))
    assert out.lam is not None
    assert out.lam.tolist() == lam
    assert out.partner is not None
    assert torch.equal(out.partner, box["partner"])

    augmentation = build("cutout+mixup", images)
    hole, mix = augmentation.draw(keys, images.shape)
    fill = [255 * mean for mean in (0.5, 0.4, 0.3)]
    exact = oracle.cutout(before, hole["y"].tolist(), hole["x"].tolist(), 8, fill)
    exact = oracle.mixup(exact, mix["lam"].tolist(), mix["partner"].tolist())
    assert np.abs(augmentation(images, keys).images.double().numpy() - exact).max() < 6e-5


def test_identity_gives_the_images_as_they_are() -> None:
    images = noise(6, 3, 8, 8)
    augmentation = parse("identity")
    out = augmentation(images, Keys(0, 2, 3))
    assert torch.equal(out.images, images)
    assert out.partner is None
    assert out.lam is None
    assert not augmentation.mixes
    assert not augmentation.random
    assert augmentation.runs == 1


def test_properties_say_what_is_mixed_drawn_and_balanced() -> None:
    mixing = {spec: parse(spec).mixes for spec in EVERY}
    assert {spec for spec, mixes in mixing.items() if mixes} == {s for s in EVERY if "mix" in s} - {"augmix"}
    assert all(parse(spec).random for spec in EVERY if spec != "identity")
    assert parse("cutmix").balanced
    assert parse("mixup").balanced
    assert parse("crop+flip").balanced
    assert not parse("cutmix:partner=derangement").balanced
    assert not parse("mixup:partner=permutation").balanced
    assert not parse("cutmixpick").balanced


def test_per_row_broadcasts_over_pixels() -> None:
    assert per_row(torch.arange(3)).shape == (3, 1, 1, 1)


def test_box_mask_equals_the_loop_and_clips_at_the_edges() -> None:
    boxes = torch.tensor([[0, 0, 2, 3], [-2, -1, 1, 2], [3, 4, 9, 9], [2, 2, 2, 5], [-5, -5, 20, 20], [1, 5, 4, 6]])
    mask = box_mask(*boxes.T, 5, 7)
    assert mask.shape == (6, 1, 5, 7)
    assert mask.dtype == torch.bool
    for r, (top, left, bottom, right) in enumerate(boxes.tolist()):
        for y in range(5):
            for x in range(7):
                assert bool(mask[r, 0, y, x]) == (top <= y < bottom and left <= x < right)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("per", ["sample", "batch"])
@pytest.mark.parametrize("spec", EVERY)
def test_cuda_draws_and_makes_what_the_cpu_does(spec: str, per: str) -> None:
    images = noise(512, 3, 32, 32)
    augmentation, keys = build(spec, images), Keys(3, 8, 64, per=per)
    on_cpu = augmentation.draw(keys, images.shape)
    on_gpu = augmentation.draw(keys.on("cuda"), images.shape)
    for a, b in zip(on_cpu, on_gpu, strict=True):
        for name in a:
            if name.endswith(("lam", "ratio")):  # logarithms, cosines and exponentials may differ in the last bits
                assert torch.allclose(a[name], b[name].cpu(), rtol=1e-12, atol=1e-14)
            else:
                assert torch.equal(a[name], b[name].cpu()), name
    mine, theirs = augmentation(images, keys), augmentation(images.cuda(), keys.on("cuda"))
    assert theirs.images.is_cuda
    difference = (mine.images.double() - theirs.images.cpu().double()).abs()
    if "mixup" in spec:
        assert difference.max() < 4e-5
    elif "augment" in spec:
        assert (difference > 1).double().mean() < 0.001
        assert (difference > 0).double().mean() < 0.02
    elif spec in NEW:  # roundings, and pixels halfway between two
        assert (difference > 1).double().mean() < 0.001
    elif "rrc" in spec:
        assert difference.max() <= 1
        assert (difference > 0).double().mean() < 0.001
    else:
        assert difference.max() == 0
    if mine.partner is not None:
        assert theirs.partner is not None
        assert torch.equal(mine.partner, theirs.partner.cpu())


@each("dtype", [torch.uint8, torch.float32])
@each("shape", [(5, 1, 1, 1), (5, 1, 6, 7), (5, 3, 6, 7)])
def test_choose_is_where(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randint(0, 256, (5, 3, 6, 7), generator=generator).to(dtype) for _ in range(2))
    mask = torch.rand(shape, generator=generator) < 0.5
    kept = one.clone(), other.clone(), mask.clone()
    assert torch.equal(choose(mask, one, other), torch.where(mask, one, other))
    assert all(torch.equal(*pair) for pair in zip((one, other, mask), kept, strict=True))
