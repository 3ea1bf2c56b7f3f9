"""The recipe of a training run: everything that determines its result besides data and networks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from dametric.base import limits
from dametric.base.arguments import argument
from dametric.base.option_groups import SEEDS, OptimizerOptions, ViewOptions, Views
from dametric.errors import UsageError, unknown

EPOCHS, RATE = 240, 0.05
DTYPES = ("float32", "bfloat16", "float64")
MILESTONES = (150, 180, 210)  # of EPOCHS: the learning rate is divided by ten
VERSIONS = {"ce": 1, "kd": 1, "sgd": 1, "order": 1, "initial weights": 1, "step": 1, "cosine": 1, "onecycle": 1}
"""Of the arithmetic of every term, the optimizer, the order of images, initial weights and the schedules, and of
architectures by their names (1 where there is no entry): raised when the same recipe comes to another result, which
gives the runs that use it, and no others, new ids. All runs use "sgd", "order" and "initial weights"."""
_SMALL_RATE = ("mobilenet", "shufflev")
_WARM_UP, _START, _END = 0.3, 25.0, 1e4  # of the one-cycle schedule, as torch's OneCycleLR has them


def as_floats(options: object, *names: str) -> None:
    """Convert whole numbers to real ones, so that equal options have equal hashes."""
    for name in names:
        limits.real(name.replace("_", " "), getattr(options, name))
        object.__setattr__(options, name, float(getattr(options, name)))


@dataclass(frozen=True)
class Objective:
    """Weights of the loss ``ce CE(raw) + raw KL(raw) + aug KL(aug)``, KL scaled by the temperature squared.

    The target of an image, raw or augmented, is the teacher's own output on it; there is no cross-entropy with
    labels on augmented images. The defaults are the published ones (Wang et al. 2022, arXiv 2012.02909).

    Attributes
    ----------
    ce : float
        Weight of the cross-entropy with labels on the raw images.
    raw, aug : float
        Weights of the Kullback-Leibler divergence from the teacher on the raw and on the augmented images.
    temperature : float
        Softmax temperature of teacher and student in the divergence.
    term : str or None
        A further term, by a function of the user's own: see :class:`~dametric.training.loss.LossInputs`.
    """

    ce: float = 0.1
    raw: float = 0.9
    aug: float = 0.9
    temperature: float = 4.0
    term: str | None = None

    def __post_init__(self) -> None:
        as_floats(self, "ce", "raw", "aug", "temperature")
        for name, weight in (("ce", self.ce), ("raw", self.raw), ("aug", self.aug)):
            if not 0 <= weight < math.inf:
                raise UsageError(f"the weight {name} of the loss must be finite and not negative, not {weight}")
        if self.ce == self.raw == self.aug == 0:
            raise UsageError("all weights of the loss are zero: nothing would be learnt")
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"temperature must be positive and finite, not {self.temperature}")

    @classmethod
    def of(
        cls,
        views: Views = "both",
        *,
        ce: float | None = None,
        raw: float | None = None,
        aug: float | None = None,
        temperature: float = 4.0,
        term: str | None = None,
    ) -> Objective:
        """The published weights for what the student is to see, where none are given.

        Parameters
        ----------
        views : {"both", "augmented", "raw"}
            Raw and augmented images; augmented ones only; raw ones only, which is plain distillation.
        ce, raw, aug, temperature, term : optional
            See the class.

        Raises
        ------
        UsageError
            For an unknown view, or a weight of something that the student does not see.
        """
        if views not in get_args(Views):
            raise unknown(f"value of {argument('views')}", views, get_args(Views))
        defaults = {"both": (0.1, 0.9, 0.9), "augmented": (0.0, 0.0, 0.9), "raw": (0.1, 0.9, 0.0)}[views]
        for name, weight, usual in (("ce", ce, defaults[0]), ("raw", raw, defaults[1]), ("aug", aug, defaults[2])):
            if weight and not usual:
                given = argument(f"{name}_weight", weight)
                raise UsageError(f"{given} asks for images that {argument('views', views)} leaves out")
        chosen = [usual if weight is None else weight for weight, usual in zip((ce, raw, aug), defaults, strict=True)]
        return cls(chosen[0], chosen[1], chosen[2], temperature, term)

    @property
    def sees_raw(self) -> bool:
        """Whether the student is shown the raw images."""
        return self.ce > 0 or self.raw > 0

    @property
    def sees_augmented(self) -> bool:
        """Whether the student is shown the augmented images."""
        return self.aug > 0

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss asks the teacher."""
        return self.raw > 0 or self.aug > 0


