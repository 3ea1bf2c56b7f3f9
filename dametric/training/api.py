"""Training teachers and distilling students."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dametric.augment import Augmentation, ImageSpec, base_augmentation, expand, parse
from dametric.base.arguments import argument
from dametric.base.files import check_writable
from dametric.base.option_groups import (
    AccuracyOptions,
    ImageOptions,
    LossOptions,
    OptimizerOptions,
    PrecisionOptions,
    RunOptions,
    TeacherOptions,
    ViewOptions,
)
from dametric.base.options import takes
from dametric.base.progress import say
from dametric.data import ImageSet
from dametric.data.given import is_source, source_of
from dametric.data.glance import accuracy_text, share_text
from dametric.data.request import ImageRequest
from dametric.errors import UsageError
from dametric.models import build, load_state
from dametric.models.accuracy import NO_ACCURACY, warn_of_teacher
from dametric.models.computing import chosen_device
from dametric.models.failures import network_errors
from dametric.models.loaded import taken_by
from dametric.models.named import AnyNetwork
from dametric.models.normalisation import described
from dametric.models.registry import check_architecture
from dametric.records.ledger import Ledger
from dametric.records.record import RunRecord
from dametric.training.context import TrainingContext, TrainingRun
from dametric.training.many import in_processes, one_by_one, refuse_another, with_lines
from dametric.training.recipe import LABELS, Objective
from dametric.training.request import DistillationRequest, TrainingRequest, on_epoch
from dametric.training.run import carry_out_together
from dametric.training.watched import watched

AugSpec = str | Augmentation | Callable[..., Any]


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes
    ----------
    record : dict
        See :mod:`dametric.records.runs`.
    folder : Path
    work : TrainingRun
        What was carried out.
    """

    record: dict[str, Any]
    folder: Path
    work: TrainingRun

    def __repr__(self) -> str:
        return f"Trained({self.work.title}: test loss {RunRecord.of(self.record).result.test_loss:.4f})"

    def _repr_html_(self) -> str:
        return str(Ledger((self.work.run,))._repr_html_())

    @property
    def model(self) -> nn.Module:
        """The network, in evaluation mode, on the CPU.

        Raises
        ------
        UsageError
            If its weights were not kept.
        """
        if not (self.folder / "last.pt").exists():
            raise UsageError(f"the weights of {self.folder} were not kept: remove the folder to train them again")
        model = self.work.fresh()
        load_state(self.folder / "last.pt", model)
        return model.eval()


@takes(optimizer=OptimizerOptions, precision=PrecisionOptions, run=RunOptions, images=ImageOptions)
def train(
    arch: str | nn.Module,
    data: Any = None,
    *,
    output: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "runs",
    aug: str | None = None,
    held_out: ImageSet | int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    tensorboard: bool = False,
    quiet: bool = False,
    optimizer: OptimizerOptions,
    precision: PrecisionOptions,
    run: RunOptions,
    images: ImageOptions,
) -> Trained:
    """Train a network by labels, into the ledger; interrupted, the same call goes on.

    Parameters
    ----------
    arch : str or nn.Module
        An architecture as :func:`dametric.models.build` takes it, or a network to start from.
    data : str, path-like or tuple of image sets
        A name or a path as :func:`dametric.load_data` takes them, or images for training and for testing.
    output : path-like, optional
        A checkpoint to write; its run's folder is beside it, with the ending ``.run``.
    out : path-like
        The ledger's folder, where no checkpoint is asked for.
    aug : str, optional
        Augmentation of all images, ``"crop+flip"`` or above 96 pixels ``"rrc+flip"``; may mix them.
    held_out : int or ImageSet, optional
        So many of the training images, or images, to evaluate once, at the end.
    seed : int
        Random seed: initial weights, order of images, augmentation.
    device : str or torch.device, optional
        CUDA where there is one.
    tensorboard : bool
        Write event files into the run's folder.
    quiet : bool
        No progress on stderr.
    **options

    Returns
    -------
    Trained

    Raises
    ------
    UsageError
        For anything that cannot be.
    RunFailed
        If the loss is not finite.
    Interrupted
        On Ctrl-C, after everything is saved.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trained = train("resnet8", "digits", output=f"{folder}/t.pth", steps=2, image_size=16, eval_every="last",
    ...                     device="cpu", dtype="float32", quiet=True)
    >>> trained.record["last"]["step"]
    2
    """
    target = None if output is None else Path(output)
    if target is not None and target.suffix == ".run":
        raise UsageError(f"{target} is the name of the run's folder: call the checkpoint {target.with_suffix('.pth')}")
    check_writable(target or Path(out) / "record.json")
    recipe = {**_without_rate(optimizer), "objective": LABELS, "seed": seed}
    request = _image_request(data, images, held_out, quiet)
    options = _request(request, recipe, optimizer.lr, aug, device, precision, run, tensorboard)
    options.check()
    if isinstance(arch, str):
        check_architecture(arch)
    with network_errors():
        if is_source(data):
            train_set, test, aside = options.read(request)
            # refused here, not after the data are moved
            network = (
                build(arch, max(1, train_set.num_classes), train_set.image_size) if isinstance(arch, str) else arch
            )
            if taken_by(network, "network", request, train_set.image_size).grey:
                train_set, test, aside = train_set.grey(), test.grey(), aside and aside.grey()
        else:
            train_set, test, aside = options.in_memory(data, held_out)
        name = arch if isinstance(arch, str) else type(arch).__name__
        say(f"{name}: {described(train_set.mean, train_set.std, train_set.normalised_by)}", quiet)
        context = TrainingContext(train_set, test, chosen_device(device), held_out=aside)
        where = {"root": out} if target is None else {"folder": target.with_suffix(".run"), "target": target}
        work = options.work(context, arch, options.resolved(name, train_set), **where)
        refuse_another(work)
        with with_lines([work], options) as watch:
            notes = on_epoch([work], options)
            watch.results = carry_out_together([work], stop=watch.stop, advance=watch.advance, on_epoch=notes)
    (result,) = watch.results
    if isinstance(result, BaseException):
        raise result
    return Trained(result.document(), work.run.folder, work)


