"""Which mean and standard deviation is in use, and where it comes from, in every case that there is."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from dametric.data import ImageSet, load_data
from dametric.data.arrays import Arrays
from dametric.data.build import Options, from_arrays
from dametric.data.known import KNOWN
from dametric.errors import UsageError
from dametric.models import LoadedNetwork, build, load_checkpoint, save_checkpoint
from dametric.models.normalisation import of_library

OWN = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return build("resnet8", 10, 32)


@pytest.fixture
def data() -> ImageSet:
    draw = torch.Generator().manual_seed(0)
    return ImageSet.from_tensors(torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=draw))


def foreign(path: Path, net: nn.Module, **beside: Any) -> Path:
    torch.save({"state_dict": net.state_dict(), **beside}, path)
    return path


def test_what_is_in_use_and_where_it_comes_from(tmp_path: Path, net: nn.Module, data: ImageSet) -> None:
    ours = save_checkpoint(tmp_path / "ours.pth", net, arch="resnet8", mean=OWN[0], std=OWN[1])
    lists = foreign(tmp_path / "lists.pth", net, mean=list(OWN[0]), std=torch.tensor(OWN[1]).view(1, 3, 1, 1))
    bare = foreign(tmp_path / "bare.pth", net)
    imagenet = KNOWN["imagenet"]
    given = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    cases: list[tuple[Any, Any, Any, Any, str]] = [
        (ours, None, None, OWN, "written in the file"),
        (lists, None, None, OWN, "lists called mean and std in the file"),
        (bare, None, None, (data.mean, data.std), "statistics of the training images"),
        (ours, *given, given, "as given"),
        (ours, "imagenet", None, imagenet, "as given"),
        (ours, "ImageNet", given[1], (imagenet.mean, given[1]), "as given"),
        (ours, given[0], None, (given[0], OWN[1]), "mean as given, std written in the file"),
        (net, None, None, (data.mean, data.std), "statistics of the training images"),
        (net, "inception", None, ((0.5,) * 3, (0.5,) * 3), "as given"),
    ]
    for file, mean, std, expected, source in cases:
        network = LoadedNetwork.of(file, data, mean, std)
        assert network.mean == pytest.approx(tuple(expected[0]), abs=1e-7), source
        assert network.std == pytest.approx(tuple(expected[1]), abs=1e-7), source
        assert network.normalised_by == source
        first = f"{network.mean[0]:.4g}"
        assert network.line("teacher").startswith(f"teacher: normalised by mean {first}, ")
        assert network.line("teacher").endswith(f"({source})")
    with pytest.raises(UsageError, match="did you mean imagenet"):
        LoadedNetwork.of(ours, data, "imagnet")


def test_image_sets_say_where_theirs_comes_from(data: ImageSet) -> None:
    assert load_data("digits", quiet=True).normalised_by == data.normalised_by == "statistics of the training images"
    given = ImageSet.from_tensors(data.images, mean=OWN[0], std=OWN[1])  # type: ignore[arg-type]
    assert given.normalised_by == "the image set's, as it was made"
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    arrays = Arrays(data.images.numpy()[:10], torch.arange(10).numpy(), tuple(names))  # type: ignore[union-attr]
    made = from_arrays("x", "train", arrays, lambda: arrays, Options(Path("x"), None, None, True)).read(None)
    assert (made.mean, made.std, made.normalised_by) == (*KNOWN["cifar10"], "the constants of cifar10")


def test_networks_of_libraries_bring_their_own(tmp_path: Path, data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet = KNOWN["imagenet"]
    path = foreign(tmp_path / "t.pth", build("torchvision:squeezenet1_1", 10))
    network = LoadedNetwork.of(load_checkpoint(path, arch="torchvision:squeezenet1_1"), data.subset(range(4)))
    assert (network.mean, network.std) == imagenet
    assert "ImageNet's, as torchvision's" in network.normalised_by
    assert LoadedNetwork.of(load_checkpoint(path, arch="torchvision:squeezenet1_1"), data, "none").std == (1.0,) * 3
    assert of_library("resnet18", 1000, nn.Identity())[:2] == imagenet, "torchvision's layout, ImageNet's classes"
    assert of_library("resnet18", 10, nn.Identity()).mean is None
    network = nn.Identity()  # torchvision builds googlenet without what its own weights need
    for value in (False, True):
        network.transform_input = value  # type: ignore[assignment]
        said = of_library("torchvision:googlenet", 1000, network).source
        assert ("torchvision:googlenet,transform_input=True" in said) is not value

    class Timms(nn.Sequential):
        pretrained_cfg: ClassVar = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}

    fake = types.ModuleType("timm")
    fake.is_model = lambda name: name == "tiny"  # type: ignore[attr-defined]
    fake.create_model = lambda name, pretrained, num_classes: Timms(  # type: ignore[attr-defined]
        nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes)
    )
    monkeypatch.setitem(sys.modules, "timm", fake)
    path = foreign(tmp_path / "t.pth", build("timm:tiny", 10))
    network = LoadedNetwork.of(load_checkpoint(path, arch="timm:tiny"), data)
    assert (network.mean, network.std) == ((0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    assert "timm's pretrained_cfg" in network.normalised_by
    path = foreign(tmp_path / "t.pth", build("timm:tiny", 10), mean=list(OWN[0]), std=list(OWN[1]))
    assert LoadedNetwork.of(load_checkpoint(path, arch="timm:tiny"), data).mean == OWN[0], "the file knows better"


def test_lists_that_cannot_be_a_normalisation_are_not_used_and_that_is_said(tmp_path: Path, net: nn.Module) -> None:
    """Mean and std belong together: where one cannot be used, neither is."""
    good = [0.25, 0.25, 0.25]
    cases: list[dict[str, Any]] = [
        {"mean": ["x", "y", "z"], "std": good},
        {"mean": [0.5, float("nan"), 0.5], "std": good},
        {"mean": "0.5", "std": good},
        {"mean": 0.5, "std": good},
        {"mean": [-2.0, 0.5, 0.5], "std": good},
        {"mean": [0.5] * 512, "std": [0.5] * 512},
        {"mean": [0.5] * 3, "std": [0.0] * 3},
        {"mean": [0.5] * 3, "std": [1e-9] * 3},
        {"mean": [0.5] * 3, "std": [0.5]},
        {"mean": [0.5] * 3},
        {"std": good},
    ]
    for beside in cases:
        loaded = load_checkpoint(foreign(tmp_path / "t.pth", net, **beside))
        assert (loaded.mean, loaded.std) == (None, None), beside
        (said,) = (note for note in loaded.notes if "used" in note)
        assert "mean" in said
        assert len(said) < 250
    own = save_checkpoint(tmp_path / "t.pth", net, arch="resnet8", mean=[-1.0, 0.5, 0.5], std=good)
    assert (load_checkpoint(own).mean, load_checkpoint(own).std) == (None, None)


def test_one_value_stands_for_every_channel(tmp_path: Path, net: nn.Module, data: ImageSet) -> None:
    path = foreign(tmp_path / "t.pth", net, mean=[0.5], std=[0.25])
    network = LoadedNetwork.of(path, data)
    assert (network.mean, network.std) == ((0.5,) * 3, (0.25,) * 3)
