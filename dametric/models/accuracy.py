"""Clean accuracy of a teacher, and the warning where it is near chance or below what its file records."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from dametric.base.arguments import argument
from dametric.base.progress import progress, say
from dametric.data import ImageSet
from dametric.data.glance import accuracy_text, glance, share_error, share_text
from dametric.errors import UsageError
from dametric.models.inference import inference_copy
from dametric.models.loaded import LoadedNetwork
from dametric.models.network import Network

ACCURACY_IMAGES = 2_000
"""Images on which a teacher's accuracy is measured: to about one percentage point."""
Sums = tuple[float, float]


def alone(part: Sums) -> list[Sums]:
    """Gather the sums of all processes, where there is only one."""
    return [part]


def clean_accuracy(
    network: Network,
    data: ImageSet,
    device: torch.device,
    quiet: bool,
    most: int = ACCURACY_IMAGES,
    *,
    share: slice = slice(None),
    gather: Callable[[Sums], list[Sums]] = alone,
) -> tuple[float, float, int]:
    """Top-1 accuracy and mean cross-entropy on unaugmented images, and the number of images.

    Parameters
    ----------
    network : Network
    data : ImageSet
    device : torch.device
    quiet : bool
        Show no progress.
    most : int
        Largest number of images.
    share, gather
        Batches of this process, and a function that gathers the sums of all processes.

    Returns
    -------
    tuple of (float, float, int)
        Accuracy as a fraction, cross-entropy in nats, number of images.
    """
    order = glance(len(data), most)
    parts = order.split(network.chunk)[share]
    correct = loss = 0.0
    with progress("clean accuracy", len(parts), quiet=quiet) as advance:
        for index, images in zip(parts, data.stream(parts, device), strict=True):
            logits, labels = network(images), data.labels[index].to(device)
            if data.num_classes and logits.shape[1] != data.num_classes:
                raise UsageError(
                    f"the teacher has {logits.shape[1]} classes and {data.name} has {data.num_classes}: give the images"
                    f" it was trained on, or {argument('accuracy', False)} if images of other classes are meant"
                )
            correct += float((logits.argmax(1) == labels).sum())
            loss += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            advance()
    correct, loss = (sum(values) for values in zip(*gather((correct, loss)), strict=True))
    return correct / len(order), loss / len(order), len(order)


def report_accuracy(
    teacher: LoadedNetwork,
    held_out: ImageSet,
    classes: int,
    device: torch.device,
    dtype: torch.dtype,
    quiet: bool,
    most: int = ACCURACY_IMAGES,
    **ranks: Any,
) -> dict[str, Any]:
    """Measure and print the teacher's clean accuracy, and warn where it is near chance or below its record.

    Returns
    -------
    dict
        ``top1`` (fraction), ``top1_se``, ``loss`` (nats), ``images``, ``split``.

    Raises
    ------
    UsageError
        If the teacher's output is not finite.
    """
    copy = inference_copy(teacher.model, dtype=dtype, device=device, interface=teacher.interface)
    normalisation = {"mean": teacher.mean, "std": teacher.std}
    network = Network(copy, **normalisation, chunk=256 if device.type == "cpu" else 1024, dtype=dtype, device=device)
    top1, loss, count = clean_accuracy(network, held_out.to(device), device, quiet, most, **ranks)
    shown = f"{share_text(count, len(held_out))} {held_out.split} images"
    say(f"teacher: {accuracy_text(top1, count)}, loss {loss:.4f} on {shown}", quiet)
    if not math.isfinite(loss):
        raise UsageError(
            "the teacher's output on clean images is not finite: the weights or the normalisation are broken"
        )
    warn_of_teacher(teacher, top1, classes, count, "scores")
    numbers = {"top1": top1, "top1_se": share_error(top1, count), "loss": loss}
    return {**numbers, "images": count, "split": held_out.split}


NO_ACCURACY = "its accuracy is not known, since {} has no labels"


def near_chance(top1: float, classes: int, images: int) -> bool:
    """Whether an accuracy on this many images is hardly above chance."""
    chance = 1 / classes
    return top1 < chance + 0.05 * (1 - chance) + 2 * math.sqrt(chance / images)


def warn_of_teacher(teacher: LoadedNetwork | None, top1: float, classes: int, images: int, results: str) -> None:
    """Warn of a teacher whose accuracy is near chance, or below what its file records."""
    if near_chance(top1, classes, images):
        warn_near_chance(top1, classes, images, results)
    elif teacher is not None and (warning := teacher.shortfall(top1, images)):
        say(warning)


def warn_near_chance(top1: float, classes: int, images: int, results: str) -> None:
    """Warn of a teacher whose accuracy is near chance."""
    if near_chance(top1, classes, images):
        say(
            f"WARNING: {100 * top1:.2f} % is near chance ({100 / classes:.2f} %). The {results} below mean nothing "
            f"unless the architecture, the class order and the normalisation ({argument('mean')}, {argument('std')}) "
            "are those of the training."
        )
