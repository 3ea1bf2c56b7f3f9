"""The image set itself: statistics, fingerprint, streaming, subsets, and what it refuses."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from dametric.data import ImageSet, imageset
from dametric.errors import UsageError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (37, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_std_equal_numpy_in_float64(channels: int) -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (5000, channels, 7, 9), dtype=np.uint8)  # more than one piece of the count
    made = ImageSet.from_tensors(raw)
    scaled = raw.astype(np.float64) / 255
    assert made.mean == pytest.approx(scaled.mean((0, 2, 3)), rel=1e-12)
    assert made.std == pytest.approx(scaled.std((0, 2, 3)), rel=1e-12)


def test_a_constant_channel_gets_std_one() -> None:
    made = ImageSet.from_tensors(torch.full((4, 1, 3, 3), 51, dtype=torch.uint8))
    assert made.mean == pytest.approx([0.2])
    assert made.std == (1.0,)


def test_properties_and_defaults(images: torch.Tensor) -> None:
    made = ImageSet.from_tensors(images, np.arange(37) % 4)
    assert (len(made), made.num_classes, made.channels, made.image_size, made.lazy) == (37, 4, 3, 6, False)
    assert made.classes == ("0", "1", "2", "3")
    assert made.labels.dtype == torch.int64
    assert (made.name, made.split, made.notes) == ("tensors", "train", ())


def test_a_set_without_labels_has_no_classes(images: torch.Tensor) -> None:
    made = ImageSet.from_tensors(images)
    assert made.classes == ()
    assert made.num_classes == 0
    assert made.labels.tolist() == [0] * 37


def test_fingerprint_is_of_shape_pixels_and_labels(images: torch.Tensor) -> None:
    labels = torch.arange(37)
    plain = b"(37, 3, 6, 5)" + images.numpy().tobytes() + labels.numpy().tobytes()
    made = ImageSet.from_tensors(images, labels, classes=[f"c{i}" for i in range(37)], name="x", mean=(0, 0, 0))
    assert made.fingerprint == hashlib.sha256(plain).hexdigest()
    assert made.fingerprint == ImageSet.from_tensors(images, labels).fingerprint
    assert made.fingerprint != ImageSet.from_tensors(images, labels.flip(0)).fingerprint
    changed = images.clone()
    changed[3, 1, 2, 2] ^= 1
    assert made.fingerprint != ImageSet.from_tensors(changed, labels).fingerprint


def test_stream_gives_the_rows_in_order(images: torch.Tensor) -> None:
    made = ImageSet.from_tensors(images)
    batches = [torch.tensor([5, 5, 0]), torch.tensor([36]), torch.arange(37)]
    for index, got in zip(batches, made.stream(iter(batches), "cpu"), strict=True):
        assert torch.equal(got, images[index])
        assert got.dtype == torch.uint8


def test_subset_takes_rows_in_order_and_keeps_the_statistics(images: torch.Tensor) -> None:
    made = ImageSet.from_tensors(images, torch.arange(37) % 3)
    some = made.subset([4, 0, 9])
    assert torch.equal(some.images, images[[4, 0, 9]])
    assert some.labels.tolist() == [1, 0, 0]
    assert (some.mean, some.std, some.classes) == (made.mean, made.std, made.classes)
    assert some.fingerprint == ImageSet.from_tensors(images[[4, 0, 9]], [1, 0, 0]).fingerprint
    masked = made.subset(made.labels == 2)
    assert masked.labels.unique().tolist() == [2]
    assert made.subset(torch.arange(37)).fingerprint == made.fingerprint


@pytest.mark.parametrize("index", [[], [0, 37], [-1], [0.5], torch.zeros(2, 2, dtype=torch.int64), [True, False]])
def test_subset_refuses_rows_that_are_not_there(images: torch.Tensor, index: object) -> None:
    with pytest.raises(UsageError, match="subset"):
        ImageSet.from_tensors(images).subset(index)  # type: ignore[arg-type]


def test_read_only_and_strided_arrays_are_taken(images: torch.Tensor) -> None:
    frozen = images.numpy().copy()
    frozen.flags.writeable = False
    assert torch.equal(ImageSet.from_tensors(frozen).images, images)
    assert torch.equal(ImageSet.from_tensors(images.numpy()[:, ::-1]).images, images.flip(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.rand(2, 3, 8, 8)}, r"float32; give unnormalised uint8 .* \* 255"),
        ({"images": np.zeros((2, 3, 8, 8))}, "float64"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, r"permute\(0, 3, 1, 2\)"),
        ({"images": np.zeros((2, 8, 8), np.uint8)}, r"\(N, C, H, W\)"),
        ({"images": np.zeros((0, 3, 8, 8), np.uint8)}, "at least one"),
        ({"labels": [0]}, "one label an image"),
        ({"labels": [0.0, 1.0]}, "integers from 0"),
        ({"labels": [-1, 0]}, "down to -1"),
        ({"labels": [0, 2], "classes": ["a", "b"]}, "up to 2 .* 2 class names"),
        ({"labels": None, "classes": ["a"]}, "without labels"),
        ({"mean": (0.5,)}, "mean has 1 values for 3 channels"),
        ({"std": (1, 0, 1)}, "std must be positive"),
    ],
)
def test_bad_input_is_one_line_that_says_what_is_right(change: dict[str, object], message: str) -> None:
    arguments = {"images": np.zeros((2, 3, 8, 8), np.uint8), "labels": [0, 1], **change}
    with pytest.raises(UsageError, match=message) as caught:
        ImageSet.from_tensors(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_set_too_large_for_the_gpu_stays_on_the_host(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ImageSet.from_tensors(images)
    size = images.numel()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * size - 1, 10 * size))
    assert made.to("cuda") is made
    assert made.to("cuda:0") is made
    assert not imageset._fits(images, torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * size, 10 * size))
    assert imageset._fits(images, torch.device("cuda"))
    assert imageset._fits(images, torch.device("cpu"))


@pytest.mark.gpu
def test_on_a_gpu_the_same_rows_come_out(images: torch.Tensor) -> None:
    made = ImageSet.from_tensors(images, torch.arange(37))
    moved = made.to("cuda")
    assert moved.images.is_cuda
    assert moved.labels.is_cuda
    assert moved.fingerprint == made.fingerprint
    batches = [torch.tensor([3, 1]), torch.arange(37)]
    for source in (made, moved):
        for index, got in zip(batches, source.stream(batches, "cuda"), strict=True):
            assert got.is_cuda
            assert torch.equal(got.cpu(), images[index])
    assert moved.subset([1, 2]).fingerprint == made.subset([1, 2]).fingerprint