@takes(
    optimizer=OptimizerOptions,
    loss=LossOptions,
    view=ViewOptions,
    precision=PrecisionOptions,
    run=RunOptions,
    checkpoint=TeacherOptions,
    images=ImageOptions,
)
def distill(
    teacher: AnyNetwork,
    student: str | nn.Module,
    data: Any = None,
    aug: AugSpec = "identity",
    *,
    out: str | os.PathLike[str] = "runs",
    held_out: ImageSet | int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    quiet: bool = False,
    optimizer: OptimizerOptions,
    loss: LossOptions,
    view: ViewOptions,
    precision: PrecisionOptions,
    run: RunOptions,
    checkpoint: TeacherOptions,
    images: ImageOptions,
) -> Trained:
    """Distil a student from a teacher under an augmentation, into the ledger.

    Parameters
    ----------
    teacher : path-like, nn.Module, Checkpoint or LoadedNetwork
        Takes normalised images (batch, channels, height, width), returns logits (batch, classes).
    student : str or nn.Module
        An architecture as :func:`dametric.models.build` takes it, or a network to start from.
    data : str, path-like or tuple of image sets, optional
        A name or a path as :func:`dametric.load_data` takes them, or images for training and for testing. By default
        what the teacher's checkpoint says it was trained on.
    aug : specification or callable
        As :func:`dametric.score` takes it.
    out : path-like
        The ledger's folder. A run that is finished there is not repeated, one that was interrupted goes on.
    held_out : int or ImageSet, optional
        So many of the training images, or images, to evaluate once, at the end: see :func:`dametric.data.hold_out`.
    seed : int
        Random seed: initial weights, order of images, augmentation.
    device : str or torch.device, optional
        CUDA where there is one.
    quiet : bool
        No progress on stderr.
    **options

    Returns
    -------
    Trained

    Raises
    ------
    UsageError
        For anything that cannot be: images of another size than the checkpoint's among it.
    RunFailed
        If the loss is not finite.
    Interrupted
        On Ctrl-C, after everything is saved.

    Examples
    --------
    >>> import tempfile
    >>> from dametric.models import build
    >>> short = {"steps": 2, "eval_every": "last", "device": "cpu", "dtype": "float32", "quiet": True}
    >>> teacher = build("resnet8", 10, 16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trained = distill(teacher, "resnet8", "digits", "cutmix", out=folder, image_size=16, **short)
    >>> trained.record["config"]["recipe"]["aug"]
    'cutmix'
    """
    common = student_request(data, held_out, device, quiet, optimizer, loss, view, precision, run, images)
    common.check()
    aside = None if is_source(data) else held_out
    with network_errors():
        context = DistillationRequest(common, teacher, student, (), (), str(out), checkpoint, data, aside).context()
        assert context.teacher is not None
        augmentation = parse(aug, ImageSpec(context.train.image_size, context.teacher.mean))
        name = student if isinstance(student, str) else ""
        work = common.work(
            context,
            student,
            common.resolved(name, context.train, aug=augmentation.name, seed=seed),
            root=out,
            aug=augmentation,
        )
        if not work.finished:
            context.looked_at(augmentation, quiet)
            if warning := context.teacher.shortfall(context.clean_top1, len(context.test)):
                say(warning)
        return Trained(watched(work, quiet=quiet).document(), work.run.folder, work)


