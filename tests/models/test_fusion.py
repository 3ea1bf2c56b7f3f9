"""Fused convolutions: the same numbers as the network's own code, and nothing fused that must not be."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from dametric.models import MODELS, build
from dametric.models.finite import may_be_nan
from dametric.models.fusion import FusedConv, fused, supported
from dametric.models.inference import _fold_batch_norm
from tests.loops import each

pytestmark = pytest.mark.skipif(not supported(torch.float32), reason="PyTorch without oneDNN's fused convolutions")
Stir = Callable[[nn.Module], nn.Module]
# Of every family one; those left out are the same blocks, more of them or wider.
QUICK = {
    "resnet20",
    "resnet8x4",
    "ResNet18",
    "ResNet50",
    "resnet18",
    "wrn_16_2",
    "vgg8",
    "MobileNetV2",
    "ShuffleV1",
    "ShuffleV2",
}


def parts(network: nn.Module) -> list[FusedConv]:
    return [module for module in network.modules() if isinstance(module, FusedConv)]


def folded(network: nn.Module) -> nn.Module:
    """A copy as it comes to be fused: norms have become part of the convolutions before them."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    _fold_batch_norm(network)
    return network.float()


class Cases(nn.Module):
    """Two convolutions and a sum, in the ways that invite mistakes."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.one = nn.Conv2d(4, 4, 3, padding=1, groups=2 if how == "groups" else 1, bias=how != "no bias")
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.squeeze = nn.Conv2d(4, 4, 6)
        self.same = nn.Conv2d(4, 4, 3, padding="same")
        self.around = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
        self.norm, self.flat = nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)
        for norm in (self.norm, self.flat):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)
        self.relu, self.relu6 = nn.ReLU(inplace=True), nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, "_" + self.how.replace(" ", "_"))(x)

    def _block(self, x: Tensor) -> Tensor:
        y = functional.relu(self.one(x))
        return functional.relu(self.two(y) + y)

    _groups = _no_bias = _block

    def _sum_of_two(self, x: Tensor) -> Tensor:
        return self.relu(self.one(x) + self.two(x))

    def _shortcut_read_again(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return self.two(y) + y + y.sum((2, 3), keepdim=True)

    def _shortcut_aliased(self, x: Tensor) -> Tensor:
        y = self.one(x)
        view = y.flatten(2)
        z = self.two(y) + y
        return z + view.amax(2)[:, :, None, None]

    def _shortcut_is_the_input(self, x: Tensor) -> Tensor:
        return self.relu(self.one(x) + x) + x

    def _convolves_its_shortcut(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return self.relu(self.two(y) + y)

    def _written_between(self, x: Tensor) -> Tensor:
        y = self.one(x)
        z = self.two(y)
        return self.relu(y) + z

    def _broadcast(self, x: Tensor) -> Tensor:
        return self.relu(self.squeeze(x) + self.one(x))

    def _broadcast_other(self, x: Tensor) -> Tensor:
        return functional.relu(self.squeeze(x).relu() + self.one(x))

    def _with_a_number(self, x: Tensor) -> Tensor:
        return self.relu(self.one(x) + 1.5)

    def _added_in_place(self, x: Tensor) -> Tensor:
        y = self.one(x)
        y += x
        z = self.two(x).relu()
        z += self.one(z)
        return self.relu(y) + z

    def _weighted(self, x: Tensor) -> Tensor:
        return torch.add(self.one(x), x, alpha=0.25)

    def _norms(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(x))
        z = self.flat(self.one(y) + x)
        return self.relu6(z) * self.norm.weight.view(1, -1, 1, 1) + z + self.norm(z)

    def _relu6(self, x: Tensor) -> Tensor:
        return self.relu6(3 * self.relu6(3 * self.one(x)) + self.relu6(self.two(9 * x)))

    def _relu6_of_sum(self, x: Tensor) -> Tensor:
        return functional.relu6(5 * x + self.one(9 * x))

    def _called_twice(self, x: Tensor) -> Tensor:
        return self.relu(self.one(functional.relu(self.one(x))) + x)

    def _result_read_twice(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return functional.relu(y) - y.abs()

    def _other_paddings(self, x: Tensor) -> Tensor:
        return functional.relu(self.same(x)) + functional.relu(self.around(x))


CASES = [name.strip("_").replace("_", " ") for name in vars(Cases) if name.startswith("_") and name[1] != "_"]


@each("how", CASES)
def test_the_same_numbers(how: str) -> None:
    torch.manual_seed(0)
    network = Cases(how).eval()
    fast = fused(network, torch.float32)
    with torch.inference_mode():
        for rows in (5, 1, 64):  # packed for the first, used for the others
            images = torch.randn(rows, 4, 6, 6).contiguous(memory_format=torch.channels_last)
            kept = images.clone()
            expected = network(images.clone())
            torch.testing.assert_close(fast(images), expected, rtol=1e-5, atol=1e-5)
            assert torch.equal(images, kept)


def test_nothing_is_drawn() -> None:
    network = Cases("norms").eval()
    before = torch.get_rng_state()
    assert len(parts(fused(network, torch.float32))) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_fused_and_what_is_overwritten() -> None:
    found = {how: [(c.clip, c.overwrite) for c in parts(fused(Cases(how).eval(), torch.float32))] for how in CASES}
    assert found["block"] == [("relu", False), ("relu", False)]  # the shortcut is what the convolution reads
    assert ("relu", True) in found["sum of two"]
    for how in ("shortcut read again", "shortcut aliased", "shortcut is the input", "convolves its shortcut"):
        assert not any(overwrite for _, overwrite in found[how]), how
    assert found["other paddings"] == found["with a number"] == []
    assert [clip for clip, _ in found["relu6 of sum"]] == ["none"]


@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e38])
def test_broken_weights_do_not_look_whole(value: float, where: int) -> None:
    """oneDNN's ReLU makes 0 of NaN; what comes out of a broken network must be what its own code says."""
    model = folded(build("resnet8", 7))
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        convolutions[where].weight[0, 0, 0, 0] = value
    images = torch.randn(40, 3, 16, 16)
    with torch.inference_mode():
        fast = fused(model, torch.float32)
        assert parts(fast)
        expected, found = model(images), fast(images)
    assert torch.equal(found.isfinite(), expected.isfinite())
    torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=0)


