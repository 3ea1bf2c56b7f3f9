"""Network loaded for one image set, with its normalisation, interface and provenance."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import nn

from dametric.base.arguments import argument
from dametric.base.progress import say
from dametric.data import AvailableSplit, ImageSet
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
_WORSE = 0.01  # of all images: a larger difference from the record is not explained by rounding
_ACCURACIES = (
    *("test_top1", "top1", "accuracy", "acc", "acc1", "prec1", "test_acc", "test_accuracy", "val_acc", "val_acc1"),
    *("val_accuracy", "best_acc", "best_acc1", "best_accuracy", "best_prec1", "best_top1"),
)

Loaded = TypeVar("Loaded", bound="LoadedNetwork")


@dataclass(frozen=True)
class LoadedNetwork:
    """A network ready to run on the images of one set.

    Attributes
    ----------
    model : nn.Module
        Takes normalised images, returns logits.
    mean, std : tuple of float
        Normalisation, in units of 0..1.
    arch, sha256 : str
        Identity in records; the hash is that of its file, and of the key in it where the file holds several networks.
    normalised_by : str
        Source of mean and std, in words.
    accuracy : float or None
        Top-1 accuracy (fraction) that its file records.
    notes : tuple of str
        What was read, stripped and recognised, for the user.
    interface : Interface
        How it takes images and returns logits.
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
        cls: type[Loaded],
        network: nn.Module | Checkpoint | str | os.PathLike[str],
        data: ImageSet,
        mean: Given = None,
        std: Given = None,
        *,
        role: Role = "teacher",
        otherwise: Normalisation | None = None,
    ) -> Loaded:
        """Prepare a network for the images of a set.

        Parameters
        ----------
        network : nn.Module, Checkpoint or path-like
        data : ImageSet
        mean, std : sequence of float or str, optional
            Normalisation given by the user, in numbers or by name.
        role : {"teacher", "student"}
            Role of the network, for messages and for files that hold both.
        otherwise : Normalisation, optional
            Fallback where neither the user nor the network has one; the image set's by default.

        Raises
        ------
        UsageError
            If the network was trained on images of another size, with the classes in another order, or the
            normalisation does not fit the images.
        """
        otherwise = otherwise or Normalisation(data.mean, data.std, data.normalised_by)
        if isinstance(network, nn.Module):
            first, second, source = in_use(mean, std, NOTHING, otherwise, data.channels)
            mean_std = normalisation(first, second, data.channels)
            network_interface = interface(network, data, *mean_std, who=role, classes=data.num_classes)
            return cls(network, *mean_std, type(network).__name__, "", source, interface=network_interface)
        read = network if isinstance(network, Checkpoint) else _load_for_images(network, data, role)
        if read.image_size not in (None, data.image_size):
            raise UsageError(
                f"the {role} was trained on images of {read.image_size} pixels, and those of {data.name} have "
                f"{data.image_size}: read them with {argument('image_size', read.image_size)}, or if this is "
                f"meant the checkpoint with {argument('image_size', data.image_size)}"
            )
        check_order(role, read.classes, data.name, data.classes)
        recorded = Normalisation(read.mean, read.std, read.normalised_by)
        first, second, source = in_use(mean, std, recorded, otherwise, data.channels)
        mean_std = normalisation(first, second, data.channels)
        network_interface = interface(read.model, data, *mean_std, who=role, classes=read.num_classes)
        known = recorded_accuracy(read.extra)
        return cls(read.model, *mean_std, read.arch, read.sha256, source, known, read.notes, network_interface)

    @property
    def normalisation(self) -> Normalisation:
        """Mean, std and their source, for other networks to use."""
        return Normalisation(self.mean, self.std, self.normalised_by)

    def line(self, role: str) -> str:
        """Normalisation in one line for the user."""
        return f"{role}: {described(self.mean, self.std, self.normalised_by)}"

    def introduce(self, role: str, quiet: bool = False, more: Sequence[str] = ()) -> None:
        """Print what was read, the normalisation and further lines; if ``quiet``, warnings only."""
        guess = [self.interface.guess] if self.interface.guess else []
        for line in (*(f"{role}: {note}" for note in self.notes), self.line(role), *guess, *more):
            say(line, quiet and "WARNING" not in line)

    def shortfall(self, top1: float, images: int) -> str | None:
        """Warning where the accuracy is clearly below the one that the file records; else None.

        Parameters
        ----------
        top1 : float
            Measured accuracy, as a fraction.
        images : int
            Number of images of the measurement.
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
    """Unverified assumptions where a network and images are combined in Python, one line each.

    The command line reads the images in the size of the network's training, and builds a network for their size.
    """
    if isinstance(network, nn.Module):
        return [f"{role}: shown images of {data.image_size} pixels, a size that a network cannot confirm"]
    if not isinstance(network, Checkpoint):
        return []
    lines = []
    if network.image_size is None and network.arch.startswith(("torchvision:", "timm:")):  # built for no size
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
    """Top-1 accuracy (fraction) that a checkpoint records beside its weights; None where there is none."""
    test = extra.get("test")
    kept = {str(name).lower(): value for name, value in {**extra, **(test if isinstance(test, dict) else {})}.items()}
    for name in _ACCURACIES:
        value = kept.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 100:
            return value / 100 if value > 1 else float(value)
    return None


def size_for(file: WeightFile, data: ImageSet | AvailableSplit, requested: bool) -> int:
    """Image size to build a network for: the images' where the user requested a size or the file has none."""
    return data.image_size if requested or file.image_size is None else file.image_size


def _load_for_images(path: str | os.PathLike[str], data: ImageSet, role: Role) -> Checkpoint:
    """Load a checkpoint, built for the images' size where its file has none."""
    file = read_weights(path, role=role)
    return load_checkpoint(file, image_size=size_for(file, data, requested=False))


def built_network(
    file: WeightFile, arch: str | None, data: ImageSet | AvailableSplit, requested_size: int | None
) -> Checkpoint:
    """Build the network of a file for images of a set; a size that the user requested is the network's too."""
    return load_checkpoint(file, arch=arch, image_size=size_for(file, data, requested_size is not None))


def taken_by(network: nn.Module, who: str, options: ImageRequest, image_size: int) -> ImageRequest:
    """The request in the network's channels: grey, with a message, where its first layer takes one channel."""
    if options.grey or input_channels(network, image_size) != 1:
        return options
    say(GREY.format(who), options.quiet)
    return replace(options, grey=True)


def check_classes(checkpoint: Checkpoint, data: ImageSet | AvailableSplit, or_else: str = "") -> None:
    """Refuse data whose classes differ from the teacher's."""
    if data.num_classes and data.num_classes != checkpoint.num_classes:
        raise UsageError(
            f"the teacher has {checkpoint.num_classes} classes and {data.name} has {data.num_classes}: "
            f"give the data it was trained on, of a table its {argument('label_column')}{or_else}"
        )
    check_order("teacher", checkpoint.classes, data.name, data.classes)
