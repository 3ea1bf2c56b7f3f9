"""Training, by labels or from a teacher: one visible loop, the data set on the device as bytes.

Every random number is a function of seed and step (:mod:`dametric.augment.keys`), and so is the learning rate.
What has to be kept to go on exactly where training stopped is therefore weights, momentum and the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dametric.augment import (
    NEEDS_STUDENT,
    Augmentation,
    Augmented,
    Images,
    Keys,
    base_augmentation,
    criterion,
    parse,
    pick,
)
from dametric.data import ImageSet
from dametric.distill.loss import divergence, label_loss
from dametric.distill.recipe import Recipe, learning_rate
from dametric.errors import UsageError
from dametric.models.network import Network
from dametric.progress import Advance

TERMS = ("loss", "ce", "kd_raw", "kd_aug")
_LOOK = 50  # steps between two looks at the loss: each makes the host wait for the device


class DivergedError(Exception):
    """The loss is not finite; the message names epoch and step."""


class Seen(NamedTuple):
    """What a step shows the student, and what the teacher says of it: each None where the loss does not need it."""

    raw: Augmented
    aug: Tensor | None
    raw_target: Tensor | None  # (rows, classes), logits
    aug_target: Tensor | None


class Training:
    """A network being trained.

    Parameters
    ----------
    model : nn.Module
        Takes normalised images, returns logits. Trained in place, on ``device``, channels last.
    data : ImageSet
        The training split.
    recipe : Recipe
    device : torch.device
    teacher : Network, optional
        Needed where the objective has a divergence from it.
    augmented_mean : tuple of float, optional
        Mean colour that augmentations fill with, in 0..1: the teacher's normalisation; the data set's by default.
    aug : Augmentation, optional
        In place of the recipe's.
    compile : bool
        Compile the student's forward and loss; on CUDA they are captured as graphs.

    Attributes
    ----------
    epoch, step : int
        Where training is: whole epochs done, and steps done in the next one.
    terms : Tensor of shape (steps, 4), float64
        For every step done in the current epoch the total loss and its three terms, not weighted (:data:`TERMS`);
        0 for terms that have no weight. Later rows are left over from the epoch before.

    Raises
    ------
    UsageError
        If there are fewer images than a batch, no labels, or an augmentation that cannot be used.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ImageSet,
        recipe: Recipe,
        device: torch.device,
        *,
        teacher: Network | None = None,
        augmented_mean: tuple[float, ...] | None = None,
        aug: Augmentation | None = None,
        compile: bool = False,
    ) -> None:
        self.recipe, self.device, self.teacher = recipe, device, teacher
        self.steps = len(data) // recipe.batch_size
        if self.steps == 0:
            raise UsageError(
                f"{len(data)} images are fewer than one batch of {recipe.batch_size}: use a smaller batch size"
            )
        if recipe.objective.ce and not data.num_classes:
            raise UsageError("learning from labels needs labelled images")
        if recipe.objective.needs_teacher and teacher is None:
            raise UsageError("this objective needs a teacher")
        of = Images(data.image_size, augmented_mean or data.mean)
        self.base = base_augmentation(recipe.base_aug, of, mixes=not recipe.objective.needs_teacher)
        self.aug = aug or parse(recipe.aug, of)
        self.exact = torch.float64 if recipe.dtype == "float64" else torch.float32
        self.half = torch.bfloat16 if recipe.dtype == "bfloat16" else None
        self.model = model.to(device=device, dtype=self.exact, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # the whole loss, so that on CUDA each step is one captured graph forward and one backward
        self._compiled = torch.compile(self._loss, mode="reduce-overhead") if compile else self._loss
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            recipe.lr,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=True,
        )
        self._forget()
        self.data = data.to(device)
        self.mean = torch.tensor(data.mean, dtype=self.exact, device=device).view(1, -1, 1, 1) * 255
        self.std = torch.tensor(data.std, dtype=self.exact, device=device).view(1, -1, 1, 1) * 255
        self.epoch = self.step = 0
        self.terms = torch.zeros(self.steps, len(TERMS), dtype=torch.float64, device=device)

    def run_epoch(self, stop: Callable[[], bool] = lambda: False, advance: Advance | None = None) -> bool:
        """Train to the end of the current epoch.

        Parameters
        ----------
        stop : callable
            Asked after every step whether to stop there.
        advance : Advance, optional
            Called with the fraction of an epoch that was done.

        Returns
        -------
        bool
            Whether the epoch was finished; if not, the next call goes on with it.

        Raises
        ------
        DivergedError
            If the loss is not finite.
        UsageError
            If all epochs are done.
        """
        if self.epoch >= self.recipe.epochs:
            raise UsageError(f"all {self.recipe.epochs} epochs are done")
        order = self._order()[self.step :]
        self.model.train()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            for index, pixels in zip(order, self.data.stream(order, self.device), strict=True):
                self._one_step(pixels, self.data.labels[index.to(self.data.labels.device)].to(self.device))
                self.step += 1
                if self.step % _LOOK == 0 or self.step == self.steps:
                    self._check_finite()
                if advance is not None:
                    advance(1 / self.steps)
                if self.step < self.steps and stop():
                    self._check_finite()
                    return False
        self.epoch, self.step = self.epoch + 1, 0
        return True

    def _forget(self) -> None:
        """Start with no momentum, also where a parameter gets its first gradient later than others."""
        self.optimizer.state.clear()
        for parameter in self.model.parameters() if self.recipe.momentum else ():
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def losses(self) -> dict[str, float]:
        """Mean over the steps of the epoch of the total loss and its terms, in nats."""
        return dict(zip(TERMS, self.terms.mean(0).tolist(), strict=True))

    def _order(self) -> list[Tensor]:
        """Indices of the epoch's batches: a new random order, without what does not fill a batch."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.epoch)
        size = self.recipe.batch_size
        return list(torch.randperm(len(self.data), generator=generator)[: self.steps * size].split(size))

    def _one_step(self, pixels: Tensor, labels: Tensor) -> None:
        number = self.epoch * self.steps + self.step
        keys = Keys(self.recipe.seed, 1, len(pixels), number, self.recipe.per, self.device)
        torch.manual_seed(keys.sub(str(number)).start("network"))  # for dropout and the like
        with torch.no_grad():
            seen = self._look(pixels, keys)
        terms = self._compiled(seen, labels)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, number, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        terms[0].backward()
        self.optimizer.step()
        self.terms[self.step] = terms.detach()

    def _loss(self, seen: Seen, labels: Tensor) -> Tensor:
        """The total loss and its terms: shape (4,)."""
        objective = self.recipe.objective
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half is not None):
            raw, aug = self._student(seen)
        zero = torch.zeros((), dtype=self.exact, device=self.device)
        ce = kd_raw = kd_aug = zero
        if raw is not None and objective.ce:
            ce = label_loss(raw, labels, seen.raw, self.recipe.label_smoothing)
        if raw is not None and seen.raw_target is not None:
            kd_raw = divergence(raw, seen.raw_target, objective.temperature)
        if aug is not None and seen.aug_target is not None:
            kd_aug = divergence(aug, seen.aug_target, objective.temperature)
        total = objective.ce * ce + objective.raw * kd_raw + objective.aug * kd_aug
        return torch.stack([total, ce, kd_raw, kd_aug])

    def _look(self, pixels: Tensor, keys: Keys) -> Seen:
        """Augment, and ask the teacher about all that the loss needs in one forward."""
        objective = self.recipe.objective
        raw = self.base(pixels, replace(keys, per="sample").sub("base"))
        aug = self.aug(raw.images, keys).images if objective.sees_augmented else None
        if self.teacher is None or not objective.needs_teacher:
            return Seen(raw, aug, None, None)
        if aug is None:
            return Seen(raw, None, self._ask(raw.images), None)
        if not self.aug.operations:
            target = self._ask(raw.images)
            return Seen(raw, aug, target if objective.raw else None, target)
        by = self.aug.pick
        if by == "student_entropy":  # the teacher need not see the pool
            aug = aug[self._picked(aug, None, None)]
            by = None
        first = len(pixels) if objective.raw or by == "dissimilarity" else 0
        answers = self._ask(*([raw.images] if first else []), aug)
        raw_target, aug_target = answers[:first] if first else None, answers[first:]
        if by is not None:
            chosen = self._picked(aug, aug_target, raw_target)
            aug, aug_target = aug[chosen], aug_target[chosen]
        return Seen(raw, aug, raw_target if objective.raw else None, aug_target)

    def _ask(self, *views: Tensor) -> Tensor:
        assert self.teacher is not None
        images = views[0] if len(views) == 1 else torch.cat([view.to(_common(views)) for view in views])
        answers = self.teacher(images)
        return answers.to(self.exact, copy=True)  # what was made for inference only cannot be learnt by

    def _picked(self, pool: Tensor, teacher: Tensor | None, raw: Tensor | None) -> Tensor:
        """Positions in the pool of what ranks highest, by the student as it is now and in evaluation mode."""
        by = self.aug.pick
        assert by is not None
        student_log = None
        if by in NEEDS_STUDENT:
            self.model.eval()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half is not None):
                student_log = self.model(self._normalised(pool)).double().log_softmax(1)
            self.model.train()
        probabilities = [None if logits is None else logits.double().softmax(1) for logits in (teacher, raw)]
        values = criterion(by, probabilities[0], student_log, probabilities[1])
        return pick(values, runs=self.aug.runs, batches=1, keep=self.recipe.batch_size)

    def _student(self, seen: Seen) -> tuple[Tensor | None, Tensor | None]:
        """The student's logits of the raw and of the augmented images, in two forwards unless asked otherwise."""
        objective = self.recipe.objective
        raw = self._normalised(seen.raw.images) if objective.sees_raw else None
        aug = None if seen.aug is None else self._normalised(seen.aug)
        if self.recipe.joint_batch and raw is not None and aug is not None:
            both = self.model(torch.cat([raw, aug])).to(self.exact)
            return both[: len(raw)], both[len(raw) :]
        return tuple(None if view is None else self.model(view).to(self.exact) for view in (raw, aug))  # type: ignore[return-value]

    def _normalised(self, images: Tensor) -> Tensor:
        return ((images.to(self.exact) - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def _check_finite(self) -> None:
        bad = torch.nonzero(~self.terms[: self.step, 0].isfinite()).flatten()
        if len(bad):
            raise DivergedError(
                f"the loss is not finite in epoch {self.epoch + 1}, step {int(bad[0]) + 1} of {self.steps}: "
                f"use a smaller learning rate than {self.recipe.lr:g}"
            )

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs to go on exactly from here, besides the network's own state."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        momentum = {
            names[id(parameter)]: state["momentum_buffer"].cpu().contiguous().clone()
            for parameter, state in self.optimizer.state.items()
            if state.get("momentum_buffer") is not None
        }
        return {
            "epoch": self.epoch,
            "step": self.step,
            "momentum": momentum,
            "terms": self.terms[: self.step].cpu().clone(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave; the network's own weights are the caller's business."""
        epoch, step = int(state["epoch"]), int(state["step"])
        if not (0 <= epoch <= self.recipe.epochs and 0 <= step < self.steps and len(state["terms"]) == step):
            raise ValueError(f"a state of epoch {epoch}, step {step} does not fit {self.recipe.epochs} epochs")
        self.epoch, self.step = epoch, step
        self._forget()
        for name, parameter in self.model.named_parameters():
            if name in state["momentum"]:  # copied into the parameter's own layout
                self.optimizer.state[parameter]["momentum_buffer"].copy_(state["momentum"][name])
        self.terms[: self.step] = state["terms"]


def _common(views: tuple[Tensor, ...]) -> torch.dtype:
    return torch.uint8 if all(view.dtype == torch.uint8 for view in views) else torch.float32
