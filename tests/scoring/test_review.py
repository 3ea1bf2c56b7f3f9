"""Cases that a reading of the whole code brought up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import dametric.scoring.engine as engine_module
from dametric import ImageSet, score


class Linear(nn.Module):
    """Logits that are linear in the mean colours."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.layer = nn.Linear(3, classes)
        with torch.no_grad():
            self.layer.weight.copy_(torch.linspace(-2, 2, 3 * classes).view(classes, 3))
            self.layer.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.mean((2, 3)))


def images(count: int) -> ImageSet:
    draw = torch.Generator().manual_seed(0)
    return ImageSet.from_tensors(torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=draw))


def run(data: ImageSet, augs: list[str] | str, **options):
    options = {"batch_size": 4, "batches": 6, "dtype": torch.float32, "device": "cpu", "quiet": True, **options}
    return score(Linear(), data, augs, **options)


def test_more_epochs_than_blocks_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of different epochs are not added up, so very many epochs need more blocks, not more time."""
    monkeypatch.setattr(engine_module, "MAX_BLOCKS", 4)
    few = run(images(8), "cutmix", per="batch", batches=60, metrics=["t_stddev_aug"])
    monkeypatch.setattr(engine_module, "MAX_BLOCKS", 512)
    many = run(images(8), "cutmix", per="batch", batches=60, metrics=["t_stddev_aug"])
    plugins = [result.scores[0]["metrics"]["t_stddev_aug"]["plugin"] for result in (few, many)]
    assert plugins[0] == pytest.approx(plugins[1], rel=1e-12)


def test_a_student_is_normalised_as_it_was_trained() -> None:
    """A student whose own mean and deviation undo the difference of its weights is the teacher again."""
    data = images(64)
    teacher, half = Linear(), Linear()
    with torch.no_grad():
        half.layer.weight.mul_(0.5)
    common = {"batch_size": 8, "batches": 4, "metrics": ["ce_mean"], "quiet": True, "dtype": torch.float64}
    common |= {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    own = score(teacher, data, "flip", student=half, student_std=(0.1, 0.1, 0.1), **common)
    same = score(teacher, data, "flip", student=teacher, **common)
    other = score(teacher, data, "flip", student=half, **common)
    value, wanted, wrong = (r.scores[0]["metrics"]["ce_mean"]["value"] for r in (own, same, other))
    assert value == pytest.approx(wanted, rel=1e-10)
    assert wrong != pytest.approx(wanted, rel=1e-3)
    assert own.config["student_std"] == [0.1, 0.1, 0.1]


def test_a_function_that_rescales_to_0_1_scores_as_the_pixels_it_means() -> None:
    scores = run(images(16), [lambda batch: batch.float() / 255, "identity"]).scores
    values = [row["metrics"]["t_stddev"]["plugin"] for row in scores]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_none_is_a_word_for_no_augmentation_of_the_loader() -> None:
    none, identity = (run(images(32), "flip", base_aug=word).scores for word in ("none", "identity"))
    assert none == identity


def test_every_pair_has_its_difference() -> None:
    rows = {row["aug"]: row for row in run(images(64), ["flip", "cutmix", "identity"], batch_size=8).scores}
    for one, row in rows.items():
        assert row["differences"][one]["value"] == row["differences"][one]["se"] == 0
        for other in rows:
            there, back = row["differences"][other], rows[other]["differences"][one]
            assert there["value"] == pytest.approx(-back["value"], abs=1e-15)
            assert there["se"] == pytest.approx(back["se"], abs=1e-15)


def test_two_functions_with_different_sources_leave_different_records() -> None:
    def one(batch: Tensor) -> Tensor:
        return batch.flip(-1)

    def two(batch: Tensor) -> Tensor:
        return batch.flip(-2)

    rows = run(images(16), [one, two]).scores
    hashes = {row["parameters"][0]["function"]["source_sha256"] for row in rows}
    assert len(hashes) == 2
