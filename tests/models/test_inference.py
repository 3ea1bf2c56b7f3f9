"""Networks prepared for running: the same logits, the original untouched."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dametric.errors import UsageError
from dametric.models import MODELS, build, inference_copy, preferred_dtype

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


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def largest_difference(one: Tensor, two: Tensor) -> float:
    return ((one.double() - two.double()).abs().max() / one.double().abs().max()).item()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]
)
def test_folded_equals_unfolded(name: str, stir: Stir) -> None:
    size = 32 if name == "ShuffleV1" else 12
    model = stir(build(name, 7))
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    exact, single = inference_copy(model, dtype=torch.float64), inference_copy(model)
    with torch.no_grad():
        expected = model.double()(images.double())
        assert largest_difference(expected, exact(images)) < 1e-10
        assert largest_difference(expected, single(images)) < 1e-4
    if name.startswith("wrn"):  # those norms that follow an addition have no convolution to go to
        assert 0 < norms(exact) < norms(model)
    else:
        assert norms(exact) == 0


def test_original_is_untouched(stir: Stir) -> None:
    model = stir(build("resnet8", 5)).train()
    model.layer1.eval()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    fast = inference_copy(model, dtype=torch.bfloat16)
    assert norms(model) == 9
    assert [module.training for module in model.modules()] == modes
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in fast.modules())
    assert not any(p.requires_grad for p in fast.parameters())
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in fast.parameters()}


def test_input_of_any_float_type_and_layout() -> None:
    fast = inference_copy(build("resnet8", 5))
    images = torch.randn(2, 3, 16, 16)
    expected = fast(images)
    assert expected.dtype == torch.float32
    assert torch.allclose(fast(images.double()), expected, atol=1e-6)
    assert torch.allclose(fast(images.contiguous(memory_format=torch.channels_last)), expected, atol=1e-6)
    kernels = [p for p in fast.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_bfloat16_is_close_and_answers_in_float32(stir: Stir) -> None:
    model = stir(build("resnet8", 5))
    images = torch.randn(4, 3, 16, 16)
    logits = inference_copy(model, dtype=torch.bfloat16)(images)
    assert logits.dtype == torch.float32
    assert largest_difference(model(images).detach(), logits) < 0.05


class Variant(nn.Module):
    """A convolution and a norm, joined in the way that the test is about."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(3, 3, 3, padding=1, groups=3 if how == "groups" else 1, bias=how != "no bias")
        self.norm = nn.BatchNorm2d(3, affine=how != "not affine", track_running_stats=how != "no statistics")
        if how == "alias":
            self.again = self.conv
        if how == "parametrised":
            parametrizations.weight_norm(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "untraceable" and x.sum() > 1e9:
            return x
        y = self.conv(x)
        if self.how == "two readers":
            return (self.norm(y) + y).mean((2, 3))
        if self.how == "shared convolution":
            return (self.norm(y) + self.conv(x + 1)).mean((2, 3))
        if self.how == "shared norm":
            return (self.norm(y) + self.norm(x)).mean((2, 3))
        if self.how == "weight read":
            return self.norm(y).mean((2, 3)) * self.conv.weight.sum()
        if self.how == "no convolution":
            return self.norm(torch.relu(y)).mean((2, 3))
        return self.norm(y).mean((2, 3))


@pytest.mark.parametrize(
    ("how", "left"),
    [("plain", 0), ("groups", 0), ("no bias", 0), ("not affine", 0)]
    + [(how, 1) for how in ("two readers", "shared convolution", "shared norm", "weight read", "no convolution")]
    + [(how, 1) for how in ("alias", "parametrised", "untraceable", "no statistics")],
)
def test_only_what_may_be_folded_is(how: str, left: int, stir: Stir) -> None:
    model = stir(Variant(how)).double()
    fast = inference_copy(model, dtype=torch.float64)
    assert norms(fast) == left
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(fast(images), model(images).detach(), rtol=1e-10, atol=1e-12)


def test_hooks_still_run_and_see_what_they_saw(stir: Stir) -> None:
    model = stir(Variant("plain"))
    seen: list[Tensor] = []
    model.conv.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = torch.randn(2, 3, 6, 6)
    fast = inference_copy(model)
    assert norms(fast) == 1
    fast(images)
    model(images)
    assert len(seen) == 2
    assert torch.allclose(seen[0], seen[1], atol=1e-6)
    assert len(model.conv._forward_hooks) == 1


def test_output_must_be_logits() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(UsageError, match="returns a tuple, not logits"):
        inference_copy(Pair())(torch.zeros(1, 3, 4, 4))


def test_compile_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []

    def compiler(module: nn.Module) -> nn.Module:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compiler)
    fast = inference_copy(build("resnet8", 5), compile=True)
    assert compiled == [fast]


def test_preferred_dtype_asks_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for check in checks:
        monkeypatch.setattr(torch.cpu, check, lambda: False, raising=False)
    assert preferred_dtype("cpu") == torch.float32
    for check in checks:
        with monkeypatch.context() as patch:
            patch.setattr(torch.cpu, check, lambda: True, raising=False)
            assert preferred_dtype(torch.device("cpu")) == torch.bfloat16
    for check in checks:
        monkeypatch.delattr(torch.cpu, check)
    assert preferred_dtype("cpu") == torch.float32
    for capability, expected in (((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert preferred_dtype("cuda:0") == expected
    assert preferred_dtype("mps") == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["resnet20", "wrn_16_2", "ShuffleV2", "MobileNetV2", "vgg8"])
def test_cuda_agrees_with_the_cpu(name: str, stir: Stir) -> None:
    model = stir(build(name, 7))
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = inference_copy(model, dtype=torch.float64)(images)
    exact = inference_copy(model, dtype=torch.float64, device="cuda")(images.cuda())
    assert largest_difference(expected, exact.cpu()) < 1e-10
    short = inference_copy(model, dtype=preferred_dtype("cuda"), device="cuda")(images.cuda())
    assert largest_difference(expected, short.cpu()) < 0.05
    assert next(model.parameters()).device.type == "cpu"
