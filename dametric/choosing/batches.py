"""The 64 batches of 64 that every augmentation is read on: made, augmented and judged by the trainer's own code."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dametric.augment import Augmentation
from dametric.choosing.warm import WarmStudent, apart
from dametric.errors import UsageError
from dametric.training.context import TrainingContext
from dametric.training.recipe import Recipe
from dametric.training.trainer import StepInputs, Training, step_inputs

BATCHES, SIZE = 64, 64
SEED = 2  # branches train on the orders of 0 and 1, and the warm student on that of 0


@dataclass(frozen=True, eq=False)
class FixedBatches:
    """A trainer for each augmentation, all of one network, none of which learns.

    Attributes
    ----------
    context : TrainingContext
        Of the student's normalisation; it tests on the held-out images.
    members : tuple of Training
        They share the network; their loss is the user's without labels and without terms of the user's own.
    batches : int
    """

    context: TrainingContext
    members: tuple[Training, ...]
    batches: int

    @classmethod
    def of(
        cls,
        context: TrainingContext,
        student: WarmStudent,
        recipe: Recipe,
        augs: Sequence[Augmentation],
        quiet: bool = True,
        *,
        batches: int = BATCHES,
        size: int = SIZE,
    ) -> FixedBatches:
        """The batches of a student under some augmentations.

        Parameters
        ----------
        context : TrainingContext
        student : WarmStudent
        recipe : Recipe
            What the student will really be trained by; forward passes in bfloat16 become float32.
        augs : sequence of Augmentation
        quiet : bool
            Print no findings about the user's functions.
        batches, size : int

        Raises
        ------
        UsageError
            If the loss has no divergence from the teacher on augmented images, or there are too few images.
        """
        if not recipe.objective.sees_augmented:
            raise UsageError("the loss shows the student no augmented images: no augmentation can be scored")
        here = apart(context, student)
        teacher = here.teacher
        assert teacher is not None
        plain = replace(
            recipe,
            epochs=None,
            steps=batches,
            batch_size=size,
            seed=SEED,
            momentum=0.0,
            nesterov=False,
            dtype="float64" if recipe.dtype == "float64" else "float32",
            objective=replace(recipe.objective, ce=0.0, term=None),
        )
        model = copy.deepcopy(student.model).to(here.device)

        def member(aug: Augmentation) -> Training:
            own = replace(plain, aug=aug.canonical)
            work = here.work(model, own, aug=aug)
            base, looked_at = work.look(quiet)
            return Training(
                model,
                here.on_device,
                own,
                here.device,
                teacher=here.network(own.dtype, size),
                augmented_mean=teacher.mean,
                base=base,
                aug=looked_at,
            )

        members = tuple(member(aug) for aug in augs)
        for each in members:
            each.staging = members[0].staging
        return cls(here, members, batches)

    @property
    def first(self) -> Training:
        """The trainer of the first augmentation."""
        return self.members[0]

    def __iter__(self) -> Iterator[tuple[Tensor, Iterator[StepInputs]]]:
        """Labels of each batch, and what it shows under every augmentation, to be used up before the next batch."""
        first = self.first
        for number in range(self.batches):
            for member in self.members:
                member.number = number
            (index,) = first.batches(number + 1)
            drawn = [(index, [first.base_keys(len(index), number)])]
            (pixels,) = first.view.stream(drawn, first.device)
            labels = first.data.labels[index.to(first.data.labels.device)].to(first.device)
            yield labels, step_inputs(self.members, pixels)

    @torch.no_grad()
    def raw_target(self, inputs: StepInputs) -> Tensor:
        """The teacher's logits of the base views, whether the loss asks for them or not: shape (rows, classes)."""
        if inputs.raw_target is not None:
            return inputs.raw_target
        teacher = self.first.teacher
        assert teacher is not None
        return teacher(inputs.raw.images).to(self.first.exact, copy=True)
