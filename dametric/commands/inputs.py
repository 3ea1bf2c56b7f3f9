"""Teachers, students and data as a user names them on the command line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from dametric.data import Choice, Found, ImageSet, NoSplit, find_data, is_there
from dametric.data.checks import check_order
from dametric.data.few import as_held_out, few_rows, hold_out_rows
from dametric.data.glance import accuracy_text, glance, share_error
from dametric.errors import UsageError
from dametric.importing import one_line
from dametric.models import Checkpoint, LoadedNetwork, inference_copy, load_checkpoint
from dametric.models.computing import chosen_device as chosen_device
from dametric.models.computing import chosen_dtype as chosen_dtype
from dametric.models.interface import FORWARD, failure, input_channels
from dametric.models.loaded import size_for
from dametric.models.network import Network
from dametric.models.reading import WeightFile
from dametric.progress import progress
from dametric.progress import say as say
from dametric.scoring.ranks import Ranks

OTHER_CLASSES = ", or --no-accuracy if images of other classes are meant"
GREY = "data: images become one-channel (grey), as the {}'s first layer takes one channel"
ACCURACY_IMAGES = 2_000
"""Images that tell how good a teacher is: to about one percentage point."""


class Splits(NamedTuple):
    """Images to train on, to test with, and held out where some are."""

    train: ImageSet
    test: ImageSet
    held_out: ImageSet | None = None


@dataclass(frozen=True)
class DataOptions:
    """Where images come from and how they are read."""

    source: str | None
    root: str | None = None
    download: bool = False
    cache_dir: str | None = None
    image_size: int | None = None
    lazy: bool | None = None
    quiet: bool = field(default=False, compare=False)
    train_images: int | None = None
    held_out: int | None = None
    label_column: str | None = None
    image_column: str | None = None
    config: str | None = None
    grey: bool = False

    def load(self, split: str, found: Found | None = None) -> ImageSet:
        """Read one split, which may be found already; of the training split what is trained on."""
        found = found or self.find(split)
        return self._training(found)[0] if split == "train" else found.read(None)

    def splits(self, found: Found | None = None) -> Splits:
        """Everything that training needs; what is missing is missed before any image is decoded.

        The training images may be found already.
        """
        found, test = found or self.find("train"), self.find("test")
        training, held_out = self._training(found)
        return Splits(training, test.read(None), held_out)

    def _training(self, found: Found) -> tuple[ImageSet, ImageSet | None]:
        labels, classes = found.labels, len(found.classes)
        if self.held_out is not None:
            kept, aside = hold_out_rows(labels, classes, self.held_out, self.train_images)
            training, held_out = found.read(kept), as_held_out(found.read(aside))
            counts = held_out.labels.bincount(minlength=held_out.num_classes)
            if int(counts.max()) > int(counts.min()) + 1:
                said = f"from {counts.min()} to {counts.max()} of a class: some classes have no more to spare"
                say(f"data: of the held-out images there are {said}", self.quiet)
            return training, held_out
        rows = None if self.train_images is None else few_rows(labels, classes, self.train_images)
        return found.read(rows), None

    def find(self, split: str) -> Found:
        """Find one split; no image of it is decoded."""
        if self.source is None:
            raise UsageError("which images? give --data, a name (see dametric ls data) or a path")
        found = find_data(
            self.source,
            split,
            root=self.root,
            download=self.download,
            cache_dir=self.cache_dir,
            image_size=self.image_size,
            lazy=self.lazy,
            quiet=self.quiet,
            choice=Choice(self.label_column, self.image_column, self.config),
        )
        return found.grey() if self.grey else found

    def find_in_turn(self, split: str) -> Found:
        """Find one split on every rank, on the first of each host first, which may have to fetch it."""
        return Ranks.current().in_turn(partial(self.find, split))

    def load_in_turn(self, split: str, found: Found | None = None) -> ImageSet:
        """Read one split on every rank, on the first of each host first: it leaves what it decoded in the cache."""
        return Ranks.current().in_turn(partial(self.load, split, found))

    def of(self, checkpoint: Checkpoint | WeightFile) -> DataOptions:
        """With what the checkpoint says about its data and their size, where the user said nothing."""
        if self.source is None and checkpoint.data is not None and not is_there(checkpoint.data):
            raise UsageError(f"the checkpoint was trained on '{checkpoint.data}', which is not here: give --data")
        if self.source is None:
            return replace(self, source=checkpoint.data, image_size=self.image_size or checkpoint.image_size)
        if checkpoint.data not in (None, self.source):
            say(f"data: the checkpoint was trained on {checkpoint.data}, these are {self.source}", self.quiet)
        if self.image_size or checkpoint.image_size in (None, self._own_size()):
            return self
        size = checkpoint.image_size
        say(f"data: images are brought to {size} pixels, those of the checkpoint's training", self.quiet)
        return replace(self, image_size=size)

    def _own_size(self) -> int | None:
        """The size that the images have as they are; None where they differ, or that is not seen without effort."""
        try:
            return self.find("train").image_size
        except UsageError:
            return None


@contextmanager
def network_errors() -> Iterator[None]:
    """What torch says from inside a network, in one line."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise UsageError(
            "the GPU has too little memory for the network: use a smaller --batch-size, or --device cpu"
        ) from error
    except Exception as error:
        if FORWARD not in getattr(error, "__notes__", ()) or isinstance(error, UsageError):
            raise
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise UsageError(f"compiling a network failed, leave out --compile: {one_line(error)}") from error
        raise UsageError(failure(error)) from error


