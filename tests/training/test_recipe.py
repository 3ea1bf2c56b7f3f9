"""Learning rates against published epochs, closed forms and torch's own schedule; what a recipe refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dametric.errors import UsageError
from dametric.models.registry import MODELS
from dametric.training import LABELS, Objective, Recipe, default_rate, learning_rate
from tests.loops import each

NAN, INF = math.nan, math.inf
TOTALS = [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (2, 2), (1, 4), (5, 1), (10, 1), (4, 5), (3, 67), (20, 17)]


def rates(recipe: Recipe, per_epoch: int) -> list[float]:
    return [learning_rate(recipe, step, per_epoch) for step in range(recipe.epochs * per_epoch)]


@each("per_epoch", [1, 3])
def test_step_schedule_is_the_published_one(per_epoch: int) -> None:
    published = [0.05] * 150 + [0.005] * 30 + [0.0005] * 30 + [0.00005] * 30
    expected = [rate for rate in published for _ in range(per_epoch)]
    assert rates(Recipe(), per_epoch) == pytest.approx(expected, rel=1e-12)


@each(
    ("epochs", "drops"),
    [
        (480, (300, 360, 420)),
        (960, (600, 720, 840)),
        (24, (15, 18, 21)),
        (10, (7, 8, 9)),  # 6.25, 7.5 and 8.75 are passed there
        (8, (5, 6, 7)),
        (5, (4, 4, 5)),
        (2, (2, 2, 2)),
        (1, (1, 1, 1)),
    ],
)
def test_step_schedule_falls_at_the_same_fractions_of_other_trainings(epochs: int, drops: tuple[int, ...]) -> None:
    expected = [0.3 * 0.1 ** sum(epoch >= drop for drop in drops) for epoch in range(epochs) for _ in range(2)]
    assert rates(Recipe(epochs=epochs, lr=0.3), 2) == pytest.approx(expected, rel=1e-12)


@each(("epochs", "per_epoch"), TOTALS)
def test_cosine_schedule_is_half_a_cosine(epochs: int, per_epoch: int) -> None:
    total = epochs * per_epoch
    expected = [0.2 * math.cos(math.pi / 2 * step / total) ** 2 for step in range(total)]
    found = rates(Recipe(epochs=epochs, lr=0.2, schedule="cosine"), per_epoch)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[0] == 0.2


@each(("epochs", "per_epoch"), TOTALS)
def test_one_cycle_schedule_is_torch_s(epochs: int, per_epoch: int) -> None:
    total = epochs * per_epoch
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        *(optimizer, 0.7, total),
        pct_start=0.3,
        div_factor=25.0,
        final_div_factor=1e4,
        anneal_strategy="cos",
        cycle_momentum=False,
    )
    expected = []
    for step in range(total):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        if step + 1 < total:
            theirs.step()
    found = rates(Recipe(epochs=epochs, lr=0.7, schedule="onecycle"), per_epoch)
    assert found == pytest.approx(expected, rel=1e-9)


def test_one_cycle_schedule_is_its_closed_form() -> None:
    found = rates(Recipe(epochs=10, lr=0.5, schedule="onecycle"), 10)
    up = [0.02 + 0.48 * (1 - math.cos(math.pi * step / 29)) / 2 for step in range(30)]
    down = [2e-6 + (0.5 - 2e-6) * (1 + math.cos(math.pi * (step - 29) / 70)) / 2 for step in range(30, 100)]
    assert found == pytest.approx(up + down, rel=1e-9)
    assert found[29] == max(found) == pytest.approx(0.5, rel=1e-12)


@each("schedule", ["cosine", "onecycle"])
def test_smooth_schedules_know_only_the_total_of_steps(schedule: Any) -> None:
    first, second = (Recipe(epochs=epochs, schedule=schedule) for epochs in (6, 4))
    assert rates(first, 10) == rates(second, 15)


@each("arch", [*MODELS, "./nets.py:mine", "Sequential", ""])
def test_published_rate_is_smaller_for_mobilenets_and_shufflenets(arch: str) -> None:
    assert default_rate(arch) == (0.01 if arch in ("MobileNetV2", "ShuffleV1", "ShuffleV2") else 0.05)


def test_defaults_are_the_published_training() -> None:
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.schedule) == (240, 64, 0.05, "step")
    assert (recipe.momentum, recipe.weight_decay, recipe.nesterov) == (0.9, 5e-4, False)
    assert (recipe.base_aug, recipe.aug, recipe.per, recipe.label_smoothing) == ("crop+flip", "identity", "sample", 0)
    assert recipe.objective == Objective(0.1, 0.9, 0.9, 4.0)
    assert (recipe.joint_batch, recipe.dtype, recipe.seed) == (False, "float32", 0)


@each(
    ("views", "weights", "sees"),
    [
        ("both", (0.1, 0.9, 0.9), (True, True)),
        ("augmented", (0.0, 0.0, 0.9), (False, True)),
        ("raw", (0.1, 0.9, 0.0), (True, False)),
    ],
)
def test_published_weights_follow_what_is_to_be_seen(
    views: Any, weights: tuple[float, ...], sees: tuple[bool, bool]
) -> None:
    objective = Objective.of(views)
    assert objective == Objective(*weights, 4.0)
    assert (objective.sees_raw, objective.sees_augmented) == sees
    assert objective.needs_teacher


def test_weights_that_are_given_take_the_place_of_the_published_ones() -> None:
    assert Objective.of(ce=0.0, aug=2.0, temperature=1.5) == Objective(0.0, 0.9, 2.0, 1.5)
    assert Objective.of("augmented", aug=0.3, ce=0.0) == Objective(0.0, 0.0, 0.3)
    assert Objective.of("raw", raw=0.0) == Objective(0.1, 0.0, 0.0)


def test_labels_alone_ask_no_teacher_and_see_raw_images() -> None:
    assert (LABELS.ce, LABELS.raw, LABELS.aug) == (1.0, 0.0, 0.0)
    assert (LABELS.sees_raw, LABELS.sees_augmented, LABELS.needs_teacher) == (True, False, False)


@each(
    ("weights", "views"),
    [
        ((1, 0, 0), (True, False, False)),
        ((0, 1, 0), (True, False, True)),
        ((0, 0, 1), (False, True, True)),
        ((1, 0, 1), (True, True, True)),
    ],
)
def test_weights_say_what_is_seen_and_asked(weights: tuple[float, ...], views: tuple[bool, ...]) -> None:
    objective = Objective(*weights)
    assert (objective.sees_raw, objective.sees_augmented, objective.needs_teacher) == views


@each(
    ("options", "message"),
    [
        *(({name: bad}, f"the weight {name} of the loss") for name in ("ce", "raw", "aug") for bad in (-0.1, NAN, INF)),
        ({"ce": 0, "raw": 0, "aug": 0}, "nothing would be learnt"),
        *(({"temperature": bad}, "temperature must be positive and finite") for bad in (0, -1, NAN, INF)),
    ],
)
def test_impossible_objectives_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Objective(**options)


def test_impossible_views_are_refused() -> None:
    for options, message in (
        ({"views": "all"}, "unknown value of views 'all'"),
        ({"views": "augmented", "ce": 0.1}, r"ce_weight=0\.1 asks for images that views='augmented' leaves out"),
        ({"views": "augmented", "raw": 1}, "raw_weight=1 asks for images that views='augmented' leaves out"),
        ({"views": "raw", "aug": 0.9}, r"aug_weight=0\.9 asks for images that views='raw' leaves out"),
        ({"ce": -1.0}, "the weight ce of the loss"),
        ({"ce": 0, "raw": 0, "aug": 0}, "nothing would be learnt"),
        ({"views": "augmented", "aug": 0}, "nothing would be learnt"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ):
        with pytest.raises(UsageError, match=message):
            Objective.of(**options)  # type: ignore[arg-type]


def test_impossible_recipes_are_refused() -> None:
    for options, message in (
        *(({"epochs": bad}, f"epochs is a whole number from 1 up, not {bad}") for bad in (0, -3)),
        ({"epochs": 1.5}, "epochs is a whole number, not 1.5"),
        ({"batch_size": 2.5}, "batch_size is a whole number, not 2.5"),
        *(({"seed": bad}, "seed is a whole number|seed is at most") for bad in (0.5, -1, 2**31)),
        *(({"batch_size": bad}, f"batch_size is a whole number from 2 up, not {bad}") for bad in (1, 0, -64)),
        *(({"lr": bad}, "lr is a number above 0, not") for bad in (0.0, -0.1, NAN, INF)),
        *(({"momentum": bad}, "momentum is a number from 0 up and below 1, not") for bad in (-0.1, 1.0, NAN)),
        *(({"label_smoothing": bad}, "label_smoothing is a number from 0 up and below 1") for bad in (-0.1, 1.0, NAN)),
        *(({"weight_decay": bad}, "weight_decay is a number from 0 up, not") for bad in (-1e-9, NAN, INF)),
        ({"nesterov": True, "momentum": 0.0}, "Nesterov's momentum needs a momentum above zero"),
        ({"schedule": "cosin"}, "unknown value of schedule 'cosin': did you mean cosine"),
        ({"per": "image"}, "unknown value of per 'image'"),
        ({"dtype": "float16"}, "unknown dtype 'float16': did you mean"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
    ):
        with pytest.raises(UsageError, match=message):
            Recipe(**options)


@each(
    "options",
    [
        {"epochs": 1, "batch_size": 2, "lr": 1e-12, "momentum": 0.0, "weight_decay": 0.0},
        {"momentum": 0.999, "label_smoothing": 0.999, "nesterov": True, "lr": 1e30},
        *({"schedule": schedule} for schedule in ("step", "cosine", "onecycle")),
        *({"dtype": dtype} for dtype in ("float32", "bfloat16", "float64")),
        *({"per": per} for per in ("sample", "batch")),
    ],
)
def test_recipes_at_the_edge_of_what_is_possible_are_taken(options: dict[str, Any]) -> None:
    recipe = Recipe(**options)
    assert all(getattr(recipe, name) == value for name, value in options.items())
