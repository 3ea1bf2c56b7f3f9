"""Request for images: their source, how they are read, and what a checkpoint adds to that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from dametric.base.arguments import argument
from dametric.base.option_groups import HeldOutOptions, ImageOptions
from dametric.base.progress import say
from dametric.base.user_code import is_user_code
from dametric.data.balanced_subset import as_held_out, balanced_subset_rows, hold_out_rows, usual_held_out
from dametric.data.build import AvailableSplit
from dametric.data.checks import numbered_from_one
from dametric.data.choice import Choice
from dametric.data.evaluation import Evaluation
from dametric.data.imageset import ImageSet
from dametric.data.listing import HalfSplit, NoSplit
from dametric.data.sources import find_data, is_there
from dametric.errors import UsageError


class Trained(Protocol):
    """A checkpoint's description of its training images."""

    @property
    def data(self) -> str | None: ...
    @property
    def image_size(self) -> int | None: ...


class Splits(NamedTuple):
    """Training, test and, where requested, held-out images."""

    train: ImageSet
    test: ImageSet
    held_out: ImageSet | None = None


@dataclass(frozen=True)
class ImageRequest(HeldOutOptions, ImageOptions):
    """Source of images and how they are read.

    Attributes
    ----------
    source : str or None
        A name or a path.
    quiet : bool
        Print warnings only.
    grey : bool
        Convert images to one channel.
    evaluation : Evaluation or None
        How the network was evaluated where it was published, if its name says that.
    """

    source: str | None = None
    quiet: bool = field(default=False, compare=False)
    grey: bool = False
    evaluation: Evaluation | None = None

    def load(self, split: str, available: AvailableSplit | None = None) -> ImageSet:
        """Read one split, or the split ``available``; of the training split the images to train on."""
        available = available or self.find(split)
        return self.training(available)[0] if split == "train" else available.read(None)

    def splits(self, train: AvailableSplit | None = None) -> Splits:
        """Read all splits that training needs; what is missing is refused before any image is decoded.

        ``train`` is the training split, where it is available already. Training images are held out in the place of an
        evaluation split that there is not, which a line says.
        """
        train = train or self.find("train")
        try:
            test = self.find("test")
        except HalfSplit:
            raise
        except NoSplit:
            return self._without_test(train)
        training, held_out = self.training(train)
        return Splits(training, test.read(None), held_out)

    def _without_test(self, train: AvailableSplit) -> Splits:
        missing = f"{self.source} has no evaluation split"
        images = min(self.train_images or len(train.labels), len(train.labels))
        count = self.held_out or usual_held_out(images, len(train.classes))
        try:
            hold_out_rows(train.labels, len(train.classes), count, self.train_images)
        except UsageError as error:
            raise UsageError(f"{missing}, and {error}; add one") from None
        training, held_out = replace(self, held_out=count).training(train)
        assert held_out is not None
        say(  # however quiet: what is called the test loss is of other images than its name says
            f"data: {missing}: {len(held_out)} of its training images, which are not trained on, take its place "
            f"({argument('held_out')})"
        )
        return Splits(training, held_out)

    def training(self, split: AvailableSplit) -> tuple[ImageSet, ImageSet | None]:
        """Read the images to train on and those that are held out, from the training split."""
        labels, classes = split.labels, len(split.classes)
        if self.held_out is not None:
            kept, aside = hold_out_rows(labels, classes, self.held_out, self.train_images)
            training, held_out = split.read(kept), as_held_out(split.read(aside))
            counts = held_out.labels.bincount(minlength=held_out.num_classes)
            if int(counts.max()) > int(counts.min()) + 1:
                spread = f"{counts.min()} to {counts.max()} images a class"
                say(f"data: the held-out split has {spread}, since some classes are too small for more", self.quiet)
            return training, held_out
        rows = None if self.train_images is None else balanced_subset_rows(labels, classes, self.train_images)
        return split.read(rows), None

    def find(self, split: str) -> AvailableSplit:
        """Find one split without decoding an image."""
        if self.source is None:
            raise UsageError(f"which images? give {argument('data')}, a name (see dametric ls data) or a path")
        images = find_data(
            self.source,
            split,
            root=self.root,
            download=self.download,
            cache_dir=self.cache_dir,
            image_size=self.image_size,
            lazy=self.lazy,
            memory_limit=self.memory_limit,
            skip_broken=self.skip_broken,
            quiet=self.quiet,
            choice=Choice(self.label_column, self.image_column, self.config),
            evaluation=replace(self.evaluation or Evaluation(), size=self.eval_resize),
        )
        line = "" if split != "train" else numbered_from_one(int(images.labels.min()), images.classes)
        if line:
            say(f"data: {line}", self.quiet)
        return images.grey() if self.grey else images

    def of(self, checkpoint: Trained) -> ImageRequest:
        """The request completed with the checkpoint's data source and image size, where the user gave none."""
        if self.source is None and checkpoint.data is not None and is_user_code(checkpoint.data):
            code = f"'{checkpoint.data}', which is code and is not run because a file says so"
            raise UsageError(f"the checkpoint was trained on {code}: give {argument('data', checkpoint.data)}")
        if self.source is None and checkpoint.data is not None and not is_there(checkpoint.data):
            raise UsageError(
                f"the checkpoint was trained on '{checkpoint.data}', which is not here: give {argument('data')}"
            )
        if self.source is None:
            return replace(self, source=checkpoint.data, image_size=self.image_size or checkpoint.image_size)
        if checkpoint.data not in (None, self.source):
            say(f"data: the checkpoint was trained on {checkpoint.data}, these are {self.source}", self.quiet)
        if self.image_size or checkpoint.image_size in (None, self._own_size()):
            return self
        size = checkpoint.image_size
        say(f"data: images are resized to {size} pixels, the size of the checkpoint's training", self.quiet)
        return replace(self, image_size=size)

    def _own_size(self) -> int | None:
        """Size of the stored images; None where they differ or cannot be read."""
        try:
            return self.find("train").image_size
        except UsageError:
            return None