@takes(
    optimizer=OptimizerOptions,
    loss=LossOptions,
    view=ViewOptions,
    precision=PrecisionOptions,
    run=RunOptions,
    checkpoint=TeacherOptions,
    looked_at=AccuracyOptions,
    images=ImageOptions,
)
def distill_all(
    teacher: str | os.PathLike[str],
    student: str,
    data: str | os.PathLike[str] | None = None,
    augs: str | Sequence[str] = "paper",
    *,
    out: str | os.PathLike[str] = "runs",
    seeds: Iterable[int] = (0,),
    jobs: int = 1,
    lockstep: int = 1,
    held_out: int | None = None,
    device: str | None = None,
    tensorboard: bool = False,
    quiet: bool = False,
    optimizer: OptimizerOptions,
    loss: LossOptions,
    view: ViewOptions,
    precision: PrecisionOptions,
    run: RunOptions,
    checkpoint: TeacherOptions,
    looked_at: AccuracyOptions,
    images: ImageOptions,
) -> Ledger:
    """Distil a student for every augmentation and seed that is not in the ledger yet.

    Parameters
    ----------
    teacher : path-like
        A checkpoint's file.
    student : str
        An architecture.
    data : str or path-like, optional
        As :func:`distill` takes it.
    augs : str or sequence of str
        Names; ``"paper"`` stands for the paper's nine.
    out : path-like
        The ledger's folder.
    seeds : iterable of int
        A run for each.
    jobs : int
        Runs side by side, in processes that share the cores.
    lockstep : int
        Train up to so many students of one seed together: the same numbers, sooner.
    held_out : int, optional
        Set so many training images aside.
    device, tensorboard, quiet
        As :func:`train` takes them.
    **options

    Returns
    -------
    Ledger
        The runs that were asked for, those done before among them; what failed is in its ``failed``.

    Raises
    ------
    UsageError
        For anything that cannot be.
    Interrupted
        On Ctrl-C, after everything is saved.

    Examples
    --------
    >>> import tempfile
    >>> short = {"steps": 2, "image_size": 16, "eval_every": "last", "device": "cpu", "dtype": "float32", "quiet": True}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     teacher = train("resnet8", "digits", output=f"{folder}/t.pth", **short)
    ...     ledger = distill_all(f"{folder}/t.pth", "resnet8", augs=["flip", "cutmix"], out=f"{folder}/runs", **short)
    ...     ledger.table["aug"].tolist(), ledger.failed
    (['cutmix', 'flip'], ())
    """
    common = student_request(data, held_out, device, quiet, optimizer, loss, view, precision, run, images, tensorboard)
    common.check()
    if not isinstance(teacher, (str, os.PathLike)):  # runs are known by the file, and processes read it
        raise UsageError(
            f"distill_all takes the file of a teacher, not a {type(teacher).__name__}: save it by"
            " dametric.models.save_checkpoint, or distil one student by dametric.distill, which takes networks"
        )
    check_architecture(student)
    chosen = named_augmentations([augs] if isinstance(augs, str) else augs)
    for aug in chosen:
        parse(aug, ImageSpec())
    if not common.objective.needs_teacher:
        say("the loss does not use the teacher: this is training by labels, and the augmentation has no effect", quiet)
    check_writable(Path(out) / "record.json")
    with network_errors():
        distillation = DistillationRequest(
            common, str(teacher), student, chosen, tuple(seeds), str(out), checkpoint, data
        )
        distillation = replace(distillation, jobs=jobs, lockstep=lockstep)
        context = distillation.context()
        distillation = replace(distillation, augs=_looked_at(chosen, common.base_aug, context, quiet))
        introduce_teacher(context, looked_at.most, quiet)
        runs = [
            distillation.work(context, aug, number).run for aug in distillation.augs for number in distillation.seeds
        ]
        carry_out = in_processes if jobs > 1 else one_by_one
        failed = carry_out(distillation, context, distillation.groups())
    return Ledger(tuple(each for each in runs if each.record is not None), tuple(failed))


