"""Teachers and students as people write them, and images that are not finite: what is learnt, and what is said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric import distill
from dametric.augment import ImageSpec, parse
from dametric.data import ImageSet
from dametric.training import LABELS, Objective, Recipe, Teacher, Training, TrainingContext
from dametric.training.trainer import DivergedError

CPU = torch.device("cpu")
Make = Callable[..., nn.Module]
RECIPE = Recipe(epochs=2, batch_size=5, schedule="onecycle", aug="cutmixpick:by=student_entropy")
BY_LABELS = replace(RECIPE, objective=LABELS, base_aug="flip", aug="identity")


class Answers(nn.Module):
    """The layers of a network, and what is made of their maps and of their logits."""

    def __init__(self, layers: nn.Module, how: str) -> None:
        super().__init__()
        *body, flatten, last = layers
        self.body, self.flatten, self.last, self.how = nn.Sequential(*body), flatten, last, how

    def forward(self, images: Tensor) -> Any:
        maps = self.body(images)
        features = maps.view(maps.size(0), -1) if self.how == "view" else self.flatten(maps)
        logits = self.last(features)
        if self.how == "aux in training":
            return (features, logits) if self.training else logits
        answers = {"dict": {"features": features, "out": logits}, "softmax": logits.softmax(1)}
        return answers.get(self.how, logits)


def learnt(model: nn.Module, data: ImageSet, teacher: nn.Module | None = None, **options: Any) -> Training:
    recipe = replace(RECIPE if teacher else BY_LABELS, **options)
    asked = None
    if teacher is not None:
        asked = TrainingContext(data, data, CPU, Teacher.of(teacher, data)).network("float32", 5)
    training = Training(model, data, recipe, CPU, teacher=asked)
    while not training.over:
        training.run_epoch()
    return training


@pytest.mark.parametrize("how", ["view", "dict", "softmax", "aux in training"])
def test_students_learn_what_plain_ones_learn(how: str, network: Make, data: ImageSet) -> None:
    teacher = network("tiny", 5)
    for of in (None, teacher):
        plain = learnt(Answers(network(), "plain"), data, of)
        ours = learnt(Answers(network(), how), data, of)
        if how in ("view", "softmax"):  # computed in another order
            torch.testing.assert_close(ours.terms, plain.terms, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(ours.terms, plain.terms)


@pytest.mark.parametrize("how", ["view", "dict", "softmax"])
def test_teachers_teach_what_plain_ones_teach(how: str, network: Make, data: ImageSet) -> None:
    plain = learnt(network("tiny", 2), data, Answers(network(), "plain"))
    ours = learnt(network("tiny", 2), data, Answers(network(), how))
    torch.testing.assert_close(ours.terms, plain.terms, rtol=1e-3, atol=1e-5)
    expected = TrainingContext(data, data, CPU, Teacher.of(Answers(network(), "plain"), data)).teacher_logits
    found = TrainingContext(data, data, CPU, Teacher.of(Answers(network(), how), data)).teacher_logits
    assert expected is not None
    assert found is not None
    torch.testing.assert_close(found.softmax(1), expected.softmax(1), rtol=1e-4, atol=1e-6)


def test_what_was_guessed_is_said_and_recorded(
    network: Make, data: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"epochs": 1, "batch_size": 5, "out": tmp_path, "base_aug": "flip", "dtype": "float32"}
    student, teacher = Answers(network(), "dict"), Answers(network("tiny", 5), "softmax")
    done = distill(teacher, student, (data, replace(data, split="test")), "flip", **options)
    said = capsys.readouterr().err
    for line in (
        "student: returns a dict of 'features' (8, 32), 'out' (8, 7): 'out' is taken as logits, of shape (8, 7)\n",
        "teacher: these are probabilities (rows that sum to one), of which the logarithm is taken\n",
    ):
        assert said.count(line) == 1
        assert line.strip() in json.loads((done.folder / "record.json").read_text())["about"]["guessed"]
    assert done.record["config"]["teacher"]["output"] == "probabilities"  # other targets, other runs
    distill(network("tiny", 5), network(), (data, replace(data, split="test")), "flip", **options)
    assert "taken" not in capsys.readouterr().err


def test_runs_of_a_time_when_probabilities_were_taken_for_logits_are_learnt_again(
    network: Make, data: ImageSet, tmp_path: Path
) -> None:
    """Under the id that they have, so that no ledger holds both; of other students nothing is."""
    options: dict[str, Any] = {"epochs": 1, "batch_size": 5, "base_aug": "flip", "dtype": "float32", "quiet": True}

    def learn(how: str, folder: Path) -> Any:
        return distill(network("tiny", 5), Answers(network(), how), (data, data), "flip", out=folder, **options)

    for how, again in (("softmax", True), ("plain", False), ("dict", False)):
        for status in ("finished", "interrupted"):
            right = learn(how, tmp_path / how)
            file = right.folder / "record.json"
            record = json.loads(file.read_text())
            record["status"], record["last"]["test_loss"] = status, 99.0
            record["about"].pop("guessed", None)
            file.write_text(json.dumps(record))
            (right.folder / "last.pt").write_bytes((learn("dict", tmp_path / "other").folder / "last.pt").read_bytes())
            found = learn(how, tmp_path / how)
            assert found.folder == right.folder
            if again:
                assert found.record["last"]["test_loss"] == right.record["last"]["test_loss"]
                assert found.record["about"]["guessed"] == right.record["about"]["guessed"] != []
            elif status == "finished":
                assert found.record["last"]["test_loss"] == 99.0


def broken(images: Tensor) -> Tensor:
    """Every image where one pixel is bright."""
    return torch.where(images.amax((1, 2, 3), keepdim=True) > 250, math.nan, images.float())


@pytest.fixture
def one_bright(data: ImageSet) -> ImageSet:
    images = data.images.clamp(max=200)
    images[4, 2, 2, 3] = 255
    return ImageSet.from_tensors(images, data.labels, mean=data.mean, std=data.std)


def step_of(training: Training, image: int) -> int:
    """The step of the first epoch that shows an image, from 1 on."""
    return next(step for step, index in enumerate(training.batches(4), 1) if image in index.tolist())


def test_pixels_that_are_not_finite_are_named_with_their_augmentation_and_step(
    network: Make, one_bright: ImageSet
) -> None:
    """By a teacher and a student that would hide them, as fused kernels do."""

    class Hides(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images.nan_to_num())

    recipe = replace(RECIPE, base_aug="identity")
    for objective in (Objective.of("both"), Objective.of("augmented")):
        teacher = TrainingContext(one_bright, one_bright, CPU, Teacher.of(network("tiny", 5), one_bright))
        asked = teacher.network("float32", 5)
        aug = parse(broken, ImageSpec(one_bright.image_size, one_bright.mean))
        options: dict[str, Any] = {"teacher": asked, "aug": aug}
        training = Training(Hides(network()), one_bright, replace(recipe, objective=objective), CPU, **options)
        where = f"in epoch 1, step {step_of(training, 4)} of 4"
        with pytest.raises(DivergedError, match=f"augmentation broken gave NaN or Inf {where}: mend") as caught:
            training.run_epoch()
        assert "learning rate" not in str(caught.value)


def test_a_teacher_that_is_not_finite_is_not_blamed_on_the_learning_rate(network: Make, one_bright: ImageSet) -> None:
    class Breaks(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> Tensor:
            return torch.where(images.amax((1, 2, 3))[:, None] > 2.2, math.inf, self.inner(images))

    teacher = TrainingContext(one_bright, one_bright, CPU, Teacher.of(Breaks(network("tiny", 5)), one_bright))
    recipe = replace(RECIPE, base_aug="identity", aug="flip")
    training = Training(network(), one_bright, recipe, CPU, teacher=teacher.network("float32", 5))
    where = rf"step {step_of(training, 4)} of 4: try dtype float32"
    with pytest.raises(DivergedError, match=rf"what the teacher says of images under flip is not finite .*{where}"):
        training.run_epoch()
