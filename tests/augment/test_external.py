"""The user's own callables: image by image, seeded by name, and nothing else disturbed."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from dametric.augment import Augmentation, Keys, parse
from dametric.errors import UsageError
from tests.loops import each


def noise(rows: int = 12, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (rows, channels, 9, 8), generator=generator, dtype=torch.uint8)


def three_generators(images: Tensor) -> Tensor:
    """A level from each global generator."""
    out = torch.empty_like(images)
    out[:, 0], out[:, 1] = torch.randint(0, 256, ()), np.random.randint(256)  # noqa: NPY002
    out[:, 2] = random.randrange(256)
    return out


def test_function_is_called_image_by_image() -> None:
    shapes = []

    def spy(images: Tensor) -> Tensor:
        shapes.append((tuple(images.shape), images.dtype))
        return images

    out = parse(spy)(noise(), Keys(0, 3, 4))
    assert shapes == [((1, 3, 9, 8), torch.uint8)] * 12
    assert torch.equal(out.images, noise())
    assert out.partner is None
    assert out.lam is None


def test_function_is_called_batch_by_batch_where_parameters_are_shared() -> None:
    sizes = []

    def spy(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return images.flip(0)

    out = parse(spy)(noise(), Keys(0, 3, 4, per="batch")).images
    assert sizes == [4, 4, 4]
    assert torch.equal(out, noise().reshape(3, 4, 3, 9, 8).flip(1).reshape(12, 3, 9, 8))


@each("per", ["sample", "batch"])
def test_all_three_generators_are_seeded_by_the_keys(per: str) -> None:
    augmentation = parse(three_generators)
    keys = Keys(3, 3, 4, per=per)
    one = augmentation(noise(), keys).images
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    random.seed(99)
    assert torch.equal(augmentation(noise(), keys).images, one)
    assert not torch.equal(augmentation(noise(), Keys(4, 3, 4, per=per)).images, one)
    assert not torch.equal(augmentation(noise(), Keys(3, 3, 4, first=3, per=per)).images, one)
    levels = one[:, :, 0, 0]
    for generator in range(3):
        distinct = len(set(levels[:, generator].tolist()))
        assert distinct > 8 if per == "sample" else distinct == 3


@each("per", ["sample", "batch"])
def test_global_generators_are_left_as_they_were(per: str) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    parse(three_generators)(noise(), Keys(0, 3, 4, per=per))
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == expected  # noqa: NPY002


def test_global_generators_are_given_back_after_a_failure() -> None:
    def fails(images: Tensor) -> Tensor:
        torch.rand(5)
        np.random.rand(5)  # noqa: NPY002
        random.random()
        raise RuntimeError("broken")

    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    with pytest.raises(Exception, match="broken"):
        parse(fails)(noise(), Keys(0, 3, 4))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


@each("per", ["sample", "batch"])
def test_chunks_of_batches_give_the_same_images(per: str) -> None:
    augmentation = parse(three_generators)
    whole = augmentation(noise(), Keys(0, 6, 2, first=4, per=per)).images
    parts = [augmentation(noise()[2 * g : 2 * g + 2], Keys(0, 1, 2, first=4 + g, per=per)).images for g in range(6)]
    assert torch.equal(torch.cat(parts), whole)


def test_torchvision_transform_works_image_by_image() -> None:
    transform = v2.Compose([v2.RandomHorizontalFlip(0.5), v2.RandomCrop(8, padding=2, pad_if_needed=True)])
    images = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(64, 3, 8, 8).contiguous()
    before = images.clone()
    augmentation = parse(transform)
    out = augmentation(images, Keys(0, 8, 8)).images
    assert out.shape == images.shape
    assert out.dtype == torch.uint8
    assert torch.equal(images, before)
    assert torch.equal(augmentation(images, Keys(0, 8, 8)).images, out)
    assert len({str(image.tolist()) for image in out}) > 30  # own parameters for every image


def test_torchvision_flip_happens_at_its_rate() -> None:
    images = torch.tensor([0, 1], dtype=torch.uint8).expand(4096, 1, 1, 2).contiguous()
    flipped = parse(v2.RandomHorizontalFlip(0.3))(images, Keys(0, 64, 64)).images[:, 0, 0, 0].double().numpy()
    assert abs(flipped.mean() - 0.3) < 5 * (0.3 * 0.7 / 4096) ** 0.5
    assert abs(np.corrcoef(flipped[:-1], flipped[1:])[0, 1]) < 4.5 / 64


@each("before", ["mixup", "cutout"])
def test_function_is_given_uint8_images_even_after_an_operation_that_blends(before: str) -> None:
    def spy(images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        return images

    blend, own = parse(before).operations[0], parse(spy).operations[0]
    out = Augmentation("blend, then the function", (blend, own))(noise(), Keys(0, 3, 4)).images
    exact = parse(before)(noise(), Keys(0, 3, 4)).images
    assert (out.float() - exact).abs().max() < 1


def test_float_results_in_pixel_units_stay_float() -> None:
    out = parse(lambda images: images.float() * 0.5)(noise(), Keys(0, 3, 4)).images
    assert out.dtype == torch.float32
    assert torch.equal(out, noise().float() * 0.5)


def test_function_that_writes_into_its_input_does_not_change_the_callers_images() -> None:
    def blacken(images: Tensor) -> Tensor:
        return images.zero_()

    for per in ("sample", "batch"):
        images = noise()
        out = parse(blacken)(images, Keys(0, 3, 4, per=per)).images
        assert torch.equal(out, torch.zeros_like(out))
        assert torch.equal(images, noise())


@each(
    "returns",
    [
        lambda images: images[:, :, :4],
        lambda images: images[0],
        lambda images: images[:, :1],
        lambda images: images.repeat(2, 1, 1, 1),
        lambda images: None,
        lambda images: images.tolist(),
        lambda images: (images, None),
    ],
)
@each("per", ["sample", "batch"])
def test_what_is_no_tensor_of_the_same_shape_is_refused_in_one_line(returns: object, per: str) -> None:
    augmentation = parse(returns)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        augmentation(noise(), Keys(0, 3, 4, per=per))
    assert "\n" not in str(caught.value)
    assert "lambda" in str(caught.value)


@each("dtype", [torch.bool, torch.complex64])
def test_what_is_neither_uint8_nor_floating_point_is_refused_in_one_line(dtype: torch.dtype) -> None:
    with pytest.raises(UsageError) as caught:
        parse(lambda images: images.to(dtype))(noise(), Keys(0, 3, 4))
    assert "\n" not in str(caught.value)


def test_values_from_0_to_1_are_refused_where_nobody_has_looked_for_units() -> None:
    keys = Keys(0, 3, 4)
    with pytest.raises(UsageError, match="expected pixel values from 0 to 255, got them from 0 to 1"):
        parse(lambda images: images.float() / 255)(noise(), keys)
    for black in (lambda images: 0.0 * images, lambda images: images.float() / 127):
        assert parse(black)(noise(), keys).images.shape == noise().shape


def test_images_that_either_of_two_functions_breaks_come_out_as_nan(tmp_path: Path) -> None:
    file = tmp_path / "augs.py"
    file.write_text(
        "def no_dark(batch):\n    return batch.float() * (float('nan') if batch.max() < 50 else 1)\n"
        "def no_light(batch):\n    return batch.float() + (float('inf') if batch.min() > 200 else 0)\n"
    )
    levels = torch.tensor([10, 100, 220, 150], dtype=torch.uint8)
    images = levels[:, None, None, None].expand(4, 3, 9, 8).contiguous()
    out = parse(f"{file}:no_dark+{file}:no_light")(images, Keys(0, 1, 4)).images
    assert out.isnan().flatten(1).all(1).tolist() == [True, False, True, False]
    assert torch.equal(out[1::2], images[1::2].float())


def test_two_functions_draw_independently_and_one_function_repeats() -> None:
    def first(images: Tensor) -> Tensor:
        return three_generators(images)

    def second(images: Tensor) -> Tensor:
        return three_generators(images)

    keys = Keys(0, 3, 4)
    assert torch.equal(parse(first)(noise(), keys).images, parse(first)(noise(), keys).images)
    assert not torch.equal(parse(first)(noise(), keys).images, parse(second)(noise(), keys).images)


def test_a_failure_names_the_line_of_the_users_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "augs.py"
    file.write_text(
        "import torch\n\n\ndef helper(images):\n    return torch.stack([])  # fails inside of torch\n\n\n"
        "def snow(images):\n    return helper(images)\n\n\ndef direct(images):\n    return images / images.nothing\n"
    )
    images = noise(4)
    with pytest.raises(UsageError, match=rf"snow failed: RuntimeError: .* \({re.escape(str(file))}:5\)$"):
        parse(f"{file}:snow")(images, Keys(0, 1, 4))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"augs.py:direct failed: AttributeError: .* \(augs\.py:13\)$"):
        parse("./augs.py:direct")(images, Keys(0, 1, 4))
    with pytest.raises(UsageError, match=r"torch:bmm failed: TypeError: (?!.*\.py:).*$"):  # no line of the user's own
        parse("torch:bmm")(images, Keys(0, 1, 4))
