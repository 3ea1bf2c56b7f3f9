"""The policies' static form: the pixels of the grouped form to the bit, by as many kernels whatever is drawn."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dametric.augment import Keys
from dametric.augment.augmix import _KERNELS as BILINEAR
from dametric.augment.base import Draw, Operation
from dametric.augment.chance import RandAugment, TrivialAugment
from dametric.augment.policy import OPERATIONS, AutoAugment, grouped
from dametric.augment.static import NAMES, applied
from tests.loops import each

SHAPES = [(600, 3, 32, 32), (199, 3, 31, 33), (300, 1, 28, 28), (90, 3, 2, 7), (60, 1, 1, 1), (8, 3, 160, 200)]
EVERY: list[Operation] = [
    *(AutoAugment(policy) for policy in ("cifar10", "imagenet", "svhn")),
    *(RandAugment(), RandAugment(3, 30), RandAugment(1, 0), TrivialAugment()),
]


def noise(*shape: int) -> Tensor:
    """Noise, some of it of few values, or of one."""
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[::7] = images[::7] // 3 + 40
    images[3::11] = images[3::11, :, :1, :1]
    return images


class Kernels(TorchDispatchMode):
    """Counts what is dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_numbers_are_those_of_the_policies() -> None:
    assert tuple(OPERATIONS) == NAMES


@each("operation", EVERY)
@each("shape", SHAPES)
def test_pixels_are_those_of_the_grouped_form(operation: Operation, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    draw = operation.draw(Keys(1, 1, len(images)), images.shape)
    expected = grouped("any", images, draw)
    assert torch.equal(applied(images, draw["operation"], draw["strength"]), expected)


@each("mode", ["nearest", "bilinear"])
@each("shape", [(3, 16, 16), (1, 9, 11)])
def test_every_operation_at_every_level_of_every_set_is_the_kernel_s(shape: tuple[int, ...], mode: str) -> None:
    levels = [-1.0, -0.7, -1 / 3, 0.0, 0.1, 0.5, 1.0]
    cases = [
        (number, operation.strength(abs(level), *shape[1:]) * (level if operation.signed else abs(level)))
        for (number, operation), level in itertools.product(enumerate(OPERATIONS.values()), levels)
    ]
    cases += [(NAMES.index("Rotate"), 135.0), (NAMES.index("Posterize"), 0.0), (NAMES.index("Posterize"), 1.0)]
    images = noise(len(cases), *shape)
    draw = {
        "operation": torch.tensor([[number] for number, _ in cases]),
        "strength": torch.tensor([[strength] for _, strength in cases], dtype=torch.float64),
    }
    expected = grouped("any", images, draw, None if mode == "nearest" else BILINEAR)
    out = applied(images, draw["operation"], draw["strength"], mode)
    for row, (number, strength) in enumerate(cases):
        assert torch.equal(out[row], expected[row]), (NAMES[number], strength)


def test_pairs_of_all_operations_and_nothing_equal_one_after_the_other() -> None:
    pairs = list(itertools.product(range(-1, len(NAMES)), repeat=2))
    images = noise(len(pairs), 3, 16, 16)
    level = [3.0, *(operation.strength(0.6, 16, 16) for operation in OPERATIONS.values())]
    strength = torch.tensor([[level[n + 1] for n in pair] for pair in pairs], dtype=torch.float64)
    draw = {"operation": torch.tensor(pairs), "strength": strength}
    assert torch.equal(applied(images, *draw.values()), grouped("any", images, draw))


def test_as_many_kernels_whatever_is_drawn_and_none_that_the_host_waits_for() -> None:
    def kernels(draw: Draw) -> Counter[str]:
        with Kernels() as mode:
            applied(images, draw["operation"], draw["strength"])
        return mode.count

    images = noise(64, 3, 32, 32)
    nothing = {"operation": torch.full((64, 2), -1), "strength": torch.zeros(64, 2, dtype=torch.float64)}
    applied(images, nothing["operation"], nothing["strength"])  # constants are kept
    counts = [kernels(AutoAugment().draw(Keys(seed, 1, 64), images.shape)) for seed in range(3)]
    assert all(count == kernels(nothing) for count in counts)
    waits = {"nonzero", "_local_scalar_dense", "index_put_", "index_copy_", "masked_select", "equal", "bincount"}
    assert not waits & set(counts[0])


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")  # of constants
def test_what_is_compiled_takes_the_static_form_in_one_graph() -> None:
    images = noise(32, 3, 16, 16)
    operation = RandAugment(1)
    draw = operation.draw(Keys(0, 1, 32), images.shape)
    compiled = torch.compile(operation.apply, backend="eager", fullgraph=True)
    assert torch.equal(compiled(images, draw).images, operation.apply(images, draw).images)
    torch._dynamo.reset()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_on_a_device_the_host_waits_for_nothing_and_pixels_are_those_of_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    images = noise(2048, 3, 32, 32)
    shown = images.cuda()
    for operation in EVERY:
        keys = Keys(1, 1, len(images))
        expected = operation.apply(images, operation.draw(keys, images.shape)).images
        operation.apply(shown, operation.draw(keys.on("cuda"), images.shape))  # constants are kept
        torch.cuda.set_sync_debug_mode("error")
        try:
            out = operation.apply(shown, operation.draw(keys.on("cuda"), images.shape)).images
        finally:
            torch.cuda.set_sync_debug_mode("default")
        differ = (out.cpu() != expected).flatten(1).any(1).double().mean()
        assert differ < 1e-3, operation  # a turned pixel may be as near to its neighbour
