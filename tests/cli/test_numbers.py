"""The numbers that commands print and decide by."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dametric.base.arguments import speaking
from dametric.base.numbers import with_error
from dametric.base.option_groups import AccuracyOptions
from dametric.data import ImageSet
from dametric.data.request import ImageRequest
from dametric.errors import UsageError
from dametric.models import build, load_checkpoint, save_checkpoint
from dametric.models.accuracy import clean_accuracy, report_accuracy
from dametric.models.loaded import LoadedNetwork, check_classes
from dametric.models.network import Network


@pytest.mark.parametrize(
    ("value", "se", "printed"),
    [
        (0.0137249, 0.00011234, "0.01372 ± 0.00011"),
        (0.0137249, 0.0099, "0.0137 ± 0.0099"),
        (1.25, 0.5, "1.25 ± 0.50"),
        (-0.002, 0.0004, "-0.00200 ± 0.00040"),
        (123.456, 12.3, "123 ± 12"),
        (12345.6, 1234.5, "12346 ± 1234"),
        (0.0, 0.0, "0"),
        (0.25, 0.0, "0.25"),
        (0.25, math.nan, "0.25"),
        (math.nan, 0.1, "nan"),
        (math.inf, 0.1, "nan"),
        (1e-9, 1e-11, "(1.000 ± 0.010)e-9"),
        (9.9999e-6, 1e-8, "(1.0000 ± 0.0010)e-5"),
        (-9.996e-9, 9e-10, "(-1.000 ± 0.090)e-8"),
        (9.996e-9, 5e-11, "(9.996 ± 0.050)e-9"),
        (9.9999996e6, 1e5, "(1.000 ± 0.010)e7"),
        (1.25, 0.0996, "1.25 ± 0.10"),
        (5e-324, 5e-324, "4.94066e-324"),
    ],
)
def test_a_value_is_printed_to_the_second_digit_of_its_error(value: float, se: float, printed: str) -> None:
    assert with_error(value, se) == printed


def test_an_accuracy_says_of_how_many_images_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    data = ImageSet.from_tensors(torch.zeros(2500, 3, 2, 2, dtype=torch.uint8), torch.arange(2500) % 3, split="test")
    teacher = LoadedNetwork(Fixed(), (0.4, 0.5, 0.6), (0.2, 0.3, 0.1), "fixed", "0")
    for given, shown in ((2_000, "2,000 of 2,500"), ("all", "2,500"), (2_500, "2,500"), (1, "1 of 2,500")):
        most = AccuracyOptions(given).most  # type: ignore[arg-type]
        measured = report_accuracy(teacher, data, 3, torch.device("cpu"), torch.float32, False, most)
        line = capsys.readouterr().err.splitlines()
        error = 100 * math.sqrt(measured["top1"] * (1 - measured["top1"]) / measured["images"])
        assert any(f" ± {error:.2f}, loss" in text and f" on {shown} test images" in text for text in line), line


class Fixed(nn.Module):
    """Logits that are a linear function of the mean colours."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 3 * images.mean((2, 3))


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_clean_accuracy_and_loss_are_those_of_a_plain_loop(chunk: int) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8, generator=draw)
    data = ImageSet.from_tensors(images, torch.arange(50) % 3)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    cpu = torch.device("cpu")
    network = Network(Fixed(), mean=mean, std=std, chunk=chunk, dtype=torch.float32, device=cpu)
    top1, loss, count = clean_accuracy(network, data, cpu, quiet=True)
    right, total = 0, 0.0
    for pixels, label in zip(images, data.labels, strict=True):
        channels = [(float(c.double().mean()) / 255 - m) / s for c, m, s in zip(pixels, mean, std, strict=True)]
        logits = [3 * value for value in channels]
        right += logits.index(max(logits)) == int(label)
        total += math.log(sum(math.exp(value) for value in logits)) - logits[int(label)]
    assert count == 50
    assert top1 == right / 50
    assert loss == pytest.approx(total / 50, rel=1e-5)


def test_the_checkpoint_fills_in_what_the_user_left_out(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "t.pth", build("resnet8", 10, 32), arch="resnet8", data="digits", image_size=32)
    checkpoint = load_checkpoint(path)
    assert ImageRequest(quiet=True).of(checkpoint) == ImageRequest(source="digits", image_size=32, quiet=True)
    assert ImageRequest(source="other").of(checkpoint) == ImageRequest(source="other", image_size=32), (
        "it is the teacher's size"
    )
    assert ImageRequest(source="other", image_size=64).of(checkpoint).image_size == 64
    assert ImageRequest(image_size=64).of(checkpoint).image_size == 64


def test_no_data_anywhere_is_one_line_that_says_what_to_give() -> None:
    with pytest.raises(UsageError, match=r"give data, a name .*dametric ls data"):
        ImageRequest().load("train")
    with speaking("command line"), pytest.raises(UsageError, match=r"give --data, a name .*dametric ls data"):
        ImageRequest().load("train")


def test_classes_must_agree_where_they_are_known(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "t.pth", build("resnet8", 10, 32), arch="resnet8")
    checkpoint = load_checkpoint(path)
    images = torch.zeros(20, 3, 32, 32, dtype=torch.uint8)
    check_classes(checkpoint, ImageSet.from_tensors(images, torch.arange(20) % 10))
    check_classes(checkpoint, ImageSet.from_tensors(images))
    few = replace(ImageSet.from_tensors(images, torch.arange(20) % 7), name="seven")
    with pytest.raises(UsageError, match=r"teacher has 10 classes and seven has 7.* or otherwise"):
        check_classes(checkpoint, few, ", or otherwise")
