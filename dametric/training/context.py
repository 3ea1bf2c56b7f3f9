"""What runs share: data, teacher, device; and a run that is ready to be carried out."""

from __future__ import annotations

import copy
import hashlib
import math
import os
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dametric.augment import Augmentation, ImageSpec, base_augmentation, parse, versions
from dametric.augment.base_view import versions_of_base
from dametric.augment.examine import check_base, examined, looked_at, sample
from dametric.augment.external import External, Findings
from dametric.base.arguments import argument
from dametric.base.progress import say
from dametric.base.user_code import load_object, source_digest, without_source
from dametric.data import ImageSet
from dametric.data.balanced_subset import HELD_OUT_SPLIT
from dametric.data.checks import check_order
from dametric.data.glance import glance
from dametric.errors import UsageError, unknown
from dametric.models import Checkpoint, LoadedNetwork, build, inference_copy
from dametric.models.interface import Interface, interface
from dametric.models.network import Network
from dametric.models.normalisation import Given, Normalisation
from dametric.models.outputs import PROBABILITIES
from dametric.models.registry import canonical, is_user_architecture
from dametric.models.weight_sets import Role
from dametric.records.record import About, RecordedData, RecordedStudent
from dametric.records.runs import Run
from dametric.records.score_rows import NetworkName
from dametric.training.evaluate import all_finite, evaluate, held_out_logits
from dametric.training.recipe import Objective, Recipe, term_versions
from dametric.training.trainer import Training

_CHUNK = {"cuda": 4096}
Keep = Literal["last", "none"]
EvalEvery = int | Literal["last"]


@dataclass(frozen=True)
class Teacher(LoadedNetwork):
    """A network to learn from; its hash is part of the run's id."""

    @classmethod
    def of(
        cls,
        network: nn.Module | Checkpoint | str | os.PathLike[str],
        data: ImageSet,
        mean: Given = None,
        std: Given = None,
        *,
        role: Role = "teacher",
        otherwise: Normalisation | None = None,
    ) -> Teacher:
        """From a network, a checkpoint, or the name of its file; normalised as it says, or as the data are."""
        loaded = super().of(network, data, mean, std, role=role, otherwise=otherwise)
        return replace(loaded, sha256=weights_digest(network)) if isinstance(network, nn.Module) else loaded

    @property
    def identity(self) -> dict[str, Any]:
        """What the result of a distillation depends on."""
        identity = {"arch": self.arch, "sha256": self.sha256, "mean": list(self.mean), "std": list(self.std)}
        # where it is none of the weights, what is learnt from is part of what is learnt
        return {**identity, "output": "probabilities"} if self.interface.evaluated.probabilities else identity


