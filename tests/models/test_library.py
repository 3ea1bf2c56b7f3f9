"""Architectures of torchvision and of timm: names as people write them, and arguments of their own."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric.errors import UsageError
from dametric.models import build, load_checkpoint
from dametric.models.library import trained_size
from dametric.models.registry import canonical


class Vit(nn.Module):
    """With a table of positions, as vision transformers have; takes the size it is made for and no other."""

    def __init__(self, num_classes: int, img_size: int = 224, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.img_size, self.drop_rate = img_size, drop_rate
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, 8, 4, 4)
        self.pos_embed = nn.Parameter(torch.zeros(1, (img_size // 4) ** 2 + 1, 8))
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[-1] == self.img_size, f"expected {self.img_size} pixels"
        tokens = self.patch_embed.proj(images).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        return self.head(tokens.mean(1))


class Plain(nn.Sequential):
    def __init__(self, num_classes: int) -> None:
        super().__init__(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in with the few functions of timm that are used, and two networks."""
    module: Any = ModuleType("timm")
    known: dict[str, type[nn.Module]] = {"resnet10t": Plain, "vit_tiny": Vit}

    def create_model(name: str, pretrained: bool, num_classes: int, **arguments: Any) -> nn.Module:
        assert not pretrained
        return known[name](num_classes, **arguments)

    module.is_model, module.create_model, module.list_models = known.__contains__, create_model, lambda: list(known)
    module.get_pretrained_cfg = lambda name: SimpleNamespace(fixed_input_size=known[name] is Vit)
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def test_a_bare_name_that_a_library_knows_is_suggested_with_it(timm: ModuleType) -> None:
    with pytest.raises(UsageError, match=r"^unknown architecture 'resnet10t': did you mean timm:resnet10t\?$"):
        build("resnet10t", 10)
    with pytest.raises(UsageError, match=r"'EfficientNet_B0': did you mean torchvision:efficientnet_b0\?$"):
        build("EfficientNet_B0", 10)


def test_upper_case_does_not_matter(timm: ModuleType) -> None:
    for spelt, name in (("ResNet20", "resnet20"), ("WRN_16_1", "wrn_16_1"), ("mobilenetv2", "MobileNetV2")):
        assert canonical(spelt) == name
        assert build(spelt, 7).state_dict().keys() == build(name, 7).state_dict().keys()
    assert (canonical("resnet18"), canonical("ResNet18")) == ("resnet18", "ResNet18")  # two networks
    with pytest.raises(UsageError, match="unknown architecture 'RESNET18'"):
        build("RESNET18", 7)
    assert isinstance(build("timm:ResNet10T", 7), Plain)
    for own in ("./Nets.py:Fn", "torchvision:ResNet50"):
        assert canonical(own) == own


def test_networks_that_are_made_for_one_size_are_made_for_that_of_the_images(timm: ModuleType) -> None:
    for arch in ("timm:vit_tiny", "torchvision:vit_b_32"):
        with torch.device("meta"):
            assert build(arch, 7, 64).eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    assert isinstance(build("timm:resnet10t", 7, 64), Plain)  # is not told
    with pytest.raises(UsageError, match=r"cannot be made for 40-pixel images: AssertionError: Input shape indivis"):
        build("torchvision:vit_b_16", 7, 40)


def test_arguments_of_their_own(timm: ModuleType) -> None:
    network = build("timm:vit_tiny,img_size=16,drop_rate=0.25", 7, 64)
    assert isinstance(network, Vit)
    assert (network.img_size, network.drop_rate) == (16, 0.25)
    with pytest.raises(UsageError, match=r"timm:resnet10t,img_size=64 cannot be made .*unexpected keyword"):
        build("timm:resnet10t,img_size=64", 7, 64)
    for pair in ("pretrained=True", "weights=DEFAULT", "checkpoint_path=x", "num_classes=3", "img_size", "a b=3", "=1"):
        with pytest.raises(UsageError, match="is not an argument=value pair for the network"):
            build(f"timm:vit_tiny,{pair}", 7)
    with pytest.raises(UsageError, match="drop_rate takes a number"):
        build("timm:vit_tiny,drop_rate=../x", 7)


def test_a_files_own_name_for_its_architecture_is_believed_where_it_fits(timm: ModuleType, tmp_path: Any) -> None:
    """As training scripts of timm and of torchvision write it."""
    torch.manual_seed(0)
    for arch, state in (("resnet10t", Plain(6).state_dict()), ("vit_tiny", Vit(6, 32).state_dict())):
        torch.save({"arch": arch, "epoch": 3, "state_dict": state}, tmp_path / "theirs.pth")
        found = load_checkpoint(tmp_path / "theirs.pth")
        assert (found.arch, found.num_classes) == (f"timm:{arch}", 6)
        assert all(torch.equal(weight, state[name]) for name, weight in found.model.state_dict().items())
    with torch.device("meta"):
        squeeze = build("torchvision:squeezenet1_1", 4).state_dict()
    torch.save(
        {"arch": "squeezenet1_1", "state_dict": {k: torch.zeros(w.shape) for k, w in squeeze.items()}}, tmp_path / "t"
    )
    assert load_checkpoint(tmp_path / "t").arch == "torchvision:squeezenet1_1"
    for wrong in ("vit_tiny", "../../evil.py:fn", "os:system", 3):
        torch.save({"arch": wrong, "state_dict": Plain(6).state_dict()}, tmp_path / "other.pth")
        with pytest.raises(UsageError, match=r"pass arch|no name in common"):
            load_checkpoint(tmp_path / "other.pth")


def test_the_size_of_a_transformer_is_that_of_its_table_of_positions(timm: ModuleType, tmp_path: Any) -> None:
    torch.save(Vit(6, 48).state_dict(), tmp_path / "vit.pth")
    for asked in (None, 32):
        found = load_checkpoint(tmp_path / "vit.pth", arch="timm:vit_tiny", image_size=asked)
        assert found.image_size == 48
    assert (
        trained_size(
            {
                "module.encoder.pos_embedding": torch.zeros(1, 197, 2),
                "module.conv_proj.weight": torch.zeros(2, 3, 16, 16),
            }
        )
        == 224
    )
    assert (
        trained_size({"pos_embed": torch.zeros(1, 196, 2), "patch_embed.proj.weight": torch.zeros(2, 3, 16, 16)}) == 224
    )
    assert (
        trained_size({"pos_embed": torch.zeros(1, 190, 2), "patch_embed.proj.weight": torch.zeros(2, 3, 16, 16)})
        is None
    )
    assert trained_size({"conv.weight": torch.zeros(2, 3, 16, 16)}) is None