class Divides(nn.Module):
    """0 / 0 for images of one colour, before convolutions whose clips would make 0 of it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean((1, 2, 3), keepdim=True)
        x = x / x.abs().amax((1, 2, 3), keepdim=True)
        x = functional.relu(self.one(x))
        return self.last(functional.relu(self.two(x) + x).mean((2, 3)))


def test_what_some_image_divides_by_zero_does_not_look_whole() -> None:
    torch.manual_seed(0)
    model = Divides().eval()
    fast = fused(model, torch.float32)
    assert parts(fast)
    images = torch.randn(20, 3, 6, 6)
    images[11] = 0
    with torch.inference_mode():
        assert fast(images[:8]).isfinite().all()
        assert fast(images).isfinite().all(1).tolist() == [row != 11 for row in range(20)]
        torch.testing.assert_close(fast(images[:8]), model(images[:8]), rtol=1e-5, atol=1e-5)


def test_bound_holds_partial_sums() -> None:
    """The largest sum of any part of the products, whatever the signs: all of them, and the bias."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, groups=2)
    weight, bias = conv.weight.detach().double(), conv.bias.detach().double()
    most = max(float(weight[k].abs().sum()) for k in range(6)) * 2.5 + float(bias.abs().max()) + 7
    assert float(FusedConv(conv, "relu").bound(2.5, 7.0)) == pytest.approx(most, rel=1e-6)
    assert float(FusedConv(nn.Conv2d(4, 6, 3, bias=False), "relu").bound(0.0)) == 0


def test_a_network_that_is_trusted_runs_once() -> None:
    """Images are not shown to its own code first, and what the first images gave is what the next ones would."""
    model = folded(build("resnet8", 7))
    fast = fused(model, torch.float32)
    assert parts(fast)
    own: list[int] = []
    model.fc.register_forward_hook(lambda module, inputs, output: own.append(len(output)))
    images = torch.randn(20, 3, 16, 16)
    with torch.inference_mode():
        first, again = fast(images), fast(images)
    assert own == [20, 20]
    assert torch.equal(first, again)


def _adds(model: nn.Module) -> Iterator[bool]:
    """Of every node of a network, whether it is the sum of two tensors."""
    for node in fx.Tracer().trace(model).nodes:
        yield node.target in (operator.add, operator.iadd, torch.add) and len(node.all_input_nodes) == 2


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]
)
def test_every_architecture(name: str, stir: Stir) -> None:
    model, size = stir(build(name, 7)), 32 if name == "ShuffleV1" else 16
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    fast = fused(folded(model), torch.float32)
    assert bool(parts(fast)) == any(_adds(model))
    assert not may_be_nan(fx.GraphModule(model, fx.Tracer().trace(model)))  # so that every clip may be fused
    with torch.inference_mode():
        expected = model(images)
        torch.testing.assert_close(fast(images), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


class Draws(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu() + torch.rand(1)


class Looks(Draws):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() > 0 else x


def test_left_alone() -> None:
    hooked = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    hooked[0].register_forward_hook(lambda module, inputs, output: None)
    straight = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())  # which does not pay, nor does any other dtype
    for network in (hooked, Draws(), Looks(), nn.Sequential(nn.Flatten(), nn.Linear(3, 3)), straight):
        assert fused(network.eval(), torch.float32) is network
    plain = Cases("block").eval()
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        assert fused(plain.to(dtype), dtype) is plain
    assert parts(fused(plain.float(), torch.float32))


def test_a_torch_without_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Cases("block").eval()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert fused(plain, torch.float32) is plain