def student_request(
    data: Any,
    held_out: ImageSet | int | None,
    device: Any,
    quiet: bool,
    optimizer: OptimizerOptions,
    loss: LossOptions,
    view: ViewOptions,
    precision: PrecisionOptions,
    run: RunOptions,
    images: ImageOptions,
    tensorboard: bool = False,
) -> TrainingRequest:
    """What all students of a call have in common, from its options.

    Raises
    ------
    UsageError
        For options that have no meaning with such data.
    """
    recipe = {**_without_rate(optimizer), **_of_views(view), "objective": _objective(loss)}
    request = _image_request(data, images, held_out, quiet)
    return _request(request, recipe, optimizer.lr, view.base_aug, device, precision, run, tensorboard)


def named_augmentations(augs: Iterable[str]) -> tuple[str, ...]:
    """Augmentations once each; groups, such as ``paper``, and ranges stand for their members."""
    return tuple(expand(augs))


def _looked_at(augs: Sequence[str], base_aug: str | None, context: TrainingContext, quiet: bool) -> tuple[str, ...]:
    """Augmentations without those that spell another one differently; prints these, and findings about functions."""
    images = ImageSpec(context.train.image_size, context.train.mean)
    first: dict[str, str] = {}
    for aug in augs:
        same = first.setdefault(parse(aug, images).canonical, aug)
        if same != aug:
            say(f"{aug} is {same}: the same runs", quiet)
    shown = replace(images, mean=context.teacher.mean) if context.teacher else images
    for aug in first.values():
        context.looked_at(parse(aug, shown), quiet)
    if base_aug is not None:
        context.looked_at(base_augmentation(base_aug, images, mixes=True), quiet)
    return tuple(first.values())


def introduce_teacher(context: TrainingContext, most: int, quiet: bool, images: str = "test images") -> None:
    """Print the teacher's accuracy on the images that students are evaluated on, and warn if it is near chance."""
    if not context.labelled:
        say(f"teacher: {NO_ACCURACY.format(context.train.name)}", quiet)
        return
    top1, shown = context.accuracy(most)
    warn_of_teacher(context.teacher, top1, context.train.num_classes, shown, "students")
    say(f"teacher: {accuracy_text(top1, shown)} on {share_text(shown, len(context.test))} {images}", quiet)


def _without_rate(optimizer: OptimizerOptions) -> dict[str, Any]:
    return {name: value for name, value in asdict(optimizer).items() if name != "lr"}


def _of_views(view: ViewOptions) -> dict[str, Any]:
    return {name: value for name, value in asdict(view).items() if name != "base_aug"}


def _objective(loss: LossOptions) -> Objective:
    weights = {"ce": loss.ce_weight, "raw": loss.raw_weight, "aug": loss.aug_weight}
    return Objective.of(loss.views, **weights, temperature=loss.temperature, term=loss.loss_term)


def _image_request(data: Any, images: ImageOptions, held_out: ImageSet | int | None, quiet: bool) -> ImageRequest:
    if is_source(data) and isinstance(held_out, ImageSet):
        raise UsageError(f"{argument('held_out')} of images that are read here is a number of them, not an image set")
    aside = None if isinstance(held_out, ImageSet) else held_out
    if not is_source(data) and (given := [name for name, value in vars(images).items() if value not in (None, False)]):
        raise UsageError(f"{argument(given[0])} says how images are read, and these are in memory: leave it out")
    return ImageRequest(
        **vars(images), held_out=aside if is_source(data) else None, source=source_of(data), quiet=quiet
    )


def _request(
    images: ImageRequest,
    recipe: dict[str, Any],
    lr: float | None,
    base_aug: str | None,
    device: Any,
    precision: PrecisionOptions,
    run: RunOptions,
    tensorboard: bool = False,
) -> TrainingRequest:
    computed = (device, precision.dtype, precision.compile, tensorboard)
    return TrainingRequest(images, recipe, lr, base_aug, *computed, run.eval_every, run.keep, run.deterministic)
