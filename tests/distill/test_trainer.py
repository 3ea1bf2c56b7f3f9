"""The trainer against a plain loop written from its docstring, and what it does when things go wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric.augment import Images, Keys, parse
from dametric.data import ImageSet, load_data
from dametric.distill import TrainOptions, train
from dametric.errors import UsageError
from dametric.models import build

CPU = torch.device("cpu")


def silent(steps: float = 1, note: str = "") -> None:
    """No progress."""


class Double(nn.Module):
    """A network in float64 that takes the float32 batches of the loop."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
        ).double()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images.double())


@pytest.fixture
def small() -> ImageSet:
    """22 random images of 8 x 8: 4 batches of 5 and a rest that is left out."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (22, 3, 8, 8), dtype=torch.uint8, generator=draw)
    return ImageSet.from_tensors(images, torch.arange(22) % 3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_data("digits", "train", quiet=True)


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate: cosine from 1/25 of the peak to it in the first 30 %, then to 1/10,000 of the start."""
    turn = 0.3 * steps - 1
    low, high, part = (peak / 25, peak, step / turn) if step <= turn else (peak, peak / 25e4, (step - turn))
    part = part if step <= turn else part / (steps - 1 - turn)
    return high + (low - high) / 2 * (1 + math.cos(math.pi * part))


def plain(model: nn.Module, data: ImageSet, options: TrainOptions) -> None:
    """The same training without an optimiser or a scheduler: every formula written out."""
    augment = parse(options.aug, Images(data.image_size, data.mean))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (data.mean, data.std))
    per_epoch = len(data) // options.batch_size
    velocity: dict[str, Tensor] = {}
    model.train()
    for step in range(per_epoch * options.epochs):
        epoch, batch = divmod(step, per_epoch)
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(options.seed * 1_000_003 + epoch))
        index = order[batch * options.batch_size : (batch + 1) * options.batch_size]
        keys = Keys(options.seed, 1, options.batch_size, step, "sample").sub("train")
        images = (augment(data.images[index], keys).images.float() - mean) / std
        logits = model(images)
        loss = -(logits - logits.logsumexp(1, keepdim=True))[torch.arange(len(index)), data.labels[index]].mean()
        parameters = dict(model.named_parameters())
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        rate = one_cycle(step, per_epoch * options.epochs, options.lr)
        with torch.no_grad():
            for (name, weight), gradient in zip(parameters.items(), gradients, strict=True):
                push = gradient + options.weight_decay * weight
                velocity[name] = push if name not in velocity else options.momentum * velocity[name] + push
                weight -= rate * (push + options.momentum * velocity[name])


def trained(data: ImageSet, options: TrainOptions) -> dict[str, Tensor]:
    model = Double()
    train(model, data, options, CPU, silent)
    return model.state_dict()


def largest_gap(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("aug", ["crop+flip", "identity", "cutout"])
def test_one_epoch_is_a_plain_loop_of_nesterov_steps(small: ImageSet, aug: str) -> None:
    options = TrainOptions(epochs=1, batch_size=5, aug=aug, seed=2)
    ours, expected = Double(), Double()
    train(ours, small, options, CPU, silent)
    plain(expected, small, options)
    assert largest_gap(ours.state_dict(), expected.state_dict()) < 1e-10


def test_three_epochs_and_other_hyperparameters_too(small: ImageSet) -> None:
    options = TrainOptions(epochs=3, lr=0.3, batch_size=4, momentum=0.7, weight_decay=0.01, seed=9)
    ours, expected = Double(), Double()
    train(ours, small, options, CPU, silent)
    plain(expected, small, options)
    assert largest_gap(ours.state_dict(), expected.state_dict()) < 1e-10


@pytest.mark.parametrize(
    "other",
    [{"lr": 0.2}, {"momentum": 0.5}, {"weight_decay": 0.05}, {"aug": "flip"}, {"seed": 1}, {"batch_size": 4}],
    ids=lambda other: next(iter(other)),
)
def test_every_option_matters(small: ImageSet, other: dict[str, Any]) -> None:
    base = {"epochs": 2, "batch_size": 5}
    assert largest_gap(trained(small, TrainOptions(**base)), trained(small, TrainOptions(**base | other))) > 1e-6


def test_one_seed_gives_one_network(small: ImageSet) -> None:
    first = trained(small, TrainOptions(epochs=2, batch_size=5))
    torch.manual_seed(123)  # the process's own random state plays no part
    assert largest_gap(first, trained(small, TrainOptions(epochs=2, batch_size=5))) == 0


def test_the_process_s_random_state_is_left_alone(small: ImageSet) -> None:
    model = Double()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(model, small, TrainOptions(epochs=1, batch_size=5), CPU, silent)
    assert torch.equal(before, torch.get_rng_state())


def test_the_data_are_not_changed_and_the_network_is_left_ready_to_use(small: ImageSet) -> None:
    pixels, labels = small.images.clone(), small.labels.clone()
    model = Double()
    train(model, small, TrainOptions(epochs=1, batch_size=5), CPU, silent)
    assert not model.training
    assert torch.equal(small.images, pixels)
    assert torch.equal(small.labels, labels)


def test_progress_is_told_once_an_epoch_with_the_loss(small: ImageSet) -> None:
    told = []
    train(
        Double(),
        small,
        TrainOptions(epochs=3, batch_size=5),
        CPU,
        lambda steps=1, note="": told.append((steps, note)),
    )
    assert [steps for steps, _ in told] == [1, 1, 1]
    assert all(note.startswith("loss ") and math.isfinite(float(note.split()[1])) for _, note in told)


def test_a_loss_that_is_not_finite_stops_with_the_epoch(small: ImageSet) -> None:
    class Breaks(Double):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(images) * (math.nan if self.calls == 6 else 1.0)

    with pytest.raises(UsageError, match=r"not finite in epoch 2.*smaller learning rate than 0\.1"):
        train(Breaks(), small, TrainOptions(epochs=3, batch_size=5), CPU, silent)


def test_a_wild_learning_rate_is_caught(small: ImageSet) -> None:
    with pytest.raises(UsageError, match=r"not finite in epoch \d+"):
        train(Double(), small, TrainOptions(epochs=50, lr=1e300, batch_size=5), CPU, silent)


def test_fewer_images_than_a_batch_are_refused(small: ImageSet) -> None:
    with pytest.raises(UsageError, match="22 images are fewer than one batch of 64"):
        train(Double(), small, TrainOptions(epochs=1), CPU, silent)


def test_a_resnet_learns_digits_in_three_epochs(digits: ImageSet) -> None:
    torch.manual_seed(0)
    model = build("resnet8", 10, 32)
    train(model, digits, TrainOptions(epochs=3, batch_size=32, aug="crop"), CPU, silent)
    test = load_data("digits", "test", quiet=True)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (test.mean, test.std))
    with torch.no_grad():
        right = model((test.images / 255 - mean) / std).argmax(1) == test.labels
    assert float(right.float().mean()) > 0.8
