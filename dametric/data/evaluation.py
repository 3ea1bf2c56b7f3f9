"""How images are resized and cropped for evaluation, and for base views without random crops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from dametric.data.decode import Resize

LARGE = 96  # pixels; networks for larger images were published with a margin around the centre that is cropped
_USUAL = 8 / 7  # of the image size, as ImageNet's 256 for 224


@dataclass(frozen=True)
class Evaluation:
    """What is known of how images are resized before their centre is cropped.

    Attributes
    ----------
    size : int or None
        The user's choice of the shorter side in pixels.
    share : float or None
        The network's own choice: the side that is cropped as a share of the shorter side.
    interpolation : {"bilinear", "bicubic"}
    source : str
        Whose choice share and interpolation are, in words.
    """

    size: int | None = None
    share: float | None = None
    interpolation: str = "bilinear"
    source: str = ""

    def resize(self, image_size: int | None, stored: Sequence[tuple[int, int]]) -> Resize | None:
        """Decide for stored images of some heights and widths; None where they are resized to ``image_size`` itself.

        A network's own choice and the usual one are for large images, of files that are larger still.
        """
        if image_size is None:
            return None
        if self.size is not None:
            chosen = Resize(max(self.size, image_size), self.interpolation)
        elif image_size > LARGE and median(min(size) for size in stored) > image_size:
            # timm rounds down; what was a whole number of pixels stays one
            size = round(image_size * _USUAL) if self.share is None else math.floor(image_size / self.share + 1e-6)
            chosen = Resize(size, self.interpolation)
        else:
            return None
        return None if chosen == Resize(image_size) else chosen

    def why(self) -> str:
        """Whose choice it is, in words."""
        if self.size is not None:
            return "as given"
        return self.source or "usual"


USUAL = Evaluation()
"""Where neither the user nor the network has a choice."""
