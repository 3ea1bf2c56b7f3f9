"""Scores of the user's own augmentations: the right number, or a word that says why not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from dametric import ImageSet, UsageError, score
from dametric.scoring.protocol import Protocol, units

BATCHES, SIZE = 12, 16


def run(teacher: nn.Module, data: ImageSet, *augs: Any, **more: Any) -> Any:
    options = {"batches": BATCHES, "batch_size": SIZE, "base_aug": "identity", "dtype": torch.float64, "quiet": True}
    return score(teacher, data, list(augs), **{"metrics": ["t_stddev"], **options, **more})


def plugins(result: Any, metric: str = "t_stddev") -> dict[str, float]:
    return {row["aug"]: row["metrics"][metric]["plugin"] for row in result.scores}


def batch_means(teacher: nn.Module, data: ImageSet, function: Any) -> np.ndarray:
    """Mean probabilities of the images that a function makes of every batch: (batches, classes)."""
    mean, std = (torch.tensor(values).double().view(1, 3, 1, 1) for values in (data.mean, data.std))

    exact = copy.deepcopy(teacher).double()

    def ask(images: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(images).double()
        with torch.no_grad():
            return exact((pixels / 255 - mean) / std).softmax(1).numpy()

    source, means = units(Protocol(batch=SIZE), len(data)), []
    for _ in range(BATCHES):
        images = data.images[next(source).batches[0]].numpy().astype(float)
        means.append(ask(function(images)).mean(0))
    return np.array(means)


def roll(batch: Tensor) -> Tensor:
    return 0.5 * batch.float() + 0.5 * batch.roll(1, 0).float()


def test_a_hand_written_mixing_function_has_the_score_of_its_batches(teacher: nn.Module, data: ImageSet) -> None:
    """Not that of the identity, which it is to a single image."""
    result = run(teacher, data, roll, "identity", metrics=["t_stddev_aug", "t_stddev"])
    means = batch_means(teacher, data, lambda x: 0.5 * x + 0.5 * np.roll(x, 1, axis=0))
    wanted = (means.std(0, ddof=1) / np.sqrt(5)).mean()
    assert plugins(result, "t_stddev_aug")["roll"] == pytest.approx(wanted, rel=1e-6)
    assert plugins(result)["roll"] != pytest.approx(plugins(result)["identity"], rel=1e-3)
    (row,) = [row for row in result.scores if row["aug"] == "roll"]
    assert row["metrics"]["t_stddev"]["estimator"] == "units"
    assert row["parameters"][0]["findings"]["mixes"] is True
    assert '"mixes":true' in result.to_json().replace(" ", "")


def test_pipelines_that_normalise_score_as_those_that_do_not(teacher: nn.Module, data: ImageSet) -> None:
    turned = v2.RandomVerticalFlip(1)
    for last in (
        (v2.ToDtype(torch.float32, scale=True),),
        (v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET)),
    ):
        found = plugins(run(teacher, data, v2.Compose([turned, *last]), turned))
        assert found["Compose"] == pytest.approx(found["RandomVerticalFlip"], rel=1e-5)


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_a_function_that_darkens_by_chance_is_scored(teacher: nn.Module, data: ImageSet) -> None:
    assert plugins(run(teacher, data, lambda x: x.float() * torch.rand(1) ** 4))  # a quarter of them below 1/255


class Deaf(nn.Module):
    """A network that makes something of images that are not finite, as those do that clip with a comparison."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.nan_to_num())


def test_nan_and_inf_of_a_function_are_named_with_their_batch_whatever_the_network_makes_of_them(
    teacher: nn.Module, data: ImageSet
) -> None:
    def broken(batch: Tensor) -> Tensor:
        return batch.float() * (float("nan") if torch.rand(1) < 1 / 8 else 1)

    def rare(batch: Tensor) -> Tensor:  # in one image of the data
        return batch.float() + (float("inf") if torch.equal(batch[0], data.images[at]) else 0)

    at = int(next(units(Protocol(batch=SIZE), len(data))).batches[0][0])
    for network in (teacher, Deaf(teacher)):
        with pytest.raises(UsageError, match=r"augmentation .*broken gave NaN or Inf on batch 0$"):
            run(network, data, "flip", broken)
        with pytest.raises(UsageError, match=r"augmentation .*rare gave NaN or Inf on batch 0$"):
            run(network, data, rare)


