"""VGG networks with batch norm for small images."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from dametric.models.layers import global_pool, initialise

WIDTHS = (64, 128, 256, 512, 512)
LAYERS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _block(inputs: int, width: int, layers: int) -> nn.Sequential:
    modules: list[nn.Module] = []
    for _ in range(layers):
        modules += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        inputs = width
    return nn.Sequential(*modules)


class VGG(nn.Module):
    """Five blocks of convolutions and one linear layer (Simonyan and Zisserman, arXiv 1409.1556).

    Parameters
    ----------
    depth : int
        8, 11, 13, 16 or 19.
    num_classes : int
        Number of logits.
    image_size : int
        Height and width in pixels; from 64 on there is a fourth max pooling, so that the last block sees
        maps of 4x4 pixels at both 32 and 64.

    Notes
    -----
    ``forward`` maps images (batch, 3, height, width) to logits (batch, num_classes), any size from 8 pixels.
    """

    def __init__(self, depth: int, num_classes: int, image_size: int = 32) -> None:
        super().__init__()
        self.poolings = 4 if image_size >= 64 else 3
        for i, (inputs, width, layers) in enumerate(zip((3, *WIDTHS), WIDTHS, LAYERS[depth], strict=False)):
            self.add_module(f"block{i}", _block(inputs, width, layers))
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, 3, height, width)."""
        x = images
        for i in range(len(WIDTHS)):
            x = getattr(self, f"block{i}")(x)
            if i < self.poolings:
                x = max_pool2d(x, 2)
        result: Tensor = self.classifier(global_pool(x))
        return result


def vgg(depth: int) -> Callable[..., nn.Module]:
    """Builder of ``vgg{depth}``."""

    def builder(num_classes: int = 100, image_size: int = 32) -> nn.Module:
        return VGG(depth, num_classes, image_size)

    return builder


VGGS: dict[str, Callable[..., nn.Module]] = {f"vgg{depth}": vgg(depth) for depth in LAYERS}
