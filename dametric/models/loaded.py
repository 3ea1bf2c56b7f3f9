"""A network with all that belongs to it: the size, the normalisation and the classes of the images it is shown."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import nn

from dametric.base.arguments import argument
from dametric.base.progress import say
from dametric.data import Found, ImageSet
from dametric.data.checks import check_order
from dametric.data.request import ImageRequest
from dametric.errors import UsageError
from dametric.models.checkpoint import ASSUMED_SIZE, Checkpoint, load_checkpoint
from dametric.models.interface import Interface, input_channels, interface
from dametric.models.network import normalisation
from dametric.models.normalisation import NOTHING, Given, Normalisation, described, in_use
from dametric.models.reading import WeightFile, read_weights
from dametric.models.weight_sets import Role

GREY = "data: images become one-channel (grey), as the {}'s first layer takes one channel"
_WORSE = 0.01  # of all images: so much less than recorded is no other rounding
_ACCURACIES = (
    *("test_top1", "top1", "accuracy", "acc", "acc1", "prec1", "test_acc", "test_accuracy", "val_acc", "val_acc1"),
    *("val_accuracy", "best_acc", "best_acc1", "best_accuracy", "best_prec1", "best_top1"),
)

Own = TypeVar("Own", bound="LoadedNetwork")


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that is ready to be shown images of one set.

    Attributes
    ----------
    model : nn.Module
        Takes normalised images, returns logits.
    mean, std : tuple of float
        Its normalisation, in 0..1.
    arch, sha256 : str
        What records say of it; the hash is that of its file, and of the place in it where that needs saying.
    normalised_by : str
        Where mean and std come from, in words.
    accuracy : float or None
        Top-1 (fraction) that its file records.
    notes : tuple of str
        What was read, stripped and recognised, for a human.
    interface : Interface
        How it takes images and gives logits.
    """

    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    arch: str
    sha256: str
    normalised_by: str = ""
    accuracy: float | None = None
    notes: tuple[str, ...] = ()
    interface: Interface = field(default_factory=Interface)

    @classmethod
    def of(
        cls: type[Own],
        network: nn.Module | Checkpoint | str | os.PathLike[str],
        data: ImageSet,
        mean: Given = None,
        std: Given = None,
        *,
        role: Role = "teacher",
        otherwise: Normalisation | None = None,
    ) -> Own:
        """Decide how a network is shown the images of a set.

        Parameters
        ----------
        network : nn.Module, Checkpoint or path-like
        data : ImageSet
        mean, std : sequence of float or str, optional
            What the user says of its normalisation, in numbers or by name.
        role : {"teacher", "student"}
            For messages, and for files that hold both.
        otherwise : Normalisation, optional
            What is used where neither the user nor the network says anything; the image set's by default.

        Raises
        ------
        UsageError
            If the network was trained on images of another size, with the classes in another order, or the
            normalisation does not fit the images.
        """
        otherwise = otherwise or Normalisation(data.mean, data.std, data.normalised_by)
        if isinstance(network, nn.Module):
            first, second, source = in_use(mean, std, NOTHING, otherwise, data.channels)
            own = normalisation(first, second, data.channels)
            way = interface(network, data, *own, who=role, classes=data.num_classes)
            return cls(network, *own, type(network).__name__, "", source, interface=way)
        read = network if isinstance(network, Checkpoint) else _of_its_size(network, data, role)
        if read.image_size not in (None, data.image_size):
            raise UsageError(
                f"the {role} was trained on images of {read.image_size} pixels, and those of {data.name} have "
                f"{data.image_size}: read them with {argument('image_size', read.image_size)}, or if this is "
                f"meant the checkpoint with {argument('image_size', data.image_size)}"
            )
        check_order(role, read.classes, data.name, data.classes)
        theirs = Normalisation(read.mean, read.std, read.normalised_by)
        first, second, source = in_use(mean, std, theirs, otherwise, data.channels)
        own = normalisation(first, second, data.channels)
        way = interface(read.model, data, *own, who=role, classes=read.num_classes)
        known = recorded_accuracy(read.extra)
        return cls(read.model, *own, read.arch, read.sha256, source, known, read.notes, way)

    @property
    def normalisation(self) -> Normalisation:
        """As others may use it too."""
        return Normalisation(self.mean, self.std, self.normalised_by)

    def line(self, role: str) -> str:
        """How it is shown images, in one line."""
        return f"{role}: {described(self.mean, self.std, self.normalised_by)}"

    def introduce(self, role: str, quiet: bool = False, more: Sequence[str] = ()) -> None:
        """Say what was read, and how it is shown images, and more lines; warnings in any case."""
        guess = [self.interface.guess] if self.interface.guess else []
        for line in (*(f"{role}: {note}" for note in self.notes), self.line(role), *guess, *more):
            say(line, quiet and "WARNING" not in line)

    def shortfall(self, top1: float, images: int) -> str | None:
        """A warning where it knows clearly less than its own record says; None where all is well.

        Parameters
        ----------
        top1 : float
            Its accuracy here, as a fraction.
        images : int
            On how many that was measured.
        """
        if self.accuracy is None:
            return None
        error = math.sqrt(self.accuracy * (1 - self.accuracy) / images)
        if top1 >= self.accuracy - _WORSE - 2 * error:
            return None
        return (
            f"WARNING: {100 * top1:.2f} % is well below the {100 * self.accuracy:.2f} % that the teacher's own file "
            f"records: its image size, normalisation ({argument('mean')}, {argument('std')}), class order or data "
            "are not those of its training"
        )


