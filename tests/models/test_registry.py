"""Names of architectures to networks: the built-in ones, libraries', the user's own, and typing errors."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dametric.errors import UsageError
from dametric.models import MODELS, build

NETS = """
import torch
from torch import nn

def plain(num_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))

def sized(num_classes, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)
    def forward(self, x):
        return self.fc(x.mean((2, 3)))

def takes_nothing():
    return nn.Identity()

def of_four():
    return plain(4)

class Grey(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, width, 3), nn.Linear(width, 4)
    def forward(self, x):
        return x, self.fc(self.conv(x).mean((2, 3)))

def no_module(num_classes):
    return 3

def breaks(num_classes):
    raise RuntimeError("two\\nlines")
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def test_defaults_are_100_classes_and_32_pixels() -> None:
    assert MODELS["resnet8"]()(torch.zeros(1, 3, 32, 32)).shape == (1, 100)


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "torchvision:googlenet"])
def test_torchvision(name: str) -> None:
    with torch.device("meta"):
        assert build(name, 7).eval()(torch.empty(1, 3, 64, 64)).shape == (1, 7)


def test_timm() -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        assert build("timm:resnet10t", 7).eval()(torch.empty(1, 3, 64, 64)).shape == (1, 7)
    with pytest.raises(UsageError, match=r"did you mean .*resnet50"):
        build("timm:resnet5O")
    with pytest.raises(UsageError, match="names them all"):
        build("timm:~~~~")
    with pytest.raises(UsageError, match="fetched from the network"):
        build("timm:hf-hub:someone/something")


def test_timm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "timm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="pip install timm"):
        build("timm:resnet18")


@pytest.mark.parametrize("function", ["plain", "sized", "Net"])
def test_users_own(nets: Path, function: str) -> None:
    for spec in (f"./nets.py:{function}", f"{nets}/nets.py:{function}"):
        assert build(spec, 4, 8)(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


def test_users_own_that_is_not_told_the_classes(nets: Path) -> None:
    assert build("./nets.py:of_four", 4, 8)(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
    grey = build("./nets.py:Grey", 4, 8)
    assert grey(torch.zeros(2, 1, 8, 8))[1].shape == (2, 4)
    assert grey.training
    for function in ("of_four", "Grey"):
        with pytest.raises(UsageError, match=r"num_classes=10 failed with .* network of 4 classes, not 10"):
            build(f"./nets.py:{function}", 10, 8)


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        ("resnet21", "unknown architecture 'resnet21': did you mean .*resnet20"),
        ("wrn-40-2", "did you mean wrn_40_2"),
        ("zzz", "known: MobileNetV2"),
        ("", "unknown architecture"),
        ("torchvision:resnet51", "did you mean .*resnet50"),
        ("torchvision:fasterrcnn_resnet50_fpn", "unknown torchvision architecture"),
        ("torchvision:", "unknown torchvision architecture ''"),
        ("./absent.py:net", "there is no file absent.py"),
        ("./nets.py:plan", "did you mean plain"),
        ("./nets.py:takes_nothing", "calling it with num_classes=10 failed with TypeError"),
        ("./nets.py:breaks", "failed with RuntimeError: two lines"),
        ("./nets.py:no_module", "returned a int, not a torch.nn.Module"),
        ("no_such_module_at_all:net", "there is no module"),
    ],
)
def test_errors_are_one_line(nets: Path, arch: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        build(arch, 10)
    assert "\n" not in str(caught.value)


def test_impossible_sizes() -> None:
    with pytest.raises(UsageError, match="at least one class"):
        build("resnet8", 0)
    with pytest.raises(UsageError, match="too small"):
        build("resnet8", 10, 4)


def test_networks_are_modules_with_fresh_weights() -> None:
    one, two = build("resnet8"), build("resnet8")
    assert isinstance(one, nn.Module)
    assert not torch.equal(one.get_parameter("fc.weight"), two.get_parameter("fc.weight"))
