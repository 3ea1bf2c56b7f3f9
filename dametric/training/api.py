"""Teachers and students, from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dametric.augment import Augmentation, Images, default_base, parse
from dametric.base.interrupts import until_interrupted
from dametric.base.progress import progress, say
from dametric.data import ImageSet
from dametric.errors import Interrupted, UsageError
from dametric.models import Checkpoint, load_state
from dametric.models.computing import chosen_device, chosen_dtype
from dametric.models.normalisation import Given
from dametric.records.runs import Row
from dametric.training.recipe import LABELS, Objective, Recipe, default_rate
from dametric.training.run import OnEpoch, Result, carry_out_together
from dametric.training.setting import EvalEvery, Keep, Setting, Teacher, Work

AugSpec = str | Augmentation | Callable[..., Any]


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes
    ----------
    record : dict
        See :mod:`dametric.records.runs`.
    folder : Path
    work : Work
        What was carried out.
    """

    record: dict[str, Any]
    folder: Path
    work: Work

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


def distill(
    teacher: nn.Module | Checkpoint | str | os.PathLike[str],
    student: str | nn.Module,
    data: tuple[ImageSet, ImageSet],
    aug: AugSpec = "identity",
    *,
    out: str | os.PathLike[str] = "runs",
    views: str = "both",
    ce_weight: float | None = None,
    raw_weight: float | None = None,
    aug_weight: float | None = None,
    temperature: float = 4.0,
    lr: float | None = None,
    dtype: str | torch.dtype | None = None,
    base_aug: str | None = None,
    mean: Given = None,
    std: Given = None,
    device: str | torch.device | None = None,
    compile: bool = False,
    eval_every: EvalEvery = 1,
    keep: Keep = "last",
    held_out: ImageSet | None = None,
    quiet: bool = False,
    **recipe: Any,
) -> Trained:
    """Distil a student from a teacher under an augmentation, into the ledger.

    Parameters
    ----------
    teacher : nn.Module, Checkpoint or path-like
        Takes normalised images (batch, channels, height, width), returns logits (batch, classes).
    student : str or nn.Module
        An architecture as :func:`dametric.models.build` takes it, or a network to start from.
    data : tuple of ImageSet
        Training and test images.
    aug : specification or callable
        As :func:`dametric.score` takes it.
    out : path-like
        The ledger's folder. A run that is finished there is not repeated, one that was interrupted goes on.
    views : {"both", "augmented", "raw"}
        What the student sees.
    ce_weight, raw_weight, aug_weight, temperature : float, optional
        See :class:`~dametric.training.recipe.Objective`.
    lr : float, optional
        The architecture's published learning rate by default.
    dtype : str or torch.dtype, optional
        Of the forward passes: bfloat16 where the device has it in hardware, else float32.
    base_aug : str, optional
        The loader's own augmentation: ``"crop+flip"``, above 96 pixels ``"rrc+flip"``.
    mean, std : tuple of float or str, optional
        Normalisation of the teacher, in 0..1 or by name (``"imagenet"``, ``"cifar100"``, ...); its checkpoint's by
        default, else that of the library its architecture is from, else the data set's.
    device : str or torch.device, optional
        CUDA where there is one.
    compile : bool
        See :class:`~dametric.training.trainer.Training`.
    eval_every : int or "last"
        Look at the test images after every so many epochs and after the last, or after the last alone.
    keep : {"last", "none"}
        Whether the weights are kept once the run is finished; its record and history always are.
    held_out : ImageSet, optional
        Images to look at once, at the end, beside the test images: see :func:`dametric.data.hold_out`.
    quiet : bool
        No progress on stderr.
    **recipe
        The rest of :class:`~dametric.training.recipe.Recipe`: ``epochs`` or ``steps``, ``batch_size``,
        ``schedule``, ``seed``, ...

    Returns
    -------
    Trained

    Raises
    ------
    UsageError
        For anything that cannot be: images of another size than the checkpoint's among it.
    RunFailed
        If the loss is not finite.
    """
    place = chosen_device(device)
    kind = str(chosen_dtype(dtype, place)).removeprefix("torch.")
    train_set, test = data
    own = Teacher.of(teacher, train_set, mean, std)
    if isinstance(teacher, (nn.Module, Checkpoint)):
        for line in filter(None, (own.line("teacher"), own.interface.guess)):
            say(line, quiet)
    else:
        own.introduce("teacher", quiet)
    setting = Setting(train_set, test, place, own, held_out)
    asked = parse(aug, Images(train_set.image_size, setting.teacher.mean if setting.teacher else train_set.mean))
    objective = Objective.of(views, ce=ce_weight, raw=raw_weight, aug=aug_weight, temperature=temperature)  # type: ignore[arg-type]
    options = Recipe(
        **recipe,
        lr=default_rate(student if isinstance(student, str) else "") if lr is None else lr,
        objective=objective,
        aug=asked.name,
        base_aug=base_aug or default_base(train_set.image_size),
        dtype=kind,
    )
    work = setting.work(student, options, out, aug=asked, compile=compile, eval_every=eval_every, keep=keep)
    if not work.finished:
        setting.looked_at(asked, quiet)
        if warning := own.shortfall(setting.clean["top1"], len(test)):
            say(warning)
    return Trained(watched(work, quiet=quiet), work.run.folder, work)


