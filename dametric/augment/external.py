"""User augmentations as operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dametric.augment.base import Augmented, Draw
from dametric.augment.forms import FORMS, called, not_on_stdout
from dametric.augment.keys import Keys
from dametric.augment.randomness import Seed, lent_generators, own_generators, seed_arguments, seeded_arguments
from dametric.augment.units import PIXELS, Units
from dametric.errors import UsageError

_FAR_OUT = 0.01  # share of pixels far out of range; fewer are the tails of noise without clipping


@dataclass(frozen=True)
class Findings:
    """Findings on a user's callable from a few images.

    Attributes
    ----------
    form : str
        Form of its input, one of :data:`~dametric.augment.forms.FORMS`.
    mixes : bool
        Whether it mixes images of a batch, so that it must be called with batches.
    units : Units
        Units of the floating-point images that it returns.
    repeats : bool
        Whether two calls with the same seeds give the same images.
    """

    form: str = "bytes"
    mixes: bool = False
    units: Units = PIXELS
    repeats: bool = True

    @property
    def plain(self) -> dict[str, Any]:
        """Findings as plain values, for records."""
        return asdict(self)

    @property
    def line(self) -> str:
        """Findings other than the usual ones (bytes in, pixels out, image by image), in words; empty without any."""
        remarks = []
        if self.form != "bytes":
            remarks.append(f"is given {FORMS[self.form].words}")
        if self.mixes:
            remarks.append("mixes images of a batch, so it is called batch by batch and judged by whole batches")
        if self.units.mean:
            undone = "times 255" if self.units.name.startswith("values") else "taken back to pixels"
            remarks.append(f"returns {self.units.name}, {undone}")
        return "; ".join(remarks)


@dataclass(frozen=True, eq=False)  # compared by identity: a user's function need not be hashable
class External:
    """Any callable that takes images and returns images of their shape.

    It is called image by image, or batch by batch where parameters are shared (``per="batch"``) or images are mixed.
    All generators that can be seeded are seeded for each call, so that torchvision's transforms work unchanged.

    Attributes
    ----------
    name : str
        Specification, as the user wrote it.
    function : callable
        Takes uint8 images (rows, channels, height, width); returns a tensor of that shape: uint8, or floating point in
        pixel units (0..255).
    findings : Findings or None
        Findings of :func:`~dametric.augment.examine.examined`, which tries other forms and units. Without them the
        function is called as described above.
    """

    name: str
    function: Callable[..., Any]
    findings: Findings | None = None
    random = True

    @property
    def stream(self) -> str:
        return self.name

    @property
    def mixes(self) -> bool:
        return self.findings is not None and self.findings.mixes

    @property
    def partner(self) -> str:
        """Partner rule of mixed images: unknown, or "roll" where nothing is mixed."""
        return "unknown" if self.mixes else "roll"

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Draw one seed a call: shape (rows,), or (batches,) where a call takes a batch."""
        keys = keys.on("cpu")
        seeds = (keys.uniform("seed") * 2**53).long()
        by_image = keys.per == "sample" and not self.mixes
        return {"seed": seeds if by_image else seeds.view(keys.batches, -1)[:, 0]}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        if images.is_floating_point():  # results of an operation that blends
            images = images.round().clamp(0, 255).to(torch.uint8)
        seeds = draw["seed"].tolist()
        results = self.outputs(images.split(len(images) // len(seeds)), seeds)
        return Augmented(self._in_range(images, torch.cat([self._units.to_pixels(result) for result in results])))

    def outputs(self, parts: tuple[Tensor, ...] | list[Tensor], seeds: list[int]) -> list[Tensor]:
        """Results of the function, in its own units.

        Parameters
        ----------
        parts : sequence of Tensor of shape (rows, channels, height, width), uint8
            Images of each call.
        seeds : list of int
            Seed of each call.
        """
        form = FORMS[self.findings.form if self.findings else "bytes"]
        results = []
        with lent_generators(parts[0].device) as seed, not_on_stdout(), torch.no_grad():
            for part, value in zip(parts, seeds, strict=True):
                shown = []
                # a function that works in place must not change the caller's images
                for images in part.clone().split(1 if form.single else len(part)):
                    for renew in (seed, *self._generators):
                        renew(value)
                    more = seeded_arguments(self._seed_arguments, value)
                    shown.append(called(self.name, form, self.function, images, more))
                results.append(shown[0] if len(shown) == 1 else torch.cat(shown))
        return results

    @property
    def _units(self) -> Units:
        return self.findings.units if self.findings else PIXELS

    @cached_property
    def _generators(self) -> tuple[Seed, ...]:
        return own_generators(self.function)

    @cached_property
    def _seed_arguments(self) -> tuple[str, ...]:
        return seed_arguments(self.function)

    def _in_range(self, images: Tensor, pixels: Tensor) -> Tensor:
        """Refuse images in other units than were found, or, before any examination, than pixels."""
        if self._units.mean:
            known = pixels.isfinite()  # NaN and Inf are passed on, since the caller checks for them
            if float((known & ((pixels < -127) | (pixels > 382))).float().mean()) > _FAR_OUT:
                raise UsageError(
                    f"augmentation {self.name} returned {self._units.name} at first and now other values: all its "
                    "images must be in one range, best uint8"
                )
            return torch.where(known, pixels.clamp(0, 255), pixels)
        if self.findings is None and pixels.is_floating_point() and 0 < float(pixels.max()) <= 1 < float(images.max()):
            raise UsageError(f"augmentation {self.name}: expected pixel values from 0 to 255, got them from 0 to 1")
        return pixels
