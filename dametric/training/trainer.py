"""Training, by labels or from a teacher: one visible loop, the data set on the device as bytes.

Every random number is a function of seed and step (:mod:`dametric.augment.keys`), and so is the learning rate.
What has to be kept to go on exactly where training stopped is therefore weights, momentum and the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dametric.augment import (
    NEEDS_STUDENT,
    Augmentation,
    Augmented,
    ImageSpec,
    Keys,
    base_augmentation,
    criterion,
    parse,
    pick,
)
from dametric.augment.base_view import BaseView
from dametric.augment.keys import Hashed
from dametric.base.devices import queued, seed_generators
from dametric.base.progress import Advance
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.models.compiling import about_to_compile
from dametric.models.interface import forward_pass, interface
from dametric.models.network import Network
from dametric.models.staging import Staging
from dametric.training.graph import GraphedSteps, StepMemory, graphed
from dametric.training.loss import LossInputs, divergence, label_loss, own_term
from dametric.training.recipe import Recipe, learning_rate

TERMS = ("loss", "ce", "kd_raw", "kd_aug")
_BROKEN = ("raw", "aug", "teacher")  # images and answers that may not be finite
_LOOK = 50  # steps between two looks at the loss: each makes the host wait for the device


class DivergedError(Exception):
    """The loss is not finite, or what it is made from; the message names epoch and step."""


class Views(NamedTuple):
    """The images that a step may show the student, before the teacher's forward pass."""

    raw: Augmented
    aug: Tensor | None  # a pool where the teacher has a say in what is picked from it
    asks_raw: bool
    asks_aug: bool
    picks: bool


class StepInputs(NamedTuple):
    """The images that a step shows the student, and the teacher's logits for them: None where the loss needs none."""

    raw: Augmented
    aug: Tensor | None
    raw_target: Tensor | None  # (rows, classes), logits
    aug_target: Tensor | None


