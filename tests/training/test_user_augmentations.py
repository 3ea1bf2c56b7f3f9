"""Distilling under the user's own augmentations: the same students as under operations that do the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from dametric.augment import Augmentation, Augmented, Keys
from dametric.augment.base import Draw
from dametric.data import ImageSet
from dametric.errors import RunFailed, UsageError
from dametric.training import distill, train


@dataclass(frozen=True)
class Halves:
    """Half of every image and half of the next: what a batch function of the user's does too."""

    stream = "halves"
    mixes = True
    random = False
    partner = "unknown"

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        return Augmented(images // 2 + images.roll(1, 0) // 2)


def halves(batch: Tensor) -> Tensor:
    return batch // 2 + batch.roll(1, 0) // 2


def scaled_halves(batch: Tensor) -> Tensor:
    return halves(batch).float() / 255


def learn(data: ImageSet, network: Any, folder: Path, aug: Any, **more: Any) -> Any:
    options = {"epochs": 2, "batch_size": 5, "dtype": "float64", "device": "cpu", "base_aug": "identity", "quiet": True}
    teacher, student = network("plain", 3).float(), network("plain", 1)
    return distill(teacher, student, (data, data), aug, out=folder, **{**options, **more})


def test_a_mixing_function_is_given_the_batch_of_a_step(data: ImageSet, network: Any, tmp_path: Path) -> None:
    wanted = learn(data, network, tmp_path / "built", Augmentation("built", (Halves(),))).record["last"]
    for number, function in enumerate((halves, scaled_halves)):
        trained = learn(data, network, tmp_path / str(number), function)
        assert trained.record["last"]["test_loss"] == pytest.approx(
            wanted["test_loss"], rel=1e-6 if number else 0, abs=0
        )
        assert trained.record["about"]["user_augmentations"][function.__qualname__]["mixes"] is True
    other = learn(data, network, tmp_path / "identity", "identity").record
    assert other["last"]["test_loss"] != pytest.approx(wanted["test_loss"], rel=1e-4)
    assert "user_augmentations" not in other["about"]


def test_what_cannot_be_seeded_is_in_the_record_and_out_of_the_id(
    data: ImageSet, network: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unseeded(batch: Tensor) -> Tensor:
        return batch // (1 + int(np.random.default_rng().integers(9)))

    generator = np.random.default_rng()

    def seeded(batch: Tensor) -> Tensor:
        return batch // (1 + int(generator.integers(9)))

    record = learn(data, network, tmp_path / "unseeded", unseeded).record
    (found,) = record["about"]["user_augmentations"].values()
    assert found["repeats"] is False
    assert "repeats" not in str(record["config"])
    assert capsys.readouterr().err.count("cannot be seeded") == 1
    losses = [learn(data, network, tmp_path / f"seeded-{n}", seeded).record["last"]["test_loss"] for n in range(2)]
    assert losses[0] == losses[1]
    assert capsys.readouterr().err == ""


def test_a_function_without_source_is_told_of_once(
    data: ImageSet, network: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    exec("def typed(batch):\n    return 255 - batch\n", names)
    learn(data, network, tmp_path / "runs", names["typed"], quiet=False)
    assert capsys.readouterr().err.count("the source of typed cannot be read: its changes do not name a run") == 1
    learn(data, network, tmp_path / "others", halves, quiet=False)
    assert "cannot be read" not in capsys.readouterr().err


def test_nan_of_a_function_ends_the_run_with_its_name(data: ImageSet, network: Any, tmp_path: Path) -> None:
    def broken(batch: Tensor) -> Tensor:
        return batch.float() * (float("nan") if torch.rand(1) < 1 / 8 else 1)

    class Deaf(nn.Module):
        """A student whose loss stays finite."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network("plain", 1)

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images.nan_to_num())

    options = {"epochs": 2, "batch_size": 5, "dtype": "float32", "device": "cpu", "base_aug": "identity", "quiet": True}
    for student in (network("plain", 1), Deaf()):
        with pytest.raises(RunFailed, match=r"augmentation .*broken gave NaN or Inf in epoch 1, step 1 of 4"):
            distill(Deaf(), student, (data, data), broken, out=tmp_path, **options)


def test_nan_of_a_function_ends_the_run_whatever_follows_it(data: ImageSet, network: Any, tmp_path: Path) -> None:
    (tmp_path / "augs.py").write_text(
        "import torch\n"
        "def broken(batch):\n    return batch.float() * (float('nan') if torch.rand(1) < 1 / 2 else 1)\n"
        "def whole(batch):\n    return 255 - batch\n"
    )
    own = f"{tmp_path}/augs.py"
    for follower in ("autoaugment", f"{own}:whole"):
        with pytest.raises(RunFailed, match=r"augmentation .*:broken\+.* gave NaN or Inf in epoch 1, step \d of 4"):
            learn(data, network, tmp_path, f"{own}:broken+{follower}")


def test_what_cannot_be_is_refused_before_there_is_a_folder(data: ImageSet, network: Any, tmp_path: Path) -> None:
    for function, says in (
        (lambda batch: batch.float() - 128, "neither pixels"),
        (lambda batch: batch[:, :, :4], "expected images of shape"),
        (v2.RandomErasing, "failed"),
    ):
        with pytest.raises(UsageError, match=says):
            learn(data, network, tmp_path / "runs", function)
    assert not (tmp_path / "runs").exists()


def test_a_mixing_function_cannot_be_the_loader_s_own(data: ImageSet, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("augs.py").write_text("def roll(batch):\n    return batch.roll(1, 0)\n")
    with pytest.raises(UsageError, match="cannot mix"):
        train("resnet8", (data, data), out="runs", aug="./augs.py:roll", epochs=1, batch_size=5, quiet=True)
