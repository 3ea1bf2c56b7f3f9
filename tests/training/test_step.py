"""Steps of training in float64 against a plain loop: loss terms, gradients, weights, statistics of batch norm."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric.augment import Augmentation, parse
from dametric.data import ImageSet
from dametric.models.network import Network
from dametric.training import LABELS, Objective, Recipe, Training
from tests.loops import each
from tests.oracles import training as oracle

CPU = torch.device("cpu")
PICKS = [f"cutmixpick:by={by}" for by in ("teacher_entropy", "student_entropy", "kld", "dissimilarity")]
MIXES = ["identity", "mixup", "cutmix", *PICKS]
Make = Callable[..., nn.Module]
Ask = Callable[..., Network]


def recipe(**options: Any) -> Recipe:
    """Batches of 5, 4 to an epoch, a learning rate that is another one at every step."""
    usual = {"epochs": 3, "batch_size": 5, "schedule": "cosine", "dtype": "float64"}
    return Recipe(**{**usual, **options})


def one_by_one(training: Training) -> Iterator[Tensor]:
    """Train step by step to the end of the recipe, yield each step's loss and terms."""
    for step in range(training.recipe.epochs * training.steps):
        training.run_epoch(stop=lambda: True)
        yield training.terms[step % training.steps]


def assert_steps_agree(
    network: Make,
    data: ImageSet,
    options: Recipe,
    teacher: oracle.Teacher | None = None,
    asked: Ask | None = None,
    *,
    steps: int = 5,
    kind: str = "tiny",
    fill: tuple[float, ...] | None = None,
    aug: Augmentation | None = None,
) -> None:
    """Loss, terms, weights and buffers after every step, over the end of an epoch."""
    plain = network(kind).double()
    training = Training(
        network(kind), data, options, CPU, teacher=asked() if asked else None, augmented_mean=fill, aug=aug
    )
    expected = oracle.training(plain, data, options, teacher, fill=fill, aug=aug)
    for step, ours, theirs in zip(range(steps), one_by_one(training), expected, strict=False):
        assert ours.tolist() == pytest.approx(theirs, rel=1e-10, abs=1e-10), step
        reached = training.model.state_dict()
        for name, value in plain.state_dict().items():
            assert reached[name].dtype == value.dtype, name
            assert (reached[name] - value).abs().max() < 1e-10, (step, name)