@dataclass(frozen=True, eq=False)
class TrainingContext:
    """What all runs on one data set, with one teacher, share.

    Attributes
    ----------
    train, test : ImageSet
    device : torch.device
    teacher : Teacher or None
        None for training by labels.
    held_out : ImageSet or None
        Images for one evaluation at the end of training, beside the test images.
    """

    train: ImageSet
    test: ImageSet
    device: torch.device
    teacher: Teacher | None = None
    held_out: ImageSet | None = None
    _networks: dict[tuple[str, int], Network] = field(default_factory=dict, init=False, repr=False)
    _printed_guesses: set[str] = field(default_factory=set, init=False, repr=False)
    _printed_findings: set[tuple[str, tuple[str, ...]]] = field(default_factory=set, init=False, repr=False)
    _findings: dict[tuple[str, str], Findings] = field(default_factory=dict, init=False, repr=False)
    _interfaces: dict[tuple[str, str], Interface] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, images in {"test": self.test, **({"held-out": self.held_out} if self.held_out else {})}.items():
            if self.teacher is None and not (self.train.num_classes and images.num_classes):
                raise UsageError("training needs labelled images, for training and for testing")
            if bool(self.train.num_classes) != bool(images.num_classes):
                raise UsageError(f"training and {name} images must have labels both, or neither")
            if self.train.num_classes != images.num_classes or self.train.image_size != images.image_size:
                raise UsageError(f"training and {name} images must agree in classes and size")
            check_order("training images", self.train.classes, f"the {name} images", images.classes)

    @property
    def labelled(self) -> bool:
        """Whether images have labels; without, a student is judged by its divergence from the teacher."""
        return self.train.num_classes > 0

    @property
    def num_classes(self) -> int:
        """Of the images; of those without labels, the teacher's."""
        if self.labelled or self.teacher_logits is None:
            return self.train.num_classes
        return int(self.teacher_logits.shape[1])

    def check_loss(self, objective: Objective) -> None:
        """Refuse a loss that needs labels where there are none."""
        if not self.labelled and (objective.ce or objective.term):
            ways = f"{argument('ce_weight', 0)}, no term of your own"
            raise UsageError(f"{self.train.name} has no labels: the loss must need none ({ways})")

    def tell(self, interface: Interface, quiet: bool = False) -> None:
        """Print what was guessed about a network's output, once for all runs."""
        if interface.guess and interface.guess not in self._printed_guesses:
            self._printed_guesses.add(interface.guess)
            say(interface.guess, quiet)

    def share(self, other: TrainingContext) -> None:
        """Share findings about the user's functions with a context of the same images: they are printed once."""
        for name in ("_printed_guesses", "_printed_findings", "_findings", "_interfaces"):
            object.__setattr__(self, name, getattr(other, name))

    @cached_property
    def on_device(self) -> ImageSet:
        """The training images, moved once."""
        return self.train.to(self.device)

    def looked_at(self, aug: Augmentation, quiet: bool = False) -> Augmentation:
        """The augmentation with what its user's functions do to training images; printed once for all runs.

        Raises
        ------
        UsageError
            If a function fails, or what it returns cannot be understood.
        """
        sources = tuple(
            source_digest(operation.function) for operation in aug.operations if isinstance(operation, External)
        )
        if (aug.canonical, sources) in self._printed_findings:
            return examined(aug, self._shown, self._findings)
        self._printed_findings.add((aug.canonical, sources))
        for operation in aug.operations:
            if isinstance(operation, External):
                for name in without_source(operation.function):
                    say(f"{operation.name}: the source of {name} cannot be read: its changes do not name a run", quiet)
        return looked_at([aug], self._shown, quiet, self._findings)[0]

    @cached_property
    def _shown(self) -> Tensor:
        return sample(self.train, self.device)

    @cached_property
    def teacher_logits(self) -> Tensor | None:
        """The teacher's logits of the test images."""
        return None if self.teacher is None else self._ask_teacher(self.test)

    @cached_property
    def held_out_teacher_logits(self) -> Tensor | None:
        """The teacher's logits of the held-out images."""
        return None if self.teacher is None or self.held_out is None else self._ask_teacher(self.held_out)

    def _ask_teacher(self, images: ImageSet) -> Tensor:
        assert self.teacher is not None
        network, mean, std = self.teacher.model, self.teacher.mean, self.teacher.std
        logits = held_out_logits(
            network, images, self.device, torch.float32, self.teacher.interface, mean=mean, std=std
        )
        if self.labelled and logits.shape[1] != self.train.num_classes:
            raise UsageError(
                f"the teacher has {logits.shape[1]} classes and {self.train.name} has {self.train.num_classes}: give"
                " the images it was trained on, or wrap it in a module that returns the logits of these classes"
            )
        if not all_finite(logits):
            raise UsageError("the teacher's output is not finite: the weights or the normalisation are broken")
        return logits

    @cached_property
    def clean(self) -> dict[str, float]:
        """Loss and accuracy of the teacher on the test images; nothing without labels."""
        assert self.teacher_logits is not None
        if not self.labelled:
            return {}
        return evaluate(self.teacher_logits, self.test.labels.cpu())

    @property
    def clean_top1(self) -> float:
        """Accuracy of the teacher on the test images."""
        return self.clean.get("top1", math.nan)

    def accuracy(self, most: int) -> tuple[float, int]:
        """Accuracy of the teacher on a sample of at most so many test images, and the number of images."""
        if len(self.test) <= most or not self.labelled:
            return self.clean_top1, len(self.test)
        some = self.test.subset(glance(len(self.test), most))
        return evaluate(self._ask_teacher(some), some.labels.cpu())["top1"], len(some)

    def work(
        self,
        student: str | nn.Module,
        recipe: Recipe,
        root: str | os.PathLike[str] = "runs",
        *,
        folder: str | os.PathLike[str] | None = None,
        aug: Augmentation | None = None,
        compile: bool = False,
        eval_every: EvalEvery = 1,
        keep: Keep = "last",
        target: Path | None = None,
        deterministic: bool = False,
    ) -> TrainingRun:
        """Name a run; nothing is built before it is carried out.

        Parameters
        ----------
        student : str or nn.Module
            An architecture, or a network whose weights are where training starts; it is copied.
        recipe : Recipe
        root, folder : path-like
            The folder below which runs have folders of their own, or the run's own.
        aug : Augmentation, optional
            In place of the recipe's, which then only names it.
        compile : bool
            See :class:`~dametric.training.trainer.Training`.
        eval_every, keep, target, deterministic
            See :class:`TrainingRun`.

        Raises
        ------
        UsageError
            For an ``eval_every`` or ``keep`` that does not exist, or a loss that needs labels where there are none.
        """
        if not (eval_every == "last" or (type(eval_every) is int and eval_every >= 1)):
            raise UsageError(f"{argument('eval_every')} is a number of epochs from 1 up, or last, not {eval_every}")
        if keep not in get_args(Keep):
            raise unknown("value of keep", str(keep), get_args(Keep))
        self.check_loss(recipe.objective)
        arch = _arch(student)
        config = {
            "kind": "train" if self.teacher is None else "distill",
            "student": arch,
            "teacher": None if self.teacher is None else self.teacher.identity,
            "data": {
                "train": self.train.fingerprint,
                "test": self.test.fingerprint,
                **({"held_out": self.held_out.fingerprint} if self.held_out else {}),
            },
            "mean": list(self.train.mean),
            "std": list(self.train.std),
            "recipe": _recorded(recipe),
            **self._operations(student, recipe, aug),
        }
        run = Run(Path(folder)) if folder else Run.of(root, config, _name(arch, recipe, self.teacher))
        how = (compile, eval_every, keep, target, deterministic)
        return TrainingRun(run, config, self, student, recipe, aug, *how)

    def network(self, dtype: str, batch_size: int) -> Network | None:
        """The teacher, ready to be asked; the same one whenever it is asked for.

        On a CPU it forwards every view of a batch by itself, so that no answer depends on what else is asked.
        """
        if self.teacher is None:
            return None
        if (dtype, batch_size) not in self._networks:
            kind, teacher = getattr(torch, dtype), self.teacher
            module = inference_copy(teacher.model, dtype=kind, device=self.device, interface=teacher.interface)
            chunk = _CHUNK.get(self.device.type, batch_size)
            self._networks[dtype, batch_size] = Network(
                module, mean=teacher.mean, std=teacher.std, chunk=chunk, dtype=kind, device=self.device
            )
        return self._networks[dtype, batch_size]

    def _operations(self, student: str | nn.Module, recipe: Recipe, aug: Augmentation | None) -> dict[str, Any]:
        """Canonical spellings of the augmentations; versions and hashes of the code that they and the loss call."""
        images = ImageSpec(self.train.image_size, self.train.mean)
        base, aug = base_augmentation(recipe.base_aug, images, mixes=True), aug or parse(recipe.aug, images)
        numbers = versions_of_base(base)
        numbers |= {name: number for each in aug.members for name, number in versions(each).items()}
        return {
            "operations": {"base_aug": base.canonical, "aug": aug.canonical},
            "versions": {**numbers, **term_versions(recipe, _arch(student))},
            "user_code": {**self._user_code(student, base, *aug.members), **_term_code(recipe)},
        }

    def _user_code(self, student: str | nn.Module, *augs: Augmentation) -> dict[str, str]:
        """Hashes of the user's own functions, and of the weights to start from."""
        code = {
            operation.name: source_digest(operation.function)
            for aug in augs
            for operation in aug.operations
            if isinstance(operation, External)
        }
        if isinstance(student, nn.Module):
            return {**code, "weights": weights_digest(student)}
        return (
            {**code, student: source_digest(load_object(student, "architecture"))}
            if is_user_architecture(student)
            else code
        )


