"""The pretended device: it counts, it waits, it refuses, it learns, and nothing of it is left."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.loops import each
from tests.pretended_device import (
    CUDA,
    MixedDevicesError,
    PretendedDevice,
    PretendedTensor,
    pretended_cuda,
    with_tensors,
)

pytestmark = with_tensors

Call = Callable[[Tensor], Any]


@pytest.fixture
def device() -> Any:
    with pretended_cuda(package="/tests/") as device:
        yield device


def waits(device: PretendedDevice, call: Call) -> list[str]:
    on_device = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda")
    with device.counting() as counts:
        call(on_device)
    return sorted(what for what, _ in counts.waits.elements())


def test_what_is_made_or_moved_there_says_that_it_is_there(device: PretendedDevice) -> None:
    made = [torch.ones(2, device="cuda"), torch.tensor([1, 2], device="cuda:0"), torch.ones(2).cuda()]
    made += [torch.ones(2).to("cuda"), torch.zeros(2).to(made[0]), torch.ones_like(made[0]), made[0].new_zeros(3)]
    for tensor in made:
        assert isinstance(tensor, PretendedTensor)
        assert (tensor.device, tensor.is_cuda, tensor.is_cpu, tensor.get_device()) == (CUDA, True, False, 0)
        back = tensor.cpu()
        assert type(back) is Tensor
        assert back.device.type == "cpu"


@each(
    ("call", "expected"),
    [
        (lambda x: x[0, 0].item(), ["_local_scalar_dense"]),
        (lambda x: bool((x > 1).all()), ["_local_scalar_dense"]),
        (lambda x: x.tolist(), ["copy to the host"]),
        (lambda x: x.cpu(), ["copy to the host"]),
        (lambda x: torch.zeros(2, 2).copy_(x), ["copy to the host"]),
        (lambda x: x.nonzero(), ["nonzero"]),
        (lambda x: x[x > 1], ["index by a mask"]),
        (lambda x: x[torch.tensor([0, 1])], ["copy from the host"]),
        (lambda x: x + torch.tensor([1.0, 2.0], device="cuda"), ["copy from the host"]),
        (lambda x: torch.ones(2).to("cuda", non_blocking=True), ["copy from the host"]),
        (lambda x: x.copy_(torch.ones(2, 2)), ["copy from the host"]),
        (lambda x: torch.equal(x, x), ["equal"]),
        (lambda x: torch.linalg.inv(x), ["_linalg_check_errors"]),
        (lambda x: torch.cuda.synchronize(), ["synchronize"]),
        # what waits for nothing
        (lambda x: x[torch.tensor([0, 1]).pin_memory().to("cuda", non_blocking=True)], []),
        (lambda x: torch.ones(2).pin_memory()[:1].to("cuda", non_blocking=True), []),
        (lambda x: torch.empty(2, pin_memory=True).to("cuda", non_blocking=True), []),
        (lambda x: x[x.argmax(1)] * 2 + torch.tensor(1.0), []),
        (lambda x: torch.where(x > 1, x, 0.0), []),
        (lambda x: x.masked_fill_(x > 1, 0.0), []),
        (lambda x: x.to("cpu", non_blocking=True), []),
        (lambda x: x.__setitem__(x > 1, 0.0), []),
        (lambda x: x.to("cuda").double(), []),
    ],
)
def test_the_host_waits_where_it_would(device: PretendedDevice, call: Call, expected: list[str]) -> None:
    assert waits(device, call) == expected


@each(
    "call",
    [
        lambda x: x + torch.ones(2),
        lambda x: torch.ones(2) * x.sum(),  # a number on the device, and others on the host
        lambda x: torch.cat([x[0], torch.ones(1)]),
        lambda x: torch.stack([x[0, 0], torch.ones(())]),
        lambda x: nn.functional.linear(x, torch.ones(3, 2)),
        lambda x: torch.ones(2, 2)[x.argmax(1)],
        lambda x: x.index_select(0, torch.tensor([0])),
        lambda x: x.__setitem__((slice(None), 0), x[0]) or x.__setitem__(torch.tensor([0]), torch.ones(1, 2)),
    ],
)
def test_tensors_of_two_devices_do_not_meet(device: PretendedDevice, call: Call) -> None:
    with pytest.raises(MixedDevicesError, match=r"test_pretended_device.py:\d+"):
        waits(device, call)


def test_numpy_does_not_read_the_device(device: PretendedDevice) -> None:
    with pytest.raises(TypeError, match="copy it to the host"):
        torch.ones(2, device="cuda").numpy()


def test_kernels_are_counted_by_the_line_that_asked_for_them(device: PretendedDevice) -> None:
    x = torch.ones(4, 4, device="cuda")
    with device.counting() as counts:
        x.view(16)[3:].unsqueeze(0).expand(2, -1)
        assert not counts.launches  # views
        torch.empty_like(x)
        assert not counts.launches
        (x * 2 + 1).sum()
    assert counts.kernels == {"mul": 1, "add": 1, "sum": 1}
    ((line, count),) = counts.lines.items()
    assert (line.partition(":")[0], count) == ("test_pretended_device.py", 3)


def test_operations_are_those_of_the_cpu_to_the_bit(device: PretendedDevice) -> None:
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))

    def work(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 1] = 0
        y[1:].mul_(2)
        with torch.inference_mode():
            first, _ = y.split([2, 3])
            first.add_(1)  # a view of what was not made in inference mode
        return torch.cat([y.softmax(1), y.sort(1).values.cumsum(1)], 1)

    assert torch.equal(work(x.cuda()).cpu(), work(x))


def test_a_network_learns_as_on_the_cpu(device: PretendedDevice) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]
    network, images = nn.Sequential(*layers), torch.randn(5, 3, 6, 6)

    def learnt(network: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
        network = network.to(images.device)
        optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=0.01, fused=True)
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(network(images), labels, label_smoothing=0.1).backward()
            optimizer.step()
        return [*network.parameters(), *network.buffers()]

    labels = torch.tensor([0, 1, 2, 0, 1])
    there = learnt(copy.deepcopy(network), images.cuda(), labels.cuda())
    here = learnt(network, images, labels)
    assert all(tensor.is_cuda for tensor in there)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(there, here, strict=True))
    assert device.counts.kernels["convolution_backward"] == 3
    assert device.counts.kernels["_fused_sgd_"] == 3


def test_copies_have_memory_of_their_own(device: PretendedDevice) -> None:
    network = nn.Linear(2, 2).cuda()
    copied = copy.deepcopy(network)
    assert isinstance(copied.weight, nn.Parameter)
    assert copied.weight.requires_grad
    with torch.no_grad():
        copied.weight.zero_()
    assert network.weight.abs().sum() > 0


def test_nothing_of_it_is_left() -> None:
    before = {name: getattr(torch.cuda, name) for name in dir(torch.cuda)}
    more = torch.autocast, Tensor.pin_memory, Tensor.is_pinned, torch._C._only_lift_cpu_tensors()
    with pretended_cuda():
        left = torch.ones(2, device="cuda")
        assert torch.cuda.is_available()
    assert {name: getattr(torch.cuda, name) for name in dir(torch.cuda)} == before
    assert (torch.autocast, Tensor.pin_memory, Tensor.is_pinned, torch._C._only_lift_cpu_tensors()) == more
    with pytest.raises(RuntimeError, match="after its device was gone"):
        left + 1
