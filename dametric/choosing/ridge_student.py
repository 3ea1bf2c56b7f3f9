"""`ridge_student`: how well would the warm student's features, refitted on augmented images, do on held-out ones?

The teacher's logits, less their mean over classes, are fitted to features of base and augmented views (weight 1/2
each) by ridge regression, whose penalty is the same for all augmentations; the score is the held-out divergence of the
fit from the teacher.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dametric.choosing.batches import FixedBatches
from dametric.choosing.result import ErrorPart, StudentScore
from dametric.errors import UsageError
from dametric.training.trainer import StepInputs

_PENALTIES = torch.logspace(-10, 2, 121, dtype=torch.float64)  # of the largest eigenvalue of the features' covariance
_ROWS = 256  # of a forward pass


class RidgeStudent:
    """Collects features and the teacher's answers of every batch, for every augmentation.

    Parameters
    ----------
    batches : FixedBatches
    """

    name = "ridge_student"

    def __init__(self, batches: FixedBatches) -> None:
        self.batches = batches
        self.base: list[tuple[Tensor, Tensor]] = []
        self.augmented: list[list[tuple[Tensor, Tensor]]] = [[] for _ in batches.members]

    def observe(self, member: int, number: int, inputs: StepInputs, labels: Tensor) -> None:
        """Keep what a batch shows under an augmentation; the base views once."""
        del labels
        assert inputs.aug is not None
        assert inputs.aug_target is not None
        if number == len(self.base):
            self.base.append(self._rows(inputs.raw.images, self.batches.raw_target(inputs)))
        self.augmented[member].append(self._rows(inputs.aug, inputs.aug_target))

    def _rows(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return features(self.batches.first.model, self._forward, images), centred(target.double().cpu())

    def _forward(self, images: Tensor) -> Tensor:
        return self.batches.first.logits(images)

    def score(self, augs: tuple[str, ...]) -> StudentScore:
        """The values, with errors of batches and of held-out images."""
        first, held_out = self.batches.first, self.batches.context.test
        parts = torch.arange(len(held_out)).split(_ROWS)
        shown = torch.cat(
            [features(first.model, self._forward, images) for images in held_out.stream(parts, first.device)]
        )
        targets = self.batches.context.teacher_logits
        assert targets is not None
        tau = first.recipe.objective.temperature
        penalty = generalised_cross_validation(*_joined(self.base))
        results = [
            refitted(_stacked(self.base), _stacked(rows), penalty, shown, targets.double().cpu(), tau)
            for rows in self.augmented
        ]
        rows = torch.stack([row for row, _ in results])
        others = (rows.sum(1, keepdim=True) - rows) / (rows.shape[1] - 1)
        errors = (
            ErrorPart.jackknife("batches", torch.stack([without for _, without in results])),
            ErrorPart.jackknife("held-out images", others),
        )
        values = rows.mean(1)
        finite = zip(augs, values.isfinite().tolist(), strict=True)
        reasons = {aug: "features or answers are not finite" for aug, good in finite if not good}
        count = self.batches.batches
        return StudentScore(self.name, "lower", augs, values, errors, self.cost, parts=count, reasons=reasons)

    @property
    def cost(self) -> float:
        """Forward passes alone: of augmented views, and a share of base views and held-out images."""
        first, count = self.batches.first, self.batches.batches
        shared = count / 2 + len(self.batches.context.test) / (2 * first.recipe.batch_size)
        return (count / 2 + shared / len(self.batches.members)) / 3


def stages(network: nn.Module) -> tuple[list[nn.Module], nn.Linear]:
    """The top-level stages of a network, and its last linear layer.

    A wrapper that holds one module alone is looked into. Of the stages those count whose output has four dimensions.

    Raises
    ------
    UsageError
        If there is no linear layer.
    """
    inner = network
    while len(children := list(inner.children())) == 1:
        inner = children[0]
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UsageError("ridge_student reads the input of the student's last nn.Linear, and this student has none")
    return children, linear[-1]


@contextmanager
def _watched(network: nn.Module) -> Iterator[dict[int, Tensor]]:
    """What the stages give and the last linear layer takes in a forward pass, averaged over places; in their order."""
    modules, last = stages(network)
    seen: dict[int, Tensor] = {}

    def keep(place: int, values: object) -> None:
        if isinstance(values, Tensor) and values.ndim == 4:
            seen[place] = values.detach().mean((2, 3))

    hooks = [
        module.register_forward_hook(lambda module, inputs, output, place=place: keep(place, output))
        for place, module in enumerate(modules)
    ]

    def keep_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach()
        seen[len(modules)] = values.flatten(1, -2).mean(1) if values.ndim > 2 else values

    hooks.append(last.register_forward_pre_hook(keep_input))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def features(network: nn.Module, forward: object, images: Tensor) -> Tensor:
    """Features of images, in evaluation mode: Tensor of shape (rows, features), float64, on the CPU.

    Parameters
    ----------
    network : nn.Module
    forward : callable
        Runs the network on images in pixel units.
    images : Tensor of shape (rows, channels, height, width)
    """
    assert callable(forward)
    network.eval()
    with _watched(network) as seen:
        forward(images)
    return torch.cat([seen[place] for place in sorted(seen)], 1).double().cpu()


def centred(logits: Tensor) -> Tensor:
    """Logits less their mean over classes."""
    return logits - logits.mean(1, keepdim=True)


def generalised_cross_validation(rows: Tensor, targets: Tensor) -> float:
    """The penalty with the least generalised cross-validation error ``|(I - S) z|^2 / (1 - tr S / N)^2``.

    Parameters
    ----------
    rows : Tensor of shape (N, features), float64
    targets : Tensor of shape (N, classes), float64

    Returns
    -------
    float
        ``lambda`` of ``mean |z - B' phi - c|^2 + lambda |B|^2``, one of 121 in equal ratios from 1e-10 to 1e2 of the
        largest eigenvalue of the features' covariance.
    """
    count = len(rows)
    left, singular, _ = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    eigen = singular.square() / count
    if not eigen[0] > 0:  # a student that tells no image from another: any penalty comes to the same
        return 1.0
    deviations = targets - targets.mean(0)
    energy = (left.T @ deviations).square().sum(1)
    rest = (deviations.square().sum() - energy.sum()).clamp(min=0)
    penalties = _PENALTIES * eigen[0]
    shrunk = penalties[:, None] / (eigen + penalties[:, None])  # the share of a direction that is not fitted
    error = rest + (shrunk.square() * energy).sum(1)
    freedom = 1 - (1 + (1 - shrunk).sum(1)) / count
    criterion = torch.where(freedom > 0, error / freedom.square(), torch.inf)
    return float(penalties[criterion.argmin()])


def refitted(
    base: tuple[Tensor, Tensor],
    augmented: tuple[Tensor, Tensor],
    penalty: float,
    held_out: Tensor,
    teacher: Tensor,
    tau: float,
) -> tuple[Tensor, Tensor]:
    """The held-out divergence of a fit to base and augmented rows, and of the fits without each batch.

    Parameters
    ----------
    base, augmented : tuple of Tensor of shape (batches, rows, features) and (batches, rows, classes), float64
        Features and centred logits of the teacher.
    penalty : float
        See :func:`generalised_cross_validation`; weights add up to one.
    held_out : Tensor of shape (images, features), float64
    teacher : Tensor of shape (images, classes), float64
        Logits.
    tau : float

    Returns
    -------
    rows : Tensor of shape (images,)
        Divergence of each held-out image, in nats.
    without : Tensor of shape (batches,)
        Its mean, fitted without each batch.
    """

    def moments(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        ones = torch.ones_like(pair[0][..., :1])
        rows = torch.cat([ones, pair[0]], -1)
        return rows.mT @ rows / (2 * rows.shape[1]), rows.mT @ pair[1] / (2 * rows.shape[1])

    square, product = (one + two for one, two in zip(moments(base), moments(augmented), strict=True))
    shrink = torch.full((square.shape[1],), penalty, dtype=torch.float64)
    shrink[0] = 0  # of the constant
    shown = torch.cat([torch.ones_like(held_out[:, :1]), held_out], 1)
    target = teacher.div(tau).log_softmax(1)

    def divergences(left: Tensor, right: Tensor) -> Tensor:
        fit = (shown @ torch.linalg.solve(left + shrink.diag(), right)).div(tau).log_softmax(1)
        result: Tensor = (target.exp() * (target - fit)).sum(1)
        return result

    batches, others = len(square), max(1, len(square) - 1)
    rows = divergences(square.mean(0), product.mean(0))
    totals = square.sum(0), product.sum(0)
    without = [
        divergences((totals[0] - square[b]) / others, (totals[1] - product[b]) / others).mean() for b in range(batches)
    ]
    return rows, torch.stack(without)


def _joined(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([values for values, _ in rows]), torch.cat([targets for _, targets in rows])


def _stacked(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([values for values, _ in rows]), torch.stack([targets for _, targets in rows])