def _recorded(recipe: Recipe) -> dict[str, Any]:
    """The recipe for a record, which says nothing of a loss term where there is none."""
    options = asdict(recipe)
    if recipe.objective.term is None:
        del options["objective"]["term"]
    return options


def _term_code(recipe: Recipe) -> dict[str, str]:
    """Hash of the user's own term of the loss."""
    term = recipe.objective.term
    return {} if term is None else {term: source_digest(load_object(term, "loss term"))}


@dataclass(frozen=True)
class TrainingRun:
    """A run: where its record goes, and how it is done.

    Attributes
    ----------
    run : Run
        Its folder.
    config : dict
        What determines the result; its hash is the run's id.
    context : TrainingContext
    student : str or nn.Module
    recipe : Recipe
    aug : Augmentation or None
        In place of the recipe's, which then only names it.
    compile : bool
    eval_every : int or "last"
        Look at the test images after every so many epochs and after the last, or after the last alone.
    keep : {"last", "none"}
        Whether the ledger keeps the weights of a finished run.
    target : Path or None
        A checkpoint to write at the end, for others to learn from.
    deterministic : bool
        On a GPU, compute the same bits each time, as far as torch can.
    """

    run: Run
    config: dict[str, Any]
    context: TrainingContext
    student: str | nn.Module
    recipe: Recipe
    aug: Augmentation | None = None
    compile: bool = False
    eval_every: EvalEvery = 1
    keep: Keep = "last"
    target: Path | None = None
    deterministic: bool = False

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: the record says so, and weights that it says were kept are there."""
        record = self.run.written
        if record is None or not record.finished:
            return False
        if self.target is not None:
            there = self.target.exists()
        else:
            there = self.run.checkpoint.exists() or record.kept == "none"
        return there and not self.misread

    @property
    def misread(self) -> bool:
        """Whether the record is of a time when this student's probabilities were taken for its logits."""
        record = self.run.written
        if record is None or not (isinstance(self.student, nn.Module) or is_user_architecture(self.student)):
            return False
        guesses = record.about.guessed or ()
        noted = any(line.startswith("student:") and PROBABILITIES in line for line in guesses)
        return not noted and PROBABILITIES in self.interface.guess

    @property
    def starts_over(self) -> str | None:
        """Why a run that was finished before is not; None where it is, or never was."""
        record = self.run.written
        if record is None or not record.finished or self.finished:
            return None
        if self.misread:
            return "but its probabilities were taken for logits"
        return "but its weights are gone" if self.weights_gone else None

    @property
    def weights_gone(self) -> bool:
        """Whether a run that is rightly recorded as finished has lost the weights that it was to keep."""
        record = self.run.written
        finished = record is not None and record.finished
        return finished and not (self.finished or self.misread or self.run.checkpoint.exists())

    @property
    def epochs(self) -> float:
        """Epochs in all, of which the last may be a part: units of progress."""
        steps = max(1, len(self.context.train) // self.recipe.batch_size)
        return self.recipe.length(steps) / steps

    @property
    def arch(self) -> str:
        """Name of the student's architecture."""
        return str(self.config["student"])

    @property
    def title(self) -> str:
        """The run in a few words."""
        aug = self.recipe.aug if self.context.teacher else self.recipe.base_aug
        return f"{self.arch}, {aug}, seed {self.recipe.seed}"

    def fresh(self) -> nn.Module:
        """The network before training."""
        if isinstance(self.student, nn.Module):
            return copy.deepcopy(self.student)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            return build(self.student, self.context.num_classes, self.context.train.image_size)

    @property
    def interface(self) -> Interface:
        """How the student takes images and gives logits; found out once for all runs of an architecture."""
        if "training" in self.__dict__:
            return self.training.interface
        key = (self.arch, str(self.config["user_code"].get("weights")))
        ways, data = self.context._interfaces, self.context.train
        if key not in ways:
            who, classes = "student", self.context.num_classes
            ways[key] = interface(self.fresh(), data, data.mean, data.std, who=who, classes=classes, training=True)
        return ways[key]

    @cached_property
    def augmentations(self) -> tuple[Augmentation, Augmentation]:
        """Base augmentation and the recipe's, with findings about user's functions; only warnings are printed."""
        return self.look(quiet=True)

    def look(self, quiet: bool = False) -> tuple[Augmentation, Augmentation]:
        """The same; findings about user's functions are printed, once for all runs."""
        context, recipe = self.context, self.recipe
        images = ImageSpec(context.train.image_size, context.teacher.mean if context.teacher else context.train.mean)
        base = base_augmentation(recipe.base_aug, images, mixes=not recipe.objective.needs_teacher)
        aug = self.aug or parse(recipe.aug, images)
        return check_base(context.looked_at(base, quiet)), context.looked_at(aug, quiet)

    @cached_property
    def training(self) -> Training:
        """The network with fresh weights, ready to be trained."""
        context, recipe = self.context, self.recipe
        base, aug = self.augmentations
        return Training(
            self.fresh(),
            context.on_device,
            recipe,
            context.device,
            teacher=context.network(recipe.dtype, recipe.batch_size) if recipe.objective.needs_teacher else None,
            augmented_mean=context.teacher.mean if context.teacher else None,
            base=base,
            aug=aug,
            compile=self.compile,
        )

    @cached_property
    def about(self) -> About:
        """The rest of the record: student, data, device, teacher."""
        context, data, teacher = self.context, self.context.train, self.context.teacher
        interfaces = [self.training.interface, *([teacher.interface] if teacher else [])]
        functions = [
            operation for aug in self.augmentations for operation in aug.operations if isinstance(operation, External)
        ]
        return About(
            student=RecordedStudent(self.arch, sum(weight.numel() for weight in self.training.model.parameters())),
            data=RecordedData(
                data.name,
                len(data),
                len(context.test),
                context.test.split if context.test.split == HELD_OUT_SPLIT else None,
                len(context.held_out) if context.held_out else None,
                data.num_classes,
                data.image_size,
                evaluation=data.evaluation,
                decoder=data.decoder,
            ),
            device=str(context.device),
            compile=self.compile,
            teacher=None
            if teacher is None
            else NetworkName(teacher.arch, sha256=teacher.sha256, clean=context.clean or None),
            guessed=[each.guess for each in interfaces if each.guess] or None,
            user_augmentations={function.name: function.findings.plain for function in functions if function.findings}
            or None,
        )


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of a network in hexadecimal: of its weights, its layers as they print, and the source of its classes."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        flat = torch.empty(weight.numel(), dtype=weight.dtype).copy_(weight.detach().flatten())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    digest.update(repr(model).encode())  # what has no weights: activations, strides
    for kind in sorted({type(module) for module in model.modules()}, key=lambda kind: kind.__qualname__):
        if not kind.__module__.startswith("torch."):
            digest.update(source_digest(kind).encode())
    return digest.hexdigest()


def _arch(student: str | nn.Module) -> str:
    return canonical(student) if isinstance(student, str) else type(student).__name__


def _name(arch: str, recipe: Recipe, teacher: Teacher | None) -> str:
    """A run's name for humans: what differs most between the runs of a ledger."""
    learnt = f"{teacher.arch}-{arch}-{recipe.aug}" if teacher else f"{arch}-{recipe.base_aug}"
    return f"{learnt}-s{recipe.seed}"
