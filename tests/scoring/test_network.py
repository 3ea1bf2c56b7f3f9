"""Pixels in, logits out, in chunks that fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dametric import UsageError
from dametric.models import inference_copy
from dametric.models.network import Network

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


class Flat(nn.Module):
    """Every normalised pixel is a logit."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def network(module: nn.Module, chunk: int = 8, dtype: torch.dtype = torch.float32) -> Network:
    return Network(module, mean=MEAN, std=STD, chunk=chunk, dtype=dtype, device=torch.device("cpu"))


def pixels(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_every_byte_is_normalised_to_six_digits() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    exact = torch.stack([(images[0, c].double() / 255 - MEAN[c]) / STD[c] for c in range(3)])
    found = network(Flat())(images)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.view(3, 16, 16), exact, rtol=0, atol=1e-6)


def test_float_images_are_in_pixel_units_too() -> None:
    images = pixels(5, 3, 4, 4)
    assert torch.equal(network(Flat())(images), network(Flat())(images.float()))
    between = network(Flat())(torch.full((1, 3, 1, 1), 127.5))
    expected = torch.tensor([[(0.5 - m) / s for m, s in zip(MEAN, STD, strict=True)]], dtype=torch.float64)
    torch.testing.assert_close(between, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 16, 33])
def test_rows_are_cut_into_chunks_and_come_back_in_order(rows: int) -> None:
    sizes: list[int] = []

    class Noting(Flat):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            return super().forward(images)

    images = pixels(rows, 3, 4, 4)
    found = network(Noting())(images)
    assert sizes == [8] * (rows // 8) + ([rows % 8] if rows % 8 else [])
    assert torch.equal(found, network(Flat(), chunk=1000)(images))


def test_the_network_sees_its_own_dtype_and_channels_last() -> None:
    seen = []

    class Noting(Flat):
        def forward(self, images: Tensor) -> Tensor:
            seen.append((images.dtype, images.is_contiguous(memory_format=torch.channels_last), images.requires_grad))
            return super().forward(images)

    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        network(Noting(), dtype=dtype)(pixels(2, 3, 4, 4))
    assert seen == [(dtype, True, False) for dtype in (torch.float32, torch.float64, torch.bfloat16)]


def test_an_exhausted_device_halves_the_chunk_for_good() -> None:
    sizes: list[int] = []

    class Small(Flat):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            if len(images) > 5:
                raise torch.cuda.OutOfMemoryError("out of memory")
            return super().forward(images)

    small = network(Small(), chunk=16)
    images = pixels(20, 3, 4, 4)
    assert torch.equal(small(images), network(Flat(), chunk=100)(images))
    assert small.chunk == 4
    assert sizes == [16, 8, 4, 4, 4, 4, 4]
    sizes.clear()
    small(images)
    assert sizes == [4] * 5


def test_other_errors_are_passed_on() -> None:
    class Broken(Flat):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        network(Broken())(pixels(2, 3, 4, 4))


@pytest.mark.parametrize("answer", [torch.zeros(2), torch.zeros(2, 3, 4), None, (torch.zeros(2, 3),)])
def test_what_is_not_one_row_of_logits_an_image_is_refused(answer) -> None:
    class Odd(nn.Module):
        def forward(self, images: Tensor):
            return answer

    with pytest.raises(UsageError, match="must return logits of shape"):
        network(Odd())(pixels(2, 3, 4, 4))


def test_a_prepared_network_gives_what_the_module_gives(teacher, images, data) -> None:
    prepared = Network(
        inference_copy(teacher),
        mean=data.mean,
        std=data.std,
        chunk=64,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (data.mean, data.std))
    with torch.no_grad():
        expected = teacher((images[:100] / 255 - mean) / std).double()
    torch.testing.assert_close(prepared(images[:100]), expected, rtol=1e-4, atol=1e-4)