class Training:
    """A network being trained.

    Parameters
    ----------
    model : nn.Module
        Takes normalised images, returns logits. Trained in place, on ``device``, channels last where its code allows.
    data : ImageSet
        The training split.
    recipe : Recipe
    device : torch.device
    teacher : Network, optional
        Needed where the objective has a divergence from it.
    augmented_mean : tuple of float, optional
        Mean colour that augmentations fill with, in 0..1: the teacher's normalisation; the data set's by default.
    base, aug : Augmentation, optional
        In place of the recipe's: with what is known of the user's functions in them.
    compile : bool
        Compile the student's forward and loss; on CUDA they are captured as graphs.

    Attributes
    ----------
    number : int
        Steps done in all.
    steps : int
        Steps of a whole epoch; the last epoch has fewer where the recipe's steps end within it.
    length : int
        Steps to be done in all.
    interface : Interface
        How the network takes images and gives logits.
    term_names : tuple of str
        :data:`TERMS`, and "term" where the recipe has a term of the user's own.
    terms : Tensor of shape (steps, terms), float64
        For every step done in the current epoch the total loss and its terms, not weighted; 0 for terms that have no
        weight. Later rows are left over from the epoch before.
    memory : StepMemory or None
        Where a step that is being recorded reads its number and learning rate, and writes its terms.
    graphs : GraphedSteps or None
        Steps that are recorded, of this network and those that learn in lockstep with it.
    draws : bool
        Whether the network drew random numbers in the last step.

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
        base: Augmentation | None = None,
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
        self.own_term = None if recipe.objective.term is None else own_term(recipe.objective.term)
        self.term_names = TERMS if self.own_term is None else (*TERMS, "term")
        images = ImageSpec(data.image_size, augmented_mean or data.mean)
        self.base = base or base_augmentation(recipe.base_aug, images, mixes=not recipe.objective.needs_teacher)
        self.aug = aug or parse(recipe.aug, images)
        self.exact = torch.float64 if recipe.dtype == "float64" else torch.float32
        self.half = torch.bfloat16 if recipe.dtype == "bfloat16" else None
        self.interface = interface(
            model, data, data.mean, data.std, who="student", classes=data.num_classes, training=True
        )
        if self.interface.channels_last:
            model = model.to(memory_format=torch.channels_last)
        else:
            self.interface.arrange_weights(model)
        self.model = model.to(device=device, dtype=self.exact)
        self.compiled, self.draws = compile, False
        self.memory: StepMemory | None = None
        self.graphs: GraphedSteps | None = None
        self._hashed = Hashed()
        self._keys: Keys | None = None
        self._drawn: tuple[int, Augmentation] | None = None
        # the whole loss, so that on CUDA each step is one captured graph forward and one backward
        # of the class, not bound to this object: it would hold itself, and its memory, until garbage is collected
        self._terms = Training._loss
        if compile:
            about_to_compile(self)
            self._terms = torch.compile(Training._loss, mode="reduce-overhead")
        # what is shown in one step is kept for its backward; compiled code has memory of its own
        self.staging = {} if compile else {name: Staging(self.exact) for name in ("raw", "aug", "pool")}
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            recipe.lr,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=True,
        )
        self._forget()
        self.length = recipe.length(self.steps)
        self.view = BaseView.of(self.base, data.to(device), [self.aug])
        self.data = self.view.data
        self.mean = torch.tensor(data.mean, dtype=self.exact, device=device).view(1, -1, 1, 1) * 255
        self.std = torch.tensor(data.std, dtype=self.exact, device=device).view(1, -1, 1, 1) * 255
        self.number = 0
        self.terms = torch.zeros(self.steps, len(self.term_names), dtype=torch.float64, device=device)
        self._broken = torch.zeros(self.steps, len(_BROKEN), dtype=torch.bool, device=device)

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
        if self.over:
            raise UsageError(f"all {self.recipe.asked_length} are done")
        stretch = advance_together([self], self.epoch_end, stop, advance)
        for error in stretch.diverged.values():
            raise error
        return not stretch.stopped

    @property
    def over(self) -> bool:
        """Whether all steps are done."""
        return self.number >= self.length

    @property
    def epochs(self) -> int:
        """Epochs in all; the last one may be a part of one."""
        return math.ceil(self.length / self.steps)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.epochs if self.over else self.number // self.steps

    @property
    def step(self) -> int:
        """Steps done in the epoch that is not done."""
        return 0 if self.over else self.number % self.steps

    @property
    def epoch_end(self) -> int:
        """Number of steps in all at which the current epoch ends."""
        return min((self.number // self.steps + 1) * self.steps, self.length)

    def _forget(self) -> None:
        """Set all momentum to zero, also where a parameter gets its first gradient later than others."""
        self.graphs = None  # which read the momentum of before
        self.optimizer.state.clear()
        for parameter in self.model.parameters() if self.recipe.momentum else ():
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def losses(self) -> dict[str, float]:
        """Mean over the steps of the epoch just done of the total loss and its terms, in nats."""
        steps = (self.number - 1) % self.steps + 1
        return dict(zip(self.term_names, self.terms[:steps].mean(0).tolist(), strict=True))

    def batches(self, until: int) -> list[Tensor]:
        """Indices of the batches from here up to a number of steps within the epoch, where the images are.

        Every epoch has a new random order; its last, incomplete batch is dropped.
        """
        epoch, size = self.number // self.steps, self.recipe.batch_size
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.data), generator=generator)[: self.steps * size]
        parts = queued(order, self.data.images.device).split(size)  # one copy, and none in a step
        return list(parts[self.number - epoch * self.steps : until - epoch * self.steps])

    def keys(self, rows: int) -> Keys:
        """Names of the random numbers of the step to come."""
        number = self.number if self.memory is None else self.memory.number
        known = self._keys
        if known is None or known.first is not number or known.batch_size != rows:
            keys = Keys(self.recipe.seed, 1, rows, number, self.recipe.per, self.device)
            self._keys = known = self._hashed.of(keys)
        return known

    def base_keys(self, rows: int, number: int | None = None) -> Keys:
        """Names of the base augmentation's random numbers, always drawn for each image.

        In a step by its number, by default in the step to come.
        """
        if number is None:
            return replace(self.keys(rows), per="sample").sub("base")
        return Keys(self.recipe.seed, 1, rows, number, "sample", self.device).sub("base")

    @property
    def drawn(self) -> Augmentation:
        """The augmentation of the step to come: of a mixture the one that is drawn for it."""
        if self._drawn is None or self._drawn[0] != self.number:
            keys = Keys(self.recipe.seed, 1, self.recipe.batch_size, self.number, self.recipe.per)
            self._drawn = self.number, self.aug.of_batch(keys)
        return self._drawn[1]

    def loss(self, inputs: StepInputs, labels: Tensor) -> Tensor:
        """The total loss of the step to come and its terms, to be differentiated: shape (terms,)."""
        if self.memory is None:
            keys = Keys(self.recipe.seed, 1, len(labels))
            seed_generators(keys.sub(str(self.number)).start("network"), self.device)  # for dropout and the like
        with forward_pass():
            terms: Tensor = self._terms(self, inputs, labels)
        return terms

    def logits(self, images: Tensor) -> Tensor:
        """The network's logits of images in pixel units, in the mode that it is in: shape (rows, classes)."""
        with forward_pass(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half is not None):
            return self._forward(self._normalised(images, ""))

    def learn(self, inputs: StepInputs, labels: Tensor) -> None:
        """Take the step of the optimizer."""
        terms = self.loss(inputs, labels)
        for group in self.optimizer.param_groups:
            rate = learning_rate(self.recipe, self.number, self.steps) if self.memory is None else self.memory.rate
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        terms[0].backward()
        self.optimizer.step()
        if self.graphs is not None and self.memory is None:
            self.draws = self.graphs.recorder.has_drawn(self.device)
        if self.memory is None:
            self.finish(terms.detach())
        else:
            self.memory.terms.copy_(terms.detach())

    def finish(self, terms: Tensor, broken: Tensor | None = None) -> None:
        """Note what a step came to, and count it."""
        row = self.number % self.steps
        self.terms[row] = terms
        if broken is not None:
            self._broken[row] |= broken
        self.number += 1

    def _loss(self, inputs: StepInputs, labels: Tensor) -> Tensor:
        """The total loss and its terms: shape (terms,)."""
        objective = self.recipe.objective
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half is not None):
            raw, aug = self._student(inputs)
        zero = torch.zeros((), dtype=self.exact, device=self.device)
        ce = kd_raw = kd_aug = zero
        if raw is not None and objective.ce:
            ce = label_loss(raw, labels, inputs.raw, self.recipe.label_smoothing)
        if raw is not None and inputs.raw_target is not None:
            kd_raw = divergence(raw, inputs.raw_target, objective.temperature)
        if aug is not None and inputs.aug_target is not None:
            kd_aug = divergence(aug, inputs.aug_target, objective.temperature)
        total = objective.ce * ce + objective.raw * kd_raw + objective.aug * kd_aug
        if self.own_term is None:
            return torch.stack([total, ce, kd_raw, kd_aug])
        targets = (inputs.raw_target, inputs.aug_target)
        term = self.own_term(LossInputs(labels, raw, aug, *targets, objective.temperature)).to(self.exact)
        return torch.stack([total + term, ce, kd_raw, kd_aug, term])

    def before_recording(self) -> None:
        """Hash once what the step to come will ask for, so that constants are on the device before it is recorded."""
        self._keys = None
        self.keys(self.recipe.batch_size)
        self._keys = None

    def show(self, raw: Augmented) -> Views:
        """Augment the raw images, and decide which of them the loss needs the teacher's logits for."""
        objective, chosen = self.recipe.objective, self.drawn
        aug = chosen(raw.images, self.keys(len(raw.images))).images if objective.sees_augmented else None
        self._note("raw", raw.images)
        self._note("aug", aug)
        if self.teacher is None or not objective.needs_teacher:
            return Views(raw, aug, False, False, False)
        if aug is None or not chosen.operations:
            return Views(raw, aug, True, False, False)
        if chosen.pick == "student_entropy":  # the teacher need not see the pool
            return Views(raw, aug[self._picked(aug, None, None)], objective.raw > 0, True, False)
        asks_raw = objective.raw > 0 or chosen.pick == "dissimilarity"
        return Views(raw, aug, asks_raw, True, chosen.pick is not None)

    def judge(self, views: Views, raw_target: Tensor | None, aug_target: Tensor | None) -> StepInputs:
        """Take the teacher's answers (of shape (rows, classes), logits), and pick by them what the student sees."""
        aug = views.aug
        # what was made in inference mode cannot be learnt by: it is copied
        raw_target, aug_target = (
            None if target is None else target.to(self.exact, copy=True) for target in (raw_target, aug_target)
        )
        self._note("teacher", raw_target, aug_target)
        if aug is not None and views.asks_raw and not views.asks_aug:  # the augmented images are the raw ones
            aug_target = raw_target
        if views.picks and aug is not None and aug_target is not None:
            chosen = self._picked(aug, aug_target, raw_target)
            aug, aug_target = aug[chosen], aug_target[chosen]
        return StepInputs(views.raw, aug, raw_target if self.recipe.objective.raw else None, aug_target)

    def _picked(self, pool: Tensor, teacher: Tensor | None, raw: Tensor | None) -> Tensor:
        """Positions in the pool of what ranks highest, by the student as it is now and in evaluation mode."""
        chosen = self.drawn
        by = chosen.pick
        assert by is not None
        student_log = None
        if by in NEEDS_STUDENT:
            self.model.eval()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half is not None):
                student_log = self.interface.logits(self.model(self._normalised(pool, "pool"))).double().log_softmax(1)
            self.model.train()
        probabilities = [None if logits is None else logits.double().softmax(1) for logits in (teacher, raw)]
        values = criterion(by, probabilities[0], student_log, probabilities[1])
        return pick(values, runs=chosen.runs, batches=1, keep=self.recipe.batch_size)

    def _student(self, inputs: StepInputs) -> tuple[Tensor | None, Tensor | None]:
        """The student's logits of the raw and of the augmented images, in two forwards unless asked otherwise."""
        objective = self.recipe.objective
        raw = self._normalised(inputs.raw.images, "raw") if objective.sees_raw else None
        aug = None if inputs.aug is None else self._normalised(inputs.aug, "aug")
        if self.recipe.joint_batch and raw is not None and aug is not None:
            both = self._forward(torch.cat([raw, aug]))
            return both[: len(raw)], both[len(raw) :]
        return tuple(None if view is None else self._forward(view) for view in (raw, aug))  # type: ignore[return-value]

    def _forward(self, normalised: Tensor) -> Tensor:
        return self.interface.logits(self.model(normalised), training=self.model.training).to(self.exact)

    def _normalised(self, images: Tensor, place: str) -> Tensor:
        def normalise(part: Tensor) -> Tensor:
            return (part.to(self.exact) - self.mean) / self.std

        if place in self.staging and self.interface.channels_last:
            return self.staging[place](images, normalise)
        return self.interface.arrange(normalise(images))

    def _note(self, what: str, *values: Tensor | None) -> None:
        """Note of images or answers of this step whether all are finite, which bytes are."""
        for value in values:
            if value is not None and value.is_floating_point():
                row = self._broken[self.number % self.steps] if self.memory is None else self.memory.broken
                row[_BROKEN.index(what)] |= ~value.isfinite().all()

    def check_finite(self) -> None:
        """Look at the losses of the epoch so far, and at images that a user's function made."""
        epoch = (self.number - 1) // self.steps
        done = self.number - epoch * self.steps
        bad = torch.nonzero(~self.terms[:done, 0].isfinite() | self._broken[:done].any(1)).flatten()
        if len(bad):
            step = int(bad[0])
            raise DivergedError(self._fault(step, f"in epoch {epoch + 1}, step {step + 1} of {self.steps}"))

    def _fault(self, step: int, where: str) -> str:
        """The error that names the first value of the epoch that is not finite, and a remedy."""
        raw, aug, teacher = self._broken[step].tolist()
        if raw or aug:
            return (
                f"augmentation {(self.base if raw else self.aug).name} gave NaN or Inf {where}: mend it or leave it out"
            )
        if teacher:
            advice = "try dtype float32, and check that the checkpoint and the normalisation are right"
            return f"what the teacher says of images under {self.aug.name} is not finite {where}: {advice}"
        return f"the loss is not finite {where}: use a smaller learning rate than {self.recipe.lr:g}"

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs to go on exactly from here, besides the network's own state."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        momentum = {
            names[id(parameter)]: state["momentum_buffer"].cpu().contiguous().clone()
            for parameter, state in self.optimizer.state.items()
            if state.get("momentum_buffer") is not None
        }
        step = self.number % self.steps
        return {
            "epoch": self.number // self.steps,
            "step": step,
            "momentum": momentum,
            "terms": self.terms[:step].cpu().clone(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what :meth:`state` returned; the caller restores the network's own weights."""
        epoch, step = int(state["epoch"]), int(state["step"])
        number = epoch * self.steps + step
        if not (0 <= number <= self.length and 0 <= step < self.steps and len(state["terms"]) == step):
            raise ValueError(f"a state of epoch {epoch}, step {step} does not fit {self.recipe.asked_length}")
        self.number = number
        self._forget()
        for name, parameter in self.model.named_parameters():
            if name in state["momentum"]:  # copied into the parameter's own layout
                self.optimizer.state[parameter]["momentum_buffer"].copy_(state["momentum"][name])
        self.terms[:step] = math.nan  # a version that did not keep a term of the user's own may have stopped here
        self.terms[:step, : state["terms"].shape[1]] = state["terms"]


@dataclass(frozen=True)
class Stretch:
    """Outcome of some steps: whether they were stopped before their end, and whose loss is not finite."""

    stopped: bool = False
    diverged: dict[Training, DivergedError] = field(default_factory=dict)


def advance_together(
    members: Sequence[Training],
    until: int,
    stop: Callable[[], bool] = lambda: False,
    advance: Advance | None = None,
) -> Stretch:
    """Train networks in lockstep: each learns exactly what it would have learnt alone, to the bit on a CPU.

    They share the order of images, the raw view of them and what the teacher says of it.

    Parameters
    ----------
    members : sequence of Training
        At the same step, with the same data, teacher, batch size, seed, base augmentation and dtype.
    until : int
        The number of steps in all, within the current epoch, at which to return.
    stop : callable
        Asked after every step whether to stop there.
    advance : Advance, optional
        Called with the fraction of an epoch that was done by all members together.

    Returns
    -------
    Stretch
        Ends early, all members at the same step, where it was stopped or a loss is not finite.
    """
    first = members[0]
    take = graphed(members, partial(_one_step, members), partial(_recorded_step, members))
    batches = first.batches(until)
    labels = first.data.labels_of(torch.cat(batches), first.device).split(first.recipe.batch_size)
    for member in members:
        member.model.train()
        member.staging = first.staging  # they learn one after the other
    with torch.random.fork_rng([first.device] if first.device.type == "cuda" else []):
        drawn = ((index, [first.base_keys(len(index), number)]) for number, index in enumerate(batches, first.number))
        for classes, pixels in zip(labels, first.view.stream(drawn, first.device), strict=True):
            take(pixels, classes)
            if advance is not None:
                advance(len(members) / first.steps)
            stopped = first.number < until and stop()
            in_epoch = (first.number - 1) % first.steps + 1
            if in_epoch % _LOOK == 0 or first.number == until or stopped:
                diverged = _diverged(members)
                if diverged or stopped:
                    return Stretch(stopped, diverged)
    if first.over:
        for member in members:  # a graph and its networks know each other, and would outlive the run
            member.graphs = None
    return Stretch()


def _one_step(members: Sequence[Training], pixels: Tensor, labels: Tensor) -> None:
    for member, inputs in zip(members, step_inputs(members, pixels), strict=True):
        member.learn(inputs, labels)


def _recorded_step(
    members: Sequence[Training], pixels: Tensor, labels: Tensor, streams: Sequence[torch.cuda.Stream]
) -> None:
    """A step of networks whose memory is set, each on its own stream if there are any."""
    for member in members:
        assert member.memory is not None
        member.memory.broken.zero_()
    if not streams:
        _one_step(members, pixels, labels)
        return
    main, inputs = torch.cuda.current_stream(), list(step_inputs(members, pixels))  # kept until all have learnt
    for member, shown, stream in zip(members, inputs, streams, strict=True):
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            member.learn(shown, labels)
    for stream in streams:
        main.wait_stream(stream)


def step_inputs(members: Sequence[Training], pixels: Tensor) -> Iterator[StepInputs]:
    """What the step to come shows each of some networks, one after the other.

    Parameters
    ----------
    members : sequence of Training
        See :func:`advance_together`.
    pixels : Tensor of shape (rows, channels, height, width), uint8
        Images of the batch, as the base view streams them.

    Yields
    ------
    StepInputs
        Valid until the next one.
    """
    first = members[0]
    with torch.no_grad():
        raw = first.view(pixels, first.base_keys(len(pixels)))
        views = [member.show(raw) for member in members]
        answers = _teacher_logits(first.teacher, views)
    for member, view, answer in zip(members, views, answers, strict=True):
        with torch.no_grad():
            inputs = member.judge(view, *answer)
        yield inputs


def _teacher_logits(teacher: Network | None, members: Sequence[Views]) -> list[tuple[Tensor | None, Tensor | None]]:
    """The teacher's logits of the raw images, shared by all members, and of every member's augmented ones."""
    asks_raw = any(views.asks_raw for views in members)
    shown = [members[0].raw.images] if asks_raw else []
    shown += [views.aug for views in members if views.asks_aug and views.aug is not None]
    if teacher is None or not shown:
        return [(None, None)] * len(members)
    common = torch.uint8 if all(images.dtype == torch.uint8 for images in shown) else torch.float32
    images = shown[0] if len(shown) == 1 else torch.cat([images.to(common) for images in shown])
    answers = list(teacher(images).split([len(images) for images in shown]))
    raw = answers.pop(0) if asks_raw else None
    return [(raw if views.asks_raw else None, answers.pop(0) if views.asks_aug else None) for views in members]


def _diverged(members: Sequence[Training]) -> dict[Training, DivergedError]:
    errors = {}
    for member in members:
        try:
            member.check_finite()
        except DivergedError as error:
            errors[member] = error
    return errors