LABELS = Objective(1.0, 0.0, 0.0)
"""Training from labels alone."""


@dataclass(frozen=True)
class Recipe(ViewOptions, OptimizerOptions):
    """How a network is trained: the options of optimizer and views, the objective and the seed.

    Attributes
    ----------
    aug : str
        The augmentation under test, applied to the base view; ``base_aug`` is always drawn per image.
    objective : Objective
    dtype : str
        Number format of the forward passes, "float32", "bfloat16" or "float64"; the weights that are learnt stay in
        float32 at least.
    seed : int
        Random seed: initial weights, order of images, augmentation.

    Notes
    -----
    See :class:`~dametric.base.option_groups.OptimizerOptions` and `ViewOptions` for the rest. ``epochs`` is None where
    ``steps`` is given: the same training however many images there are. Schedules then run over the steps, and the
    last epoch ends where they do.
    """

    aug: str = "identity"
    objective: Objective = field(default_factory=Objective)
    dtype: str = "float32"
    seed: int = 0
    if TYPE_CHECKING:  # where options leave a choice open, a recipe has made it
        lr: float = RATE
        base_aug: str = "crop+flip"

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise UsageError(f"training lasts {self.epochs} epochs or {self.steps} steps: give one of the two")
        chosen = {"epochs": EPOCHS if self.steps is None else None, "lr": RATE, "base_aug": "crop+flip"}
        for name, value in chosen.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()
        limits.whole("seed", self.seed, SEEDS)
        if self.seed < 0:
            raise UsageError(f"the seed is a whole number from 0 to {SEEDS}, not {limits.number(self.seed)}")
        if self.nesterov and not self.momentum:
            raise UsageError("Nesterov's momentum needs a momentum above zero")
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)

    def length(self, steps_per_epoch: int) -> int:
        """Number of steps in all."""
        return self.steps if self.steps is not None else (self.epochs or 0) * steps_per_epoch

    @property
    def lockstep(self) -> tuple[Any, ...]:
        """What students of one teacher must have in common to be trained in lockstep."""
        return self.batch_size, self.seed, self.base_aug, self.dtype, self.objective.needs_teacher

    @property
    def asked_length(self) -> str:
        """How long training was asked to last, for humans: "240 epochs", "2000 steps"."""
        return f"{self.epochs} epochs" if self.steps is None else f"{self.steps} steps"


def term_versions(recipe: Recipe, arch: str) -> dict[str, int]:
    """Versions of what a recipe for an architecture uses, where they are not the first."""
    used = ["sgd", "order", "initial weights", recipe.schedule, arch]
    used += [name for name, uses in (("ce", recipe.objective.ce > 0), ("kd", recipe.objective.needs_teacher)) if uses]
    return {name: VERSIONS[name] for name in used if VERSIONS.get(name, 1) > 1}


def default_rate(arch: str) -> float:
    """The published learning rate: 0.01 for the built-in MobileNets and ShuffleNets, 0.05 for all others."""
    return 0.01 if arch.lower().startswith(_SMALL_RATE) else RATE


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step, a function of nothing but the recipe and the step's number.

    Parameters
    ----------
    recipe : Recipe
    step : int
        Counted from 0 over the whole training.
    steps_per_epoch : int

    Returns
    -------
    float
        ``"step"``: divided by ten from epochs 150, 180 and 210 of 240 on (counted from 0), or the same fractions
        of another number of epochs, or of steps where those were asked for. ``"cosine"``: half a cosine from the
        learning rate to 0. ``"onecycle"``: by cosine from 1/25 of the learning rate to all of it in the first 30 % of
        the steps, then down to 4e-6 of it (Smith & Topin 2018, arXiv 1708.07120, with torch's OneCycleLR's constants).
    """
    total = recipe.length(steps_per_epoch)
    if recipe.schedule == "step":
        whole = step if recipe.steps is not None else step // steps_per_epoch * steps_per_epoch  # epochs drop as one
        passed = sum(whole * EPOCHS >= milestone * total for milestone in MILESTONES)
        result: float = recipe.lr / 10**passed
        return result
    if recipe.schedule == "cosine":
        return recipe.lr / 2 * (1 + math.cos(math.pi * step / total))
    low, last = recipe.lr / _START, recipe.lr / _START / _END
    turn = _WARM_UP * total - 1
    if step <= turn:
        return _cosine(low, recipe.lr, step / turn)
    return _cosine(recipe.lr, last, (step - turn) / (total - 1 - turn))


def _cosine(start: float, stop: float, part: float) -> float:
    return stop + (start - stop) / 2 * (1 + math.cos(math.pi * part))
