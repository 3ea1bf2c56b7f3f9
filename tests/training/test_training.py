"""A whole training: what it learns, that it can be repeated and interrupted, what it refuses and leaves alone."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.models.network import Network
from dametric.training import LABELS, Objective, Recipe, Training, TrainingContext
from dametric.training.trainer import DivergedError
from tests.oracles import training as oracle

CPU = torch.device("cpu")
Make = Callable[..., nn.Module]
Ask = Callable[..., Network]
RECIPE = Recipe(epochs=3, batch_size=5, schedule="onecycle", aug="cutmixpick:by=student_entropy")
BY_LABELS = replace(RECIPE, objective=LABELS, base_aug="crop+flip+mixup")


def finished(training: Training) -> Training:
    while training.epoch < training.recipe.epochs:
        assert training.run_epoch()
    return training


def one_step(training: Training) -> bool:
    return training.run_epoch(stop=lambda: True)


def assert_same_bits(ours: Training, theirs: Training) -> None:
    assert (ours.epoch, ours.step) == (theirs.epoch, theirs.step)
    assert torch.equal(ours.terms, theirs.terms)
    first, second = ours.model.state_dict(), theirs.model.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def differ(ours: Training, theirs: Training) -> bool:
    first, second = ours.model.state_dict(), theirs.model.state_dict()
    return any(not torch.equal(value, second[name]) for name, value in first.items())


# What it learns


@pytest.fixture(scope="module")
def sixty_four() -> ImageSet:
    """Random images and labels that have nothing to do with each other: they can only be learnt by heart."""
    draw = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=draw)
    return ImageSet.from_tensors(images, torch.randint(0, 7, (64,), generator=draw))


def wide(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(512, 7)),
        )


def plain_logits(model: nn.Module, data: ImageSet) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).double().eval()(oracle.normalised(data.images, data.mean, data.std))


def test_labels_of_a_few_images_are_learnt_by_heart(sixty_four: ImageSet) -> None:
    options = Recipe(epochs=30, batch_size=16, objective=LABELS, base_aug="identity", schedule="onecycle")
    training = Training(wide(0), sixty_four, options, CPU)
    training.run_epoch()
    first = training.losses()["loss"]
    finished(training)
    assert training.losses()["loss"] < 0.05 < 1 < first
    assert torch.equal(plain_logits(training.model, sixty_four).argmax(1), sixty_four.labels)


@pytest.mark.parametrize("views", ["both", "augmented", "raw"])
def test_a_student_comes_to_say_what_its_teacher_says(views: Any, sixty_four: ImageSet) -> None:
    """Its teacher is wrong about most images, and sees them normalised in a way of its own."""
    module, mean, std = wide(1), (0.4, 0.5, 0.6), (0.3, 0.3, 0.2)
    for _ in range(20):
        module(oracle.normalised(sixty_four.images, mean, std).float())
    module[-1].weight.data.mul_(4)
    module.eval()
    teacher = Network(module, mean=mean, std=std, chunk=64, dtype=torch.float32, device=CPU)
    options = Recipe(
        epochs=40,
        batch_size=16,
        objective=Objective.of(views, ce=0.0),
        base_aug="identity",
        aug="flip",
        schedule="onecycle",
    )
    training = finished(Training(wide(2), sixty_four, options, CPU, teacher=teacher))
    ours = plain_logits(training.model, sixty_four).argmax(1)
    with torch.no_grad():
        theirs = module(oracle.normalised(sixty_four.images, mean, std).float()).argmax(1)
    assert float((theirs == sixty_four.labels).float().mean()) < 0.5
    assert float((ours == theirs).float().mean()) > 0.95


# The same again


@pytest.mark.parametrize("kind", ["tiny", "dropout", "depthwise"])
def test_one_seed_gives_one_network_to_the_bit(kind: str, network: Make, data: ImageSet, asked: Ask) -> None:
    first, second = (Training(network(kind), data, RECIPE, CPU, teacher=asked(torch.float32)) for _ in range(2))
    finished(first)
    torch.manual_seed(123)  # the process's own random state plays no part
    assert_same_bits(first, finished(second))


@pytest.mark.parametrize("options", [RECIPE, BY_LABELS, replace(BY_LABELS, base_aug="identity")])
def test_another_seed_gives_another_network(options: Recipe, network: Make, data: ImageSet, asked: Ask) -> None:
    first, second = (
        Training(network(), data, replace(options, epochs=1, seed=seed), CPU, teacher=asked(torch.float32))
        for seed in (0, 1)
    )
    assert differ(finished(first), finished(second))


def test_images_come_in_another_order_in_every_epoch_each_once(network: Make) -> None:
    """Every image is of one colour, so that what the network is shown says which one it is."""
    colours = torch.arange(23, dtype=torch.uint8) * 11
    data = ImageSet.from_tensors(
        colours.view(23, 1, 1, 1).expand(23, 3, 8, 8).clone(), [0, 1] * 11 + [0], mean=(0, 0, 0), std=(1, 1, 1)
    )
    shown: list[int] = []
    model = network("plain")
    model.register_forward_pre_hook(lambda _, images: shown.extend((images[0][:, 0, 0, 0] * 255 / 11).round().tolist()))
    training = Training(model, data, replace(BY_LABELS, base_aug="flip", epochs=4), CPU)
    shown.clear()
    finished(training)
    epochs = [shown[20 * epoch : 20 * epoch + 20] for epoch in range(4)]
    assert len(shown) == 80
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert len({frozenset(epoch) for epoch in epochs}) > 1, "it is not always the same three that are left out"


def test_dropout_leaves_out_other_features_at_every_step(network: Make, data: ImageSet) -> None:
    masks: list[Tensor] = []
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 7))
    model[1].register_forward_hook(lambda _, images, out: masks.append(out[images[0] != 0] != 0))
    constant = replace(data, images=torch.full_like(data.images, 200))
    training = Training(model, constant, replace(BY_LABELS, base_aug="identity"), CPU)
    masks.clear()
    finished(training)
    assert len(masks) == 12
    assert len({tuple(mask.tolist()) for mask in masks}) == 12


# Interrupted


class Every:
    """Says stop after every so many steps of a training."""

    def __init__(self, steps: int) -> None:
        self.steps, self.asked = steps, 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked % self.steps == 0


def continued(training: Training, fresh: Callable[[], Training]) -> Training:
    """As another process would go on, from files."""
    file = io.BytesIO()
    torch.save({"model": training.model.state_dict(), "state": training.state()}, file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    other = fresh()
    other.model.load_state_dict(kept["model"])
    other.restore(kept["state"])
    return other


@pytest.mark.parametrize("kind", ["tiny", "dropout", "depthwise"])
@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_an_interrupted_training_ends_at_the_same_bits(
    every: int, kind: str, network: Make, data: ImageSet, asked: Ask
) -> None:
    def fresh(seed: int = 9) -> Training:
        return Training(network(kind, seed), data, RECIPE, CPU, teacher=asked(torch.float32))

    whole, parts, stop, stops = finished(fresh(1)), fresh(1), Every(every), 0
    while parts.epoch < RECIPE.epochs:
        if not parts.run_epoch(stop):
            stops += 1
            parts = continued(parts, fresh)
    assert stops == 9 // every, "it is not asked at the end of an epoch"
    assert_same_bits(parts, whole)
    assert parts.losses() == whole.losses()


@pytest.mark.parametrize(
    "options",
    [
        replace(BY_LABELS, nesterov=True),
        replace(BY_LABELS, momentum=0.0),
        replace(RECIPE, dtype="float64", joint_batch=True),
        replace(RECIPE, dtype="bfloat16", aug="mixup", per="batch"),
    ],
    ids=["nesterov", "no-momentum", "float64", "bfloat16"],
)
def test_every_kind_of_training_can_be_interrupted(options: Recipe, network: Make, data: ImageSet, asked: Ask) -> None:
    def fresh(seed: int = 9) -> Training:
        return Training(network("tiny", seed), data, options, CPU, teacher=asked(getattr(torch, options.dtype)))

    whole, parts = finished(fresh(1)), fresh(1)
    while parts.epoch < options.epochs:
        one_step(parts)
        parts = continued(parts, fresh)
    assert not differ(parts, whole)


def test_a_training_that_goes_on_by_itself_ends_at_the_same_bits(network: Make, data: ImageSet, asked: Ask) -> None:
    whole, parts = (Training(network("dropout"), data, RECIPE, CPU, teacher=asked(torch.float32)) for _ in range(2))
    finished(whole)
    told = [one_step(parts) for _ in range(12)]
    assert told == [False, False, False, True] * 3
    assert_same_bits(parts, whole)


def test_what_was_kept_does_not_change_when_training_goes_on(network: Make, data: ImageSet) -> None:
    training = Training(network(), data, BY_LABELS, CPU)
    one_step(training)
    one_step(training)
    weights, state = copy.deepcopy(training.model.state_dict()), training.state()
    finished(training)
    other = Training(network(seed=4), data, BY_LABELS, CPU)
    other.model.load_state_dict(weights)
    other.restore(state)
    assert (other.epoch, other.step) == (0, 2)
    assert_same_bits(finished(other), training)


def test_progress_is_told_in_parts_of_an_epoch(network: Make, data: ImageSet) -> None:
    told: list[float] = []
    training = Training(network(), data, BY_LABELS, CPU)
    training.run_epoch(stop=lambda: True, advance=lambda steps=1, note="": told.append(steps))
    assert told == [0.25]
    training.run_epoch(advance=lambda steps=1, note="": told.append(steps))
    assert told == [0.25] * 4


# Diverged


def spoil(training: Training) -> None:
    with torch.no_grad():
        next(iter(training.model.parameters())).fill_(torch.nan)


def test_weights_that_are_not_numbers_are_noticed_in_the_first_step(network: Make, data: ImageSet) -> None:
    training = Training(network(), data, BY_LABELS, CPU)
    spoil(training)
    with pytest.raises(DivergedError, match=r"not finite in epoch 1, step 1 of 4: .*smaller learning rate than 0\.05"):
        training.run_epoch()


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6])
def test_epoch_and_step_of_the_first_bad_loss_are_named(steps: int, network: Make, data: ImageSet) -> None:
    training = Training(network(), data, BY_LABELS, CPU)
    for _ in range(steps):
        one_step(training)
    spoil(training)
    with pytest.raises(DivergedError, match=f"epoch {steps // 4 + 1}, step {steps % 4 + 1} of 4"):
        training.run_epoch()


def test_a_bad_loss_is_noticed_before_stopping(network: Make, data: ImageSet) -> None:
    training = Training(network(), data, BY_LABELS, CPU)
    spoil(training)
    with pytest.raises(DivergedError, match="epoch 1, step 1 of 4"):
        one_step(training)


def test_the_first_bad_step_of_a_long_epoch_is_named(network: Make) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (400, 3, 8, 8), dtype=torch.uint8, generator=draw)
    training = Training(
        network("plain"),
        ImageSet.from_tensors(images, torch.arange(400) % 7),
        Recipe(epochs=1, batch_size=2, objective=LABELS, base_aug="identity"),
        CPU,
    )
    assert not training.run_epoch(stop=Every(77))
    spoil(training)
    with pytest.raises(DivergedError, match="epoch 1, step 78 of 200"):
        training.run_epoch()


@pytest.mark.parametrize("options", [RECIPE, BY_LABELS])
def test_a_wild_learning_rate_is_caught_in_the_second_step(
    options: Recipe, network: Make, data: ImageSet, asked: Ask
) -> None:
    wild = replace(options, lr=1e30, schedule="step")
    training = Training(network("plain"), data, wild, CPU, teacher=asked(torch.float32))
    with pytest.raises(DivergedError, match=r"epoch 1, step 2 of 4: .* than 1e\+30"):
        training.run_epoch()


# Refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 23}, "22 images are fewer than one batch of 23: use a smaller batch size"),
        ({"base_aug": "mixup"}, "base_aug='mixup': the loader's own augmentation cannot mix images"),
        ({"base_aug": "crop+cutmix"}, "cannot mix images"),
        ({"base_aug": "cutmixpick"}, "cutmixpick cannot be the base augmentation"),
        ({"objective": LABELS, "base_aug": "cutmixpick"}, "there is nothing yet to pick by"),
        ({"objective": LABELS, "base_aug": "flip+cutmixpick:by=kld"}, "there is nothing yet to pick by"),
        ({"aug": "mixup+cutmix"}, "only one of mixup, cutmix and cutmixpick"),
        ({"aug": "cutmx"}, "unknown augmentation 'cutmx': did you mean cutmix"),
        ({"base_aug": "crap"}, "unknown augmentation 'crap'"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    options: dict[str, Any], message: str, network: Make, data: ImageSet, asked: Ask
) -> None:
    with pytest.raises(UsageError, match=message):
        Training(network(), data, replace(RECIPE, **options), CPU, teacher=asked(torch.float32))


@pytest.mark.parametrize("objective", [Objective(), *(Objective.of(views) for views in ("raw", "augmented"))])
def test_an_objective_that_asks_a_teacher_needs_one(objective: Objective, network: Make, data: ImageSet) -> None:
    with pytest.raises(UsageError, match="this objective needs a teacher"):
        Training(network(), data, replace(RECIPE, objective=objective), CPU)


def test_images_without_labels_are_refused(network: Make, data: ImageSet) -> None:
    bare = ImageSet.from_tensors(data.images)
    with pytest.raises(UsageError, match="label"):
        Training(network(), bare, BY_LABELS, CPU)


def test_a_setting_refuses_images_that_do_not_fit(data: ImageSet) -> None:
    bare = ImageSet.from_tensors(data.images)
    for train, test in ((bare, data), (data, bare), (bare, bare)):
        with pytest.raises(UsageError, match="labelled images"):
            TrainingContext(train, test, CPU)
    fewer = ImageSet.from_tensors(data.images, data.labels.clamp(max=5))
    smaller = ImageSet.from_tensors(data.images[:, :, :6, :6].contiguous(), data.labels)
    for other in (fewer, smaller):
        with pytest.raises(UsageError, match="must agree in classes and size"):
            TrainingContext(data, other, CPU)
    assert TrainingContext(data, data.subset([0, 1, 2]), CPU).test.num_classes == 7


# Left alone


@pytest.mark.parametrize("aug", ["identity", "cutout", "mixup", "cutmixpick:by=kld"])
@pytest.mark.parametrize("joint", [False, True])
def test_bfloat16_keeps_weights_in_float32_and_comes_close(
    aug: str, joint: bool, network: Make, data: ImageSet, asked: Ask
) -> None:
    terms = {}
    for dtype in ("float32", "bfloat16"):
        options = replace(RECIPE, aug=aug, dtype=dtype, joint_batch=joint)
        training = Training(network(), data, options, CPU, teacher=asked(getattr(torch, dtype)))
        one_step(training)
        terms[dtype] = training.terms[0].clone()
        finished(training)
        assert training.terms.isfinite().all()
        for name, value in training.model.state_dict().items():
            assert value.dtype == (torch.int64 if name.endswith("tracked") else torch.float32), name
            assert value.isfinite().all(), name
    assert not torch.equal(terms["bfloat16"], terms["float32"])
    assert torch.allclose(terms["bfloat16"], terms["float32"], rtol=0.05)


def test_bfloat16_trains_by_labels_too(network: Make, data: ImageSet) -> None:
    training = finished(Training(network("dropout"), data, replace(BY_LABELS, dtype="bfloat16"), CPU))
    assert training.terms.isfinite().all()
    assert all(value.dtype == torch.float32 for value in training.model.parameters())


def test_random_states_of_the_process_are_left_alone(network: Make, data: ImageSet, asked: Ask) -> None:
    def states() -> tuple[Any, ...]:
        array = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), random.getstate(), array[1].tolist(), array[2]

    before = states()
    training = Training(network("dropout"), data, RECIPE, CPU, teacher=asked(torch.float32))
    one_step(training)
    assert states() == before
    finished(training)
    assert states() == before
    with pytest.raises(UsageError, match="epochs are done"):
        training.run_epoch()
    training = Training(network("dropout"), data, RECIPE, CPU, teacher=asked(torch.float32))
    spoil(training)
    with pytest.raises(DivergedError):
        training.run_epoch()
    assert states() == before


def test_teacher_and_data_are_not_changed(network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask) -> None:
    pixels, labels = data.images.clone(), data.labels.clone()
    kept = asked()
    finished(Training(network("dropout"), data, replace(RECIPE, dtype="float64"), CPU, teacher=kept))
    assert not any(module.training for module in kept.module.modules())
    for name, value in teacher.module.state_dict().items():
        assert torch.equal(kept.module.state_dict()[name], value), name
    assert all(parameter.grad is None for parameter in kept.module.parameters())
    assert torch.equal(data.images, pixels)
    assert torch.equal(data.labels, labels)


def test_a_network_that_was_set_to_evaluation_is_trained_all_the_same(network: Make, data: ImageSet) -> None:
    usual, set_back = (Training(network("dropout"), data, BY_LABELS, CPU) for _ in range(2))
    for _ in range(6):
        one_step(usual)
        set_back.model.eval()
        one_step(set_back)
    assert_same_bits(set_back, usual)


def test_only_the_network_that_was_given_is_trained(network: Make, data: ImageSet) -> None:
    model, untouched = network(), network()
    training = finished(Training(model, data, BY_LABELS, CPU))
    assert training.model is model
    assert not torch.equal(model[0].weight, untouched[0].weight)


def test_restoring_into_a_training_that_has_gone_on_forgets_what_it_did(network: Make, data: ImageSet) -> None:
    def fresh() -> Training:
        return Training(network("plain"), data, replace(RECIPE, objective=LABELS), CPU)

    straight, detour = fresh(), fresh()
    state, weights = detour.state(), copy.deepcopy(detour.model.state_dict())
    detour.run_epoch()
    detour.model.load_state_dict(weights)
    detour.restore(state)
    for training in (straight, detour):
        training.run_epoch()
    assert all(map(torch.equal, straight.model.state_dict().values(), detour.model.state_dict().values()))


class Late(nn.Module):
    """A network of which a part is first used in the second step."""

    def __init__(self, first: nn.Module, late: nn.Module) -> None:
        super().__init__()
        self.first, self.late, self.calls = first, late, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.first(images) + (self.late(images) if self.calls > 1 else 0.0)


def test_a_part_that_learns_later_than_the_rest_is_trained(network: Make, data: ImageSet) -> None:
    model = Late(network("plain"), network("plain"))
    before = copy.deepcopy(model.late.state_dict())
    finished(Training(model, data, replace(RECIPE, objective=LABELS), CPU))
    assert all(not torch.equal(before[name], value) for name, value in model.late.state_dict().items())
