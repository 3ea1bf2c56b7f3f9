"""`grad_align`: does a step on augmented images also lower the loss on images that nobody trains on?

``G`` is the gradient of the held-out images' divergence from the teacher at theta0, in two halves ``G1`` and ``G2``;
``g_b`` that of the distillation loss of batch b, as the trainer has it. The score is the cosine
``mean_b <G, g_b> / sqrt(<G1, G2> mean_b |g_b|^2)``, whose denominator does not grow with the noise of G.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dametric.choosing.batches import FixedBatches
from dametric.choosing.result import ErrorPart, StudentScore
from dametric.training.loss import divergence
from dametric.training.trainer import StepInputs, Training

GROUPS = 16
"""Parts of the held-out images behind the error that they bring; the first half of them makes G1."""
_ROWS = 256  # of a forward pass


class GradAlign:
    """Collects two numbers a batch and part of the held-out images, for every augmentation.

    Parameters
    ----------
    batches : FixedBatches
    """

    name = "grad_align"

    def __init__(self, batches: FixedBatches) -> None:
        self.batches = batches
        self.weights = [weight for weight in batches.first.model.parameters() if weight.requires_grad]
        self.sizes, self.gradients = _held_out_gradients(batches, self.weights)
        shape = (len(batches.members), batches.batches)
        self.dots = torch.zeros(*shape, len(self.sizes), dtype=torch.float64)
        self.squares = torch.zeros(shape, dtype=torch.float64)

    def observe(self, member: int, number: int, inputs: StepInputs, labels: Tensor) -> None:
        """Take the gradient of a batch under an augmentation."""
        gradient = batch_gradient(self.batches.members[member], inputs, labels, self.weights)
        self.dots[member, number] = (self.gradients @ gradient).double().cpu()
        self.squares[member, number] = gradient.square().sum().double().cpu()

    def score(self, augs: tuple[str, ...]) -> StudentScore:
        """The values, with errors of batches and of held-out images."""
        gram = (self.gradients @ self.gradients.T).double().cpu()
        values, errors, agreement = aligned(self.dots, self.squares, gram, self.sizes)
        why = "the gradient does not vanish in the noise: more held-out images are needed, or a less trained student"
        reasons = {}
        if not agreement > 0:
            reasons = dict.fromkeys(augs, f"<G1, G2> = {agreement:.3g}, not above 0: {why}")
        elif not bool(values.isfinite().all()):
            pairs = zip(augs, values.isfinite().tolist(), strict=True)
            reasons = {aug: "the gradient is zero or not finite" for aug, finite in pairs if not finite}
        return StudentScore(
            self.name, "higher", augs, values, errors, self.cost, parts=self.batches.batches, reasons=reasons
        )

    @property
    def cost(self) -> float:
        """A step for each batch, and a share of the held-out gradient."""
        first = self.batches.first
        shared = int(self.sizes.sum()) / (2 * first.recipe.batch_size)
        return self.batches.batches + shared / len(self.batches.members)


def aligned(
    dots: Tensor, squares: Tensor, gram: Tensor, sizes: Tensor
) -> tuple[Tensor, tuple[ErrorPart, ErrorPart], float]:
    """The score from products of gradients.

    Parameters
    ----------
    dots : Tensor of shape (augmentations, batches, parts), float64
        Products of the mean gradient of each part of the held-out images with the gradient of each batch.
    squares : Tensor of shape (augmentations, batches), float64
        Squared lengths of the batches' gradients.
    gram : Tensor of shape (parts, parts), float64
        Products of the parts' gradients.
    sizes : Tensor of shape (parts,)
        Images of each part.

    Returns
    -------
    values : Tensor of shape (augmentations,)
    errors : tuple of ErrorPart
        Of the batches, and of the held-out images.
    agreement : float
        ``<G1, G2>``; the values are NaN where it is not above zero.
    """
    batches, parts = squares.shape[1], len(sizes)
    values, agreement = _values(dots.mean(1), squares.mean(1), gram, sizes)
    others = (batches - 1) or 1
    without = [
        _values((dots.sum(1) - dots[:, b]) / others, (squares.sum(1) - squares[:, b]) / others, gram, sizes)[0]
        for b in range(batches)
    ]
    kept = [torch.arange(parts) != part for part in range(parts)]
    left = [_values(dots.mean(1), squares.mean(1), gram, sizes * keep)[0] for keep in kept]
    of_batches = ErrorPart.jackknife("batches", torch.stack(without, 1))
    return values, (of_batches, ErrorPart.jackknife("held-out images", torch.stack(left, 1))), agreement


def _values(dots: Tensor, squares: Tensor, gram: Tensor, sizes: Tensor) -> tuple[Tensor, float]:
    first = torch.arange(len(sizes)) < len(sizes) // 2
    one, two = (half / half.sum() for half in ((sizes * first).double(), (sizes * ~first).double()))
    agreement = float(one @ gram @ two)
    scale = (agreement * squares).sqrt() if agreement > 0 else torch.full_like(squares, torch.nan)
    along = (dots * (one + two)).sum(-1) / 2  # row by row, so that no value depends on the others
    return torch.where(scale > 0, along / scale, torch.nan), agreement


def batch_gradient(training: Training, inputs: StepInputs, labels: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Gradient of the trainer's loss of a batch, in training mode; running statistics stay as they are: shape (P,)."""
    model = training.model.train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        return _flat(training.loss(inputs, labels)[0], weights)
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])


def _held_out_gradients(batches: FixedBatches, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sizes of the parts of the held-out images, and the gradient of each: shapes (parts,) and (parts, P)."""
    context, training = batches.context, batches.first
    targets = context.teacher_logits
    assert targets is not None
    tau = training.recipe.objective.temperature
    order = torch.randperm(len(context.test), generator=torch.Generator().manual_seed(0))
    groups = order.tensor_split(min(GROUPS, len(order)))
    training.model.eval()
    gradients = []
    for group in groups:
        total = torch.zeros(sum(weight.numel() for weight in weights), dtype=training.exact, device=training.device)
        rows = group.split(_ROWS)
        for index, images in zip(rows, context.test.stream(rows, training.device), strict=True):
            target = targets[index.to(targets.device)].to(training.device, training.exact)
            loss = divergence(training.logits(images), target, tau) / tau**2
            total += _flat(loss, weights) * (len(index) / len(group))
        gradients.append(total)
    return torch.tensor([len(group) for group in groups]), torch.stack(gradients)


def _flat(loss: Tensor, weights: Sequence[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    parts = zip(gradients, weights, strict=True)
    return torch.cat([(torch.zeros_like(w) if g is None else g).contiguous().flatten() for g, w in parts])