@each("per", ["sample", "batch"])
@each("aug", MIXES)
def test_published_objective_under_every_mix_is_the_plain_loop(
    aug: str, per: str, network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    assert_steps_agree(network, data, recipe(aug=aug, per=per), teacher, asked)


@each(
    "aug",
    [
        *("flip", "crop+flip", "cutout", "cutout+mixup", "mixup:alpha=0.4:partner=permutation"),
        *("cutmix:partner=derangement", "cutout+cutmixpick:by=kld:runs=3", "crop+cutmixpick:by=dissimilarity:runs=4"),
    ],
)
def test_other_augmentations_and_larger_pools_are_the_plain_loop(
    aug: str, network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    assert_steps_agree(network, data, recipe(aug=aug, seed=3), teacher, asked)


@each("aug", MIXES)
def test_a_joint_batch_is_one_forward_of_both_views(
    aug: str, network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    assert_steps_agree(network, data, recipe(aug=aug, joint_batch=True), teacher, asked)


@each(
    "options",
    [
        {"nesterov": True},
        {"momentum": 0.0},
        {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
        {"weight_decay": 0.0},
        {"lr": 0.2},
        {"schedule": "step", "epochs": 4},
        {"schedule": "onecycle"},
        {"schedule": "onecycle", "epochs": 2, "nesterov": True},
        {"batch_size": 7},
        {"batch_size": 22},
        {"batch_size": 2},
        {"seed": 11},
        {"base_aug": "none"},
        {"base_aug": "flip+cutout"},
        {"label_smoothing": 0.2},
        {"epochs": 1},
    ],
)
def test_every_option_of_a_recipe_is_the_plain_loop_s(
    options: dict[str, Any], network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    chosen = recipe(aug="cutmix", **options)
    steps = 20 if chosen.schedule == "step" else 6
    assert_steps_agree(network, data, chosen, teacher, asked, steps=min(steps, chosen.epochs * (22 // 5)))


OBJECTIVES = {
    "raw": Objective.of("raw"),
    "augmented": Objective.of("augmented"),
    "no-labels": Objective(0.0, 0.4, 1.3),
    "labels-and-augmented": Objective(0.5, 0.0, 2.0, 2.0),
    "divergence-of-raw": Objective(0.0, 1.0, 0.0, 1.0),
    "hot": Objective(1.0, 0.3, 0.7, 20.0),
    "cold": Objective(0.2, 0.5, 0.6, 0.7),
}


@each("aug", ["identity", "mixup", "cutmixpick:by=student_entropy", "cutmixpick:by=dissimilarity"])
@each("objective", OBJECTIVES.values())
def test_every_view_and_weight_is_the_plain_loop_s(
    objective: Objective, aug: str, network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    assert_steps_agree(network, data, recipe(aug=aug, objective=objective), teacher, asked)


@pytest.mark.parametrize("objective", ["raw", "augmented", "labels-and-augmented"])
def test_a_joint_batch_with_less_to_see_is_the_plain_loop_s_too(
    objective: str, network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    chosen = recipe(aug="cutmix", objective=OBJECTIVES[objective], joint_batch=True)
    assert_steps_agree(network, data, chosen, teacher, asked)


@each("smoothing", [0.0, 0.1])
@each("base", ["crop+flip", "none", "crop+flip+cutmix", "mixup", "cutmix+cutout"])
def test_training_by_labels_weighs_the_labels_as_images_are_mixed(
    base: str, smoothing: float, network: Make, data: ImageSet
) -> None:
    assert_steps_agree(network, data, recipe(objective=LABELS, base_aug=base, label_smoothing=smoothing))


def test_the_loader_s_own_augmentation_is_drawn_per_image_in_training_by_labels_too(
    network: Make, data: ImageSet
) -> None:
    assert_steps_agree(network, data, recipe(objective=LABELS, base_aug="flip+cutmix", per="batch"))


@pytest.mark.parametrize("kind", ["plain", "depthwise"])
def test_other_networks_are_trained_as_the_plain_loop_does(
    kind: str, network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    assert_steps_agree(network, data, recipe(aug="mixup", nesterov=True), teacher, asked, kind=kind)


def test_augmentations_fill_with_the_mean_colour_they_are_given(
    network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    assert_steps_agree(network, data, recipe(aug="cutout"), teacher, asked, fill=teacher.mean)


def test_an_augmentation_of_one_s_own_takes_the_recipe_s_place(
    network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    negative = parse(lambda images: 255 - images)
    assert_steps_agree(network, data, recipe(aug="cutmix"), teacher, asked, aug=negative)


def test_three_epochs_end_where_the_plain_loop_ends(
    network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    options = recipe(aug="cutmixpick:by=kld", schedule="step")
    training = Training(network(), data, options, CPU, teacher=asked())
    while training.epoch < options.epochs:
        assert training.run_epoch()
    plain = network().double()
    terms = list(oracle.training(plain, data, options, teacher))
    for name, value in plain.state_dict().items():
        assert (training.model.state_dict()[name] - value).abs().max() < 1e-10, name
    assert training.terms.shape == (4, 4)
    assert (training.terms - torch.tensor(terms[-4:], dtype=torch.float64)).abs().max() < 1e-10
    means = torch.tensor(terms[-4:], dtype=torch.float64).mean(0).tolist()
    assert list(training.losses()) == ["loss", "ce", "kd_raw", "kd_aug"]
    assert list(training.losses().values()) == pytest.approx(means, rel=1e-10)


@pytest.mark.parametrize("aug", ["cutmix", "cutmixpick:by=student_entropy"])
def test_the_gradient_is_the_slope_of_the_plain_loss(
    aug: str, network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask
) -> None:
    """By differences, so that no automatic derivative takes part; which images are picked does not change nearby."""
    options = recipe(aug=aug, lr=1.0, momentum=0.0, weight_decay=0.0)
    training = Training(network(), data, options, CPU, teacher=asked())
    before = copy.deepcopy(training.model)
    training.run_epoch(stop=lambda: True)

    def loss(name: str, entry: tuple[int, ...], change: float) -> float:
        moved = copy.deepcopy(before)
        with torch.no_grad():
            dict(moved.named_parameters())[name][entry] += change
        return next(oracle.training(moved, data, options, teacher))[0]

    after = dict(training.model.named_parameters())
    for name, weight in before.named_parameters():
        gradient = (weight - after[name]).detach()
        entry = tuple(int(i) for i in (gradient.abs() == gradient.abs().max()).nonzero()[0])
        slope = (loss(name, entry, 1e-6) - loss(name, entry, -1e-6)) / 2e-6
        assert float(gradient[entry]) == pytest.approx(slope, rel=1e-4, abs=1e-8), name


def test_picking_leaves_the_statistics_of_batch_norm_to_the_two_forwards(
    network: Make, data: ImageSet, asked: Ask
) -> None:
    for aug in PICKS:
        training = Training(network(), data, recipe(aug=aug), CPU, teacher=asked())
        training.run_epoch()
        counts = [int(value) for name, value in training.model.state_dict().items() if name.endswith("tracked")]
        assert counts == [8, 8], aug  # raw and augmented, four times
        assert training.model.training


def test_raw_images_alone_never_ask_for_augmented_ones(network: Make, data: ImageSet, asked: Ask) -> None:
    def refuse(images: Tensor) -> Tensor:
        raise AssertionError

    options = recipe(objective=Objective.of("raw"))
    assert Training(network(), data, options, CPU, teacher=asked(), aug=parse(refuse)).run_epoch()


@each(
    "other",
    [
        {"aug": "mixup"},
        {"per": "batch"},
        {"base_aug": "flip"},
        {"joint_batch": True},
        {"nesterov": True},
        {"momentum": 0.8},
        {"weight_decay": 1e-3},
        {"label_smoothing": 0.1},
        {"lr": 0.06},
        {"schedule": "onecycle"},
        {"seed": 1},
        {"objective": Objective(temperature=3.0)},
        {"objective": Objective(ce=0.2)},
        {"objective": Objective(raw=0.8)},
        {"objective": Objective(aug=0.8)},
    ],
)
def test_every_option_matters(other: dict[str, Any], network: Make, data: ImageSet, asked: Ask) -> None:
    """Otherwise agreement with the plain loop would say nothing of it."""
    ends = []
    usual = recipe(aug="cutmix", epochs=1)
    for options in (usual, replace(usual, **other)):
        training = Training(network(), data, options, CPU, teacher=asked())
        training.run_epoch()
        ends.append(training.model[0].weight.detach())
    assert (ends[0] - ends[1]).abs().max() > 1e-6
