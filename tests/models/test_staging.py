"""Batches that are normalised in the same memory again and again."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from dametric.models.network import Network
from dametric.models.staging import Staging
from tests.loops import each

MEAN, STD = torch.rand(1, 3, 1, 1) * 255, torch.rand(1, 3, 1, 1) * 90 + 1
SHAPES = [(64, 3, 96, 96), (5, 3, 700, 700), (3, 3, 1, 1), (7, 3, 32, 32), (2, 1, 8, 8), (64, 3, 96, 96)]


def normalise(images: Tensor) -> Tensor:
    return (images.float() - MEAN[:, : images.shape[1]]) / STD[:, : images.shape[1]]


@each("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_bits_and_strides_are_those_of_one_expression_whatever_was_made_before(dtype: torch.dtype) -> None:
    staging = Staging(dtype)
    for shape in SHAPES:
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        plain = normalise(images).to(dtype).contiguous(memory_format=torch.channels_last)
        staged = staging(images, normalise)
        assert torch.equal(staged, plain)
        if shape[2] > 1:
            assert staged.stride() == plain.stride()


def test_logits_do_not_change_when_the_memory_is_used_again() -> None:
    """Of a network that returns its images themselves."""
    of = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "dtype": torch.float64, "device": torch.device("cpu")}
    images = torch.randint(0, 256, (40, 3, 1, 1), dtype=torch.uint8)
    network = Network(nn.Flatten(), chunk=8, **of)  # type: ignore[arg-type]
    first = network(images)
    kept = first.clone()
    network(255 - images)
    assert torch.equal(first, kept)
    assert torch.equal(first, Network(nn.Flatten(), chunk=40, **of)(images))  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted as Linux counts them")
def test_a_large_batch_takes_no_memory_anew() -> None:
    import resource

    images, staging = torch.randint(0, 256, (64, 3, 224, 224), dtype=torch.uint8), Staging(torch.float32)
    pages = images.numel() * 4 // resource.getpagesize()
    for _ in range(2):
        staging(images, normalise)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    staging(images, normalise)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < pages / 4