def read_checkpoint(file: WeightFile, arch: str | None, data: ImageSet | Found, asked_size: int | None) -> Checkpoint:
    """The network of a file, for images of a set; a size that the user asked for is the network's too."""
    return load_checkpoint(file, arch=arch, image_size=size_for(file, data, asked_size is not None))


def taken_by(network: nn.Module, who: str, options: DataOptions, image_size: int) -> DataOptions:
    """The data in as many channels as a network takes: grey, which is said, where its first layer takes one."""
    if options.grey or input_channels(network, image_size) != 1:
        return options
    say(GREY.format(who), options.quiet)
    return replace(options, grey=True)


def describe(checkpoint: Checkpoint, path: str) -> dict[str, Any]:
    """What a score file records of a checkpoint."""
    return {"arch": checkpoint.arch, "file": Path(path).name, "sha256": checkpoint.sha256}


def check_classes(checkpoint: Checkpoint, data: ImageSet | Found, or_else: str = "") -> None:
    """Refuse data whose classes are not the teacher's."""
    if data.num_classes and data.num_classes != checkpoint.num_classes:
        raise UsageError(
            f"the teacher has {checkpoint.num_classes} classes and {data.name} has {data.num_classes}: "
            f"give the data it was trained on, of a table its --label-column{or_else}"
        )
    check_order("teacher", checkpoint.classes, data.name, data.classes)


def clean_accuracy(
    network: Network, data: ImageSet, device: torch.device, quiet: bool, most: int = ACCURACY_IMAGES
) -> tuple[float, float, int]:
    """Top-1 accuracy and mean cross-entropy (nats) on unaugmented images, ``most`` at most, and how many were shown."""
    order = glance(len(data), most)
    ranks = Ranks.current()
    parts = order.split(network.chunk)[ranks.rank :: ranks.world]
    correct = loss = 0.0
    with progress("clean accuracy", len(parts), quiet=quiet) as advance:
        for index, images in zip(parts, data.stream(parts, device), strict=True):
            logits, labels = network(images), data.labels[index].to(device)
            correct += float((logits.argmax(1) == labels).sum())
            loss += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            advance()
    correct, loss = (sum(values) for values in zip(*ranks.gather((correct, loss)), strict=True))
    return correct / len(order), loss / len(order), len(order)


def report_accuracy(
    checkpoint: Checkpoint,
    teacher: LoadedNetwork,
    options: DataOptions,
    device: torch.device,
    dtype: torch.dtype,
    training: ImageSet,
    most: int = ACCURACY_IMAGES,
) -> dict[str, Any]:
    """Measure the teacher's clean accuracy on the evaluation split, print it, and warn near chance."""
    try:
        held_out = training if training.split == "test" else options.load_in_turn("test")
    except NoSplit as error:
        say(f"no evaluation split ({error}); the accuracy below is on the training split", options.quiet)
        held_out = training
    check_classes(checkpoint, held_out, OTHER_CLASSES)
    copy = inference_copy(checkpoint.model, dtype=dtype, device=device, interface=teacher.interface)
    of = {"mean": teacher.mean, "std": teacher.std}
    network = Network(copy, **of, chunk=256 if device.type == "cpu" else 1024, dtype=dtype, device=device)
    top1, loss, count = clean_accuracy(network, held_out.to(device), device, options.quiet, most)
    shown = f"{count}" if count == len(held_out) else f"{count} of {len(held_out)}"
    accuracy = accuracy_text(top1, count)
    say(f"teacher: {accuracy}, loss {loss:.4f} on {shown} {held_out.split} images", options.quiet)
    if not math.isfinite(loss):
        raise UsageError(
            "the teacher's output on clean images is not finite: the weights or the normalisation are broken"
        )
    warn_of_teacher(teacher, top1, checkpoint.num_classes, count, "scores")
    numbers = {"top1": top1, "top1_se": share_error(top1, count), "loss": loss}
    return {**numbers, "images": count, "split": held_out.split}


def near_chance(top1: float, classes: int, images: int) -> bool:
    """Whether an accuracy on so many images is hardly more than guessing."""
    chance = 1 / classes
    return top1 < chance + 0.05 * (1 - chance) + 2 * math.sqrt(chance / images)


def warn_of_teacher(teacher: LoadedNetwork | None, top1: float, classes: int, images: int, results: str) -> None:
    """Warn loudly of a teacher that knows next to nothing, or less than its own record says."""
    if near_chance(top1, classes, images):
        warn_near_chance(top1, classes, images, results)
    elif teacher is not None and (warning := teacher.shortfall(top1, images)):
        say(warning)


def warn_near_chance(top1: float, classes: int, images: int, results: str) -> None:
    """Warn loudly of a teacher that knows next to nothing."""
    if near_chance(top1, classes, images):
        say(
            f"WARNING: {100 * top1:.2f} % is near chance ({100 / classes:.2f} %). The {results} below mean nothing "
            "unless the architecture, the class order and the normalisation (--mean, --std) are those of the training."
        )