def taken_on_trust(network: nn.Module | Checkpoint | str | os.PathLike[str], data: ImageSet, role: str) -> list[str]:
    """What nobody vouches for where a network and images are brought together in Python, a line each.

    The command line reads the images in the size of the network's training, and builds a network for their size.
    """
    if isinstance(network, nn.Module):
        return [f"{role}: shown images of {data.image_size} pixels, a size that a network cannot confirm"]
    if not isinstance(network, Checkpoint):
        return []
    lines = []
    if network.image_size is None and network.arch.startswith(("torchvision:", "timm:")):  # made for no size
        lines.append(f"{role}: its file does not say on what size of images it was trained: shown {data.image_size}")
    elif network.image_size is None and data.image_size != ASSUMED_SIZE:
        lines.append(
            f"WARNING: nothing says on what size of images the {role} was trained: {ASSUMED_SIZE} pixels are assumed, "
            f"and these have {data.image_size}: read them with {argument('image_size', ASSUMED_SIZE)}, or if this is "
            f"meant the checkpoint with {argument('image_size', data.image_size)}"
        )
    if network.data not in (None, data.name) and data.name != "tensors":
        lines.append(f"{role}: trained on {network.data}, these are {data.name}")
    if data.num_classes and data.num_classes != network.num_classes:
        lines.append(f"{role}: tells {network.num_classes} classes apart, and {data.name} has {data.num_classes}")
    return lines


def recorded_accuracy(extra: dict[str, Any]) -> float | None:
    """Top-1 accuracy as a fraction, by what a checkpoint keeps beside its weights; None where it says none."""
    test = extra.get("test")
    kept = {str(name).lower(): value for name, value in {**extra, **(test if isinstance(test, dict) else {})}.items()}
    for name in _ACCURACIES:
        value = kept.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 100:
            return value / 100 if value > 1 else float(value)
    return None


def size_for(file: WeightFile, data: ImageSet | Found, asked: bool) -> int:
    """The size that a network is built for: what the user asked for, what its file says, that of the images."""
    return data.image_size if asked or file.image_size is None else file.image_size


def _of_its_size(path: str | os.PathLike[str], data: ImageSet, role: Role) -> Checkpoint:
    """A checkpoint, built for the images' size where its file does not tell."""
    file = read_weights(path, role=role)
    return load_checkpoint(file, image_size=size_for(file, data, asked=False))


def built_network(file: WeightFile, arch: str | None, data: ImageSet | Found, asked_size: int | None) -> Checkpoint:
    """The network of a file, for images of a set; a size that the user asked for is the network's too."""
    return load_checkpoint(file, arch=arch, image_size=size_for(file, data, asked_size is not None))


def taken_by(network: nn.Module, who: str, options: ImageRequest, image_size: int) -> ImageRequest:
    """The data in as many channels as a network takes: grey, which is said, where its first layer takes one."""
    if options.grey or input_channels(network, image_size) != 1:
        return options
    say(GREY.format(who), options.quiet)
    return replace(options, grey=True)


def check_classes(checkpoint: Checkpoint, data: ImageSet | Found, or_else: str = "") -> None:
    """Refuse data whose classes are not the teacher's."""
    if data.num_classes and data.num_classes != checkpoint.num_classes:
        raise UsageError(
            f"the teacher has {checkpoint.num_classes} classes and {data.name} has {data.num_classes}: "
            f"give the data it was trained on, of a table its {argument('label_column')}{or_else}"
        )
    check_order("teacher", checkpoint.classes, data.name, data.classes)