def test_noise_that_is_not_clipped_is_clipped_and_inf_in_units_of_one_reaches_its_check(
    teacher: nn.Module, data: ImageSet
) -> None:
    def noise(images: Tensor) -> Tensor:
        return images.float() / 255 + 0.1 * torch.randn(images.shape)

    def clipped(images: Tensor) -> Tensor:
        return (images.float() / 255 + 0.1 * torch.randn(images.shape)).clamp(0, 1)

    def divided(images: Tensor) -> Tensor:
        return images.float() / 255 / (torch.rand(1) > 0.1)

    values = [run(teacher, data, function).scores[0]["metrics"]["t_stddev"]["value"] for function in (noise, clipped)]
    assert values[0] == pytest.approx(values[1], rel=0.05)  # random numbers go by the name of the function
    with pytest.raises(UsageError, match=r"augmentation .*divided gave NaN or Inf on batch \d+$"):
        run(teacher, data, divided)


def test_nan_of_a_function_reaches_the_check_through_all_that_follows(
    teacher: nn.Module, data: ImageSet, tmp_path: Path
) -> None:
    """Policies, picks and other functions work on bytes, which know no NaN. Random numbers go by the file's name."""
    file = tmp_path / "augs.py"
    file.write_text(
        "import torch\n"
        "def broken(batch):\n    return batch.float() * (float('nan') if torch.rand(1) < 1 / 8 else 1)\n"
        "def infinite(batch):\n    return batch.float() + (float('inf') if torch.rand(1) < 1 / 8 else 0)\n"
        "def whole(batch):\n    return 255 - batch\n"
    )
    followers = ("autoaugment", "randaugment", f"{file}:whole", "cutmixpick", f"{file}:whole+mixup", "cutout:length=99")
    for own in ("broken", "infinite"):
        for follower in followers:
            with pytest.raises(UsageError, match=rf"augmentation .*:{own}\+.* gave NaN or Inf on batch \d$"):
                run(teacher, data, "flip", f"{file}:{own}+{follower}")
    with pytest.raises(UsageError, match=r"augmentation .*:broken\+.* gave NaN or Inf on batch \d$"):
        run(teacher, data, "flip", base_aug=f"{file}:broken+{file}:whole")
    with pytest.raises(UsageError, match=r"augmentation .*:broken gave NaN or Inf on batch \d$"):
        run(teacher, data, f"{file}:whole", base_aug=f"{file}:broken")


def test_what_was_found_is_said_in_one_line_and_warnings_even_in_silence(
    teacher: nn.Module, data: ImageSet, capsys: pytest.CaptureFixture[str]
) -> None:
    def unseeded(batch: Tensor) -> Tensor:
        return batch // (1 + int(np.random.default_rng().integers(9)))

    augs = (roll, v2.ColorJitter(), unseeded, "cutout:length=99")
    result = run(teacher, data, *augs, quiet=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("augmentation roll mixes images of a batch") == 1
    warnings = [line for line in err.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 3
    assert "ColorJitter changed none of 32 images" in warnings[0]
    assert "unseeded draws random numbers that cannot be seeded" in warnings[1]
    assert "cutout:length=99 left nothing but one colour of 100 % of images" in warnings[2]
    found = {row["aug"]: row["parameters"][0].get("findings") for row in result.scores}
    assert [found[name]["repeats"] for name in found if name.endswith("unseeded")] == [False]
    run(teacher, data, *augs)
    assert capsys.readouterr().err.splitlines() == warnings


def test_a_seed_that_no_generator_takes_is_refused(teacher: nn.Module, data: ImageSet) -> None:
    for seed in (10**5000, 2**64, -(2**50), 1.5, "1"):
        with pytest.raises(UsageError, match="seed is at most"):
            run(teacher, data, "flip", seed=seed)
    assert run(teacher, data, "flip", seed=2**43 - 1).scores