def train(
    arch: str | nn.Module,
    data: tuple[ImageSet, ImageSet],
    *,
    out: str | os.PathLike[str] = "runs",
    aug: str | None = None,
    lr: float | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    compile: bool = False,
    eval_every: EvalEvery = 1,
    keep: Keep = "last",
    held_out: ImageSet | None = None,
    quiet: bool = False,
    **recipe: Any,
) -> Trained:
    """Train a network by labels, into the ledger.

    Parameters
    ----------
    arch : str or nn.Module
        An architecture as :func:`dametric.models.build` takes it, or a network to start from.
    data : tuple of ImageSet
        Training and test images.
    aug : str, optional
        Augmentation of all images, ``"crop+flip"`` or above 96 pixels ``"rrc+flip"``; may mix them.
    out, lr, dtype, device, compile, eval_every, keep, held_out, quiet, **recipe
        See :func:`distill`.

    Returns
    -------
    Trained
    """
    place = chosen_device(device)
    kind = str(chosen_dtype(dtype, place)).removeprefix("torch.")
    setting = Setting(*data, place, held_out=held_out)
    options = Recipe(
        **recipe,
        lr=default_rate(arch if isinstance(arch, str) else "") if lr is None else lr,
        objective=LABELS,
        base_aug=aug or default_base(data[0].image_size),
        dtype=kind,
    )
    work = setting.work(arch, options, out, compile=compile, eval_every=eval_every, keep=keep)
    return Trained(watched(work, quiet=quiet), work.run.folder, work)


def watched(
    work: Work,
    *,
    quiet: bool = False,
    on_epoch: OnEpoch = lambda row: None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Carry out a run with a bar, so that Ctrl-C (or ``stop``) saves it and says how to go on.

    Raises
    ------
    BusyError, Interrupted, RunFailed
        See :func:`~dametric.training.run.carry_out`.
    """
    (result,) = watched_together([work], quiet=quiet, on_epoch=lambda work, row: on_epoch(row), stop=stop)
    if isinstance(result, BaseException):
        raise result
    return result


def watched_together(
    works: Sequence[Work],
    *,
    quiet: bool = False,
    on_epoch: Callable[[Work, Row], None] = lambda work, row: None,
    stop: Callable[[], bool] | None = None,
) -> list[Result]:
    """Carry out runs in lockstep with a bar, so that Ctrl-C (or ``stop``) saves them and says how to go on.

    Returns
    -------
    list
        As :func:`~dametric.training.run.carry_out_together`, without Interrupted, which is raised.

    Raises
    ------
    Interrupted
        If a run was.
    """
    for work in works:
        if not work.finished:
            work.setting.tell(work.training.interface, quiet)
    title = works[0].title + (f" and {len(works) - 1} more in lockstep" if len(works) > 1 else "")
    total = sum(work.epochs for work in works)
    with until_interrupted() as asked, progress(title, total, quiet=quiet) as advance:
        results = carry_out_together(works, stop=stop or asked, advance=advance, on_epoch=on_epoch)
    for result in results:
        if isinstance(result, Interrupted):
            raise Interrupted(f"{result}; everything is saved, the same command goes on") from result
    return results
