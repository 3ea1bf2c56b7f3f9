"""The architectures against the reference facts: names, shapes, parameter counts and logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric.errors import UsageError
from dametric.models import MODELS, build
from tests.loops import each

PARAMETERS = {  # at 100 classes, as the checkpoints in circulation have them
    "resnet8": 83892,
    "resnet14": 181108,
    "resnet20": 278324,
    "resnet32": 472756,
    "resnet44": 667188,
    "resnet56": 861620,
    "resnet110": 1736564,
    "resnet8x4": 1233540,
    "resnet32x4": 7433860,
    "ResNet18": 11220132,
    "ResNet50": 23705252,
    "resnet18": 11227812,
    "wrn_16_1": 180916,
    "wrn_16_2": 703284,
    "wrn_40_1": 569780,
    "wrn_40_2": 2255156,
    "wrn_28_10": 36536884,
    "vgg8": 3965028,
    "vgg11": 9277284,
    "vgg13": 9462180,
    "vgg16": 14774436,
    "vgg19": 20086692,
    "MobileNetV2": 812836,
    "ShuffleV1": 949258,
    "ShuffleV2": 1355528,
}
ONE_OF_EACH = (
    "resnet8",
    "ResNet18",
    "ResNet50",
    "resnet18",
    "wrn_16_1",
    "wrn_16_2",
    "vgg8",
    "MobileNetV2",
    "ShuffleV2",
)
CASES = [(name, size) for name in MODELS for size in (32, 64) if (name, size) != ("ShuffleV1", 64)]


def rule_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that the reference values were computed with: sines of the place in the sorted names."""
    filled = {}
    for i, (name, tensor) in enumerate(sorted(model.state_dict().items())):
        n = tensor.numel()
        wave = torch.sin(0.1 * (i + 1) + 0.7 * torch.arange(n, dtype=torch.float64))
        if not tensor.is_floating_point():
            filled[name] = tensor
            continue
        if name.endswith("running_var"):
            wave = 1 + 0.5 * wave.abs()
        elif name.endswith(("running_mean", "bias")):
            wave = 0.1 * wave
        elif tensor.dim() == 1:
            wave = 1 + 0.1 * wave
        else:
            wave = wave * (2 / (n / tensor.shape[0])) ** 0.5
        filled[name] = wave.float().reshape(tensor.shape)
    return filled


def test_the_table_names_all() -> None:
    assert set(PARAMETERS) == set(MODELS)


def test_reference_has_no_further_names(facts: dict[str, Any]) -> None:
    assert {key.split("@")[0] for key in facts} == set(MODELS)


@each("name", MODELS)
def test_parameter_count(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(name).parameters()) == PARAMETERS[name]


@each(("name", "size"), CASES)
def test_names_and_shapes(facts: dict[str, Any], name: str, size: int) -> None:
    fact = facts[f"{name}@{size}"]
    with torch.device("meta"):
        model = build(name, fact["num_classes"], size)
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == fact["state_dict"]
    assert sum(p.numel() for p in model.parameters()) == fact["parameters"]


@pytest.mark.parametrize(
    "names", [{*ONE_OF_EACH, "ShuffleV1"}, pytest.param(set(MODELS), marks=pytest.mark.slow)], ids=["few", "all"]
)
def test_logits(facts: dict[str, Any], names: set[str]) -> None:
    """Of the architectures that are left out, shapes are compared with the reference above; blocks are the same."""
    for name, size in CASES:
        if name in names:
            compare_logits(facts, name, size)


def compare_logits(facts: dict[str, Any], name: str, size: int) -> None:
    fact = facts[f"{name}@{size}"]
    if "check" not in fact:
        return  # none are given; its family is covered by the others
    with torch.device("meta"):  # no need to draw weights that are replaced
        model = build(name, fact["num_classes"], size)
    model.load_state_dict(rule_weights(model), assign=True)
    model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = None  # stayed on meta, plays no part
    images = torch.sin(0.01 * torch.arange(2 * 3 * size * size, dtype=torch.float64)).float().double()
    with torch.no_grad():
        logits = model(images.reshape(2, 3, size, size))
    check = fact["check"]
    first = torch.tensor(check["first8"], dtype=torch.float64)
    torch.testing.assert_close(logits[:, :8], first, rtol=1e-4, atol=1e-4 * first.abs().max().item())
    assert logits.norm().item() == pytest.approx(check["l2"], rel=1e-4)
    assert logits.std().item() == pytest.approx(check["std"], rel=1e-3)  # given to four digits


@each("name", ONE_OF_EACH)
def test_gradients_reach_every_weight(name: str) -> None:
    """In-place activations must not overwrite what the backward pass needs, in training and in eval mode."""
    model = build(name, 10, 16)
    for mode in (True, False):
        model.train(mode).zero_grad()
        model(torch.randn(4, 3, 16, 16)).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@each("name", ONE_OF_EACH)
@each("size", [8, 28, 48, 96])
def test_other_image_sizes(name: str, size: int) -> None:
    with torch.device("meta"):
        assert build(name, 5, size).eval()(torch.empty(2, 3, size, size)).shape == (2, 5)


def test_vgg_pools_once_more_from_64_pixels() -> None:
    with torch.device("meta"):
        assert [build("vgg8", 10, size).poolings for size in (28, 48, 63, 64, 96)] == [3, 3, 3, 4, 4]  # type: ignore


def test_only_32_pixels() -> None:
    for size in (28, 64):
        with pytest.raises(UsageError, match=f"ShuffleV1 takes images of 32 pixels, not {size}"):
            build("ShuffleV1", 10, size)


@each("name", [*ONE_OF_EACH, "ShuffleV1"])
def test_initial_weights(name: str) -> None:
    torch.manual_seed(0)
    for module in build(name).modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            n = module.weight.numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=6 / (2 * n) ** 0.5)
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()
