"""Image set: the form in which images reach the rest of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import torch
from torch import Tensor

from dametric.base.arguments import argument
from dametric.base.devices import queued
from dametric.data.checks import check_labels, check_pixels
from dametric.data.lazy import Drawn, LazyImages
from dametric.data.originals import Zoom
from dametric.data.pixels import fingerprint, grey, histogram, mean_std, text_fingerprint
from dametric.data.substitutes import Substitutes
from dametric.errors import UsageError

STATISTICS = "statistics of the training images"  # source of mean and std, in words
_OF_GREY = "statistics of these images in grey"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one split, as raw bytes.

    Parameters
    ----------
    images : Tensor or LazyImages of shape (N, C, H, W), uint8
        The pixels, or a reader that decodes the rows asked for and has the same length and shape.
    labels : Tensor of shape (N,), int64
        Class of each image; all zero in a set without labels.
    classes : tuple of str
        Names of the classes; empty in a set without labels.
    mean, std : tuple of C floats
        Normalisation, in units of pixel values from 0 to 1.
    name : str
        "cifar100", or the path given.
    split : str
        "train" or "test".
    fingerprint : str
        SHA-256 in hexadecimal: of shape, pixels and labels for sets in memory; of relative paths, file sizes,
        image size and labels for lazy ones.
    notes : tuple of str
        Notes for the user on how the set was read, one sentence each.
    normalised_by : str
        Source of mean and std, in words.
    evaluation : str or None
        How stored images are resized and cropped where nothing is drawn, in words; None where they have the size of the
        set, or are resized to it.
    decoder : str or None
        What decoded JPEGs, of which there may be some.
    originals : callable, optional
        Returns the same images with what they are stored as at hand, for crops that zoom so far; None where they are
        stored as they are here.
    substitutes : Substitutes or tuple of str
        Images in the places of broken ones, or the names of those.

    Examples
    --------
    >>> images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    >>> image_set = ImageSet.from_tensors(images, torch.tensor([0, 1, 0, 1]))
    >>> len(image_set), image_set.num_classes, image_set.image_size
    (4, 2, 8)
    """

    images: Tensor | LazyImages
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str
    split: str
    fingerprint: str
    notes: tuple[str, ...] = ()
    normalised_by: str = "the image set's"
    evaluation: str | None = None
    decoder: str | None = None
    originals: Callable[[Zoom], LazyImages | None] | None = None
    substitutes: Substitutes | tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "originals": self.originals and _left_behind, "substitutes": self.passed_over}

    @property
    def passed_over(self) -> tuple[str, ...]:
        """The images that could not be read so far, with the reasons: others stand in their places."""
        return self.substitutes if isinstance(self.substitutes, tuple) else self.substitutes.names

    def __repr__(self) -> str:
        classes = f"{self.num_classes} classes" if self.num_classes else "no labels"
        size = f"{self.channels}x{self.image_size}x{self.image_size}"
        return f"ImageSet({self.name} {self.split}: {len(self)} images of {size}, {classes})"

    def _repr_html_(self) -> str:
        counts = self.labels.bincount(minlength=self.num_classes).tolist() if self.num_classes else []
        shown = list(zip(self.classes, counts, strict=True))[:10]
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{count}</td></tr>" for name, count in shown)
        more = f"<tr><td>... {self.num_classes - 10} more</td><td></td></tr>" if self.num_classes > 10 else ""
        heading = "<tr><th>class</th><th>images</th></tr>"
        return f"<b>{escape(repr(self))}</b><table>{heading}{rows}{more}</table>"

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 in a set without labels."""
        return len(self.classes)

    @property
    def channels(self) -> int:
        """Number of channels: 3 for everything `load_data` reads."""
        return self.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height of the images in pixels."""
        return self.images.shape[2]

    @property
    def lazy(self) -> bool:
        """Whether images are decoded when drawn instead of held in memory."""
        return isinstance(self.images, LazyImages) and not self.images.in_memory

    @property
    def crops_originals(self) -> bool:
        """Whether :meth:`stream` cuts crops from the images as they are stored."""
        return isinstance(self.images, LazyImages)

    @property
    def resized(self) -> bool:
        """Whether images may be stored larger than they are here."""
        return self.images.resized if isinstance(self.images, LazyImages) else self.originals is not None

    def with_originals(self, zoom: Zoom) -> ImageSet:
        """The set with its images as they are stored at hand, where they are not these already.

        Parameters
        ----------
        zoom : Zoom
            How far crops will zoom in, which decides the size that is held.
        """
        images = None if self.originals is None else self.originals(zoom)
        return self if images is None else replace(self, images=images, labels=self.labels.cpu(), originals=None)

    def to(self, device: torch.device | str) -> ImageSet:
        """Move pixels and labels to a device; a lazy or too large set stays on the host and is streamed from there.

        Too large is more than half of the free memory of a CUDA device, since the networks need the rest.
        """
        if isinstance(self.images, LazyImages) or not _fits(self.images, torch.device(device)):
            return self
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def labels_of(self, index: Tensor, device: torch.device | str) -> Tensor:
        """Labels of rows, int64 of shape (b,), on a device. Copies to a CUDA device are queued, not waited for.

        Parameters
        ----------
        index : Tensor of shape (b,), int64
            On the CPU, or where the labels are.
        device : torch.device or str
        """
        return queued(self.labels.index_select(0, queued(index, self.labels.device)), device)

    def stream(self, batches: Iterable[Tensor | Drawn], device: torch.device | str) -> Iterator[Tensor]:
        """Yield the images of each index tensor, in order.

        Parameters
        ----------
        batches : iterable of Tensor of shape (b,), int64, or of Drawn
            Rows to draw, on the CPU or where the images are; taken one by one, a bounded number ahead in lazy sets.
            Where `crops_originals`, they may be drawn with the parts to cut out, which are yielded resized.
        device : torch.device or str
            Device of the images yielded.

        Yields
        ------
        Tensor of shape (b, C, H, W), uint8
            On ``device``. Copies to a CUDA device are queued, not waited for.
        """
        device = torch.device(device)
        if isinstance(self.images, LazyImages):
            yield from self.images.stream(batches, device)
            return
        for index in batches:
            assert isinstance(index, Tensor)
            rows = self.images.index_select(0, queued(index, self.images.device))
            yield queued(rows, device)

    def subset(self, index: Tensor | Sequence[int]) -> ImageSet:
        """The rows at ``index`` (int64 of shape (M,), or a boolean mask of shape (N,)), in that order.

        Mean, standard deviation and class names stay those of the whole.

        Raises
        ------
        UsageError
            If the index is empty or points outside the set.
        """
        rows = torch.as_tensor(index).cpu()
        rows = rows.nonzero()[:, 0] if rows.dtype == torch.bool and len(rows) == len(self) else rows
        if rows.ndim != 1 or not len(rows) or rows.dtype.is_floating_point or rows.dtype == torch.bool:
            raise UsageError("a subset needs a non-empty list of row numbers, or a boolean mask with one entry a row")
        if int(rows.min()) < 0 or int(rows.max()) >= len(self):
            raise UsageError(f"subset rows go from {rows.min()} to {rows.max()}, and the set from 0 to {len(self) - 1}")
        rows, whole = rows.long(), self.originals
        labels = self.labels[rows.to(self.labels.device)]
        if isinstance(self.images, LazyImages):
            print_ = text_fingerprint([self.fingerprint, rows.numpy().tobytes()])
            return replace(self, images=self.images.subset(rows), labels=labels, fingerprint=print_)
        images = self.images[rows.to(self.images.device)]

        def originals(zoom: Zoom) -> LazyImages | None:
            every = None if whole is None else whole(zoom)
            return None if every is None else every.subset(rows)

        print_ = fingerprint(images, labels)
        return replace(self, images=images, labels=labels, fingerprint=print_, originals=whole and originals)

    def grey(self) -> ImageSet:
        """The images in one channel, with their own mean and standard deviation, for one-channel networks.

        Mean and standard deviation of a lazy set are estimated from a thousand of its images.
        """
        if self.channels == 1:
            return self
        if isinstance(self.images, Tensor):
            images, coloured = grey(self.images), self.originals
            mean, std = mean_std(histogram(images))

            def originals(zoom: Zoom) -> LazyImages | None:
                every = None if coloured is None else coloured(zoom)
                return None if every is None else every.grey()

            whole = replace(self, images=images, mean=mean, std=std, originals=coloured and originals)
            return replace(whole, fingerprint=fingerprint(images, self.labels), normalised_by=_OF_GREY)
        lazy = self.images.grey()
        some = torch.linspace(0, len(self) - 1, min(len(self), 1000), dtype=torch.float64).long()
        mean, std = mean_std(histogram(lazy[some]))
        print_ = text_fingerprint([self.fingerprint, "grey"])
        return replace(self, images=lazy, mean=mean, std=std, fingerprint=print_, normalised_by=_OF_GREY)

    @classmethod
    def from_tensors(
        cls,
        images: Tensor | np.ndarray,
        labels: Tensor | np.ndarray | Sequence[int] | None = None,
        *,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        name: str = "tensors",
        split: str = "train",
        notes: Sequence[str] = (),
    ) -> ImageSet:
        """Make a set of images in memory.

        Parameters
        ----------
        images : Tensor or ndarray of shape (N, C, H, W), uint8
            The pixels; greyscale (C = 1) stays greyscale. Channels-last arrays are not guessed at.
        labels : Tensor, ndarray or sequence of shape (N,), optional
            Classes as integers from 0. Without them the set has no labels: ``classes`` is empty and
            ``labels`` all zero.
        classes : sequence of str, optional
            Names of the classes, "0", "1", ... by default.
        mean, std : sequence of C floats, optional
            Normalisation, in units of pixel values from 0 to 1; computed from the pixels by default,
            with 1.0 for the standard deviation of a channel that holds one value only.
        name, split : str
            Name of the set, and which split it is ("train" or "test").
        notes : sequence of str
            Notes for the user.

        Returns
        -------
        ImageSet
            In memory, on the device of ``images``.

        Raises
        ------
        UsageError
            If shapes, types, labels or numbers of channels do not fit.
        """
        images = check_pixels(images)
        names = None if classes is None else tuple(str(c) for c in classes)
        if labels is None:
            if names:
                raise UsageError("class names without labels: give labels too, or no class names")
            checked, names = torch.zeros(len(images), dtype=torch.int64), ()
        else:
            checked = check_labels(labels, len(images), names)
            names = tuple(str(c) for c in range(int(checked.max()) + 1)) if names is None else names
        given = mean is not None and std is not None
        if mean is None or std is None:
            computed = mean_std(histogram(images))
            mean, std = mean or computed[0], std or computed[1]
        for what, values in (("mean", mean), ("std", std)):
            if len(values) != images.shape[1]:
                raise UsageError(f"{what} has {len(values)} values for {images.shape[1]} channels; give one a channel")
        if min(std) <= 0:
            raise UsageError(f"std must be positive, not {tuple(std)}")
        return cls(
            images=images,
            labels=checked.to(images.device),
            classes=names,
            mean=tuple(float(m) for m in mean),
            std=tuple(float(s) for s in std),
            name=name,
            split=split,
            fingerprint=fingerprint(images, checked),
            notes=tuple(notes),
            normalised_by="the image set's, as it was made" if given else STATISTICS,
        )


def _left_behind(zoom: Zoom) -> LazyImages | None:
    """In place of the originals of a set that was copied into another process, where its files are not at hand."""
    raise UsageError(
        f"images in memory that were resized cannot be cropped as they are stored, in another process "
        f"({argument('jobs')}): give their name or path instead"
    )


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether the pixels leave a CUDA device half of its free memory."""
    if device.type != "cuda" or images.device.type == "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() * images.element_size() <= free // 2
