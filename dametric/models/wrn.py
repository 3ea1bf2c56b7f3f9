"""Wide residual networks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import relu

from dametric.models.layers import conv1x1, conv3x3, global_pool, initialise


class _PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions.

    Where the shape changes, the shortcut starts after the first activation; elsewhere it is the input itself.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv3x3(inputs, width, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), conv3x3(width, width)
        self.convShortcut = None if inputs == width else conv1x1(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = relu(self.bn1(x), inplace=True)
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        y = relu(self.bn2(self.conv1(active)), inplace=True)
        result: Tensor = shortcut + self.conv2(y)
        return result


class _Stage(nn.Module):
    """Consecutive blocks, under the extra level of names ``layer`` that checkpoints have."""

    def __init__(self, inputs: int, width: int, blocks: int, stride: int) -> None:
        super().__init__()
        rest = (_PreActivationBlock(width, width, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(_PreActivationBlock(inputs, width, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x)
        return result


class WideResNet(nn.Module):
    """Wide residual network WRN-depth-widen without dropout (Zagoruyko and Komodakis, arXiv 1605.07146).

    Parameters
    ----------
    depth : int
        Number of weight layers, 6n + 4.
    widen : int
        Factor on the stage widths 16/32/64.
    num_classes : int
        Number of logits.

    Notes
    -----
    ``forward`` maps images (batch, 3, height, width) to logits (batch, num_classes), any size from 8 pixels.
    """

    def __init__(self, depth: int, widen: int, num_classes: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = conv3x3(3, 16)
        self.block1 = _Stage(16, 16 * widen, blocks, 1)
        self.block2 = _Stage(16 * widen, 32 * widen, blocks, 2)
        self.block3 = _Stage(32 * widen, 64 * widen, blocks, 2)
        self.bn1 = nn.BatchNorm2d(64 * widen)
        self.fc = nn.Linear(64 * widen, num_classes)
        initialise(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, 3, height, width)."""
        x = self.block3(self.block2(self.block1(self.conv1(images))))
        result: Tensor = self.fc(global_pool(relu(self.bn1(x), inplace=True)))
        return result


def wide_resnet(depth: int, widen: int) -> Callable[..., nn.Module]:
    """Builder of ``wrn_{depth}_{widen}``."""

    def builder(num_classes: int = 100, image_size: int = 32) -> nn.Module:
        return WideResNet(depth, widen, num_classes)

    return builder


WIDE_RESNETS: dict[str, Callable[..., nn.Module]] = {
    f"wrn_{depth}_{widen}": wide_resnet(depth, widen) for depth, widen in ((16, 1), (16, 2), (40, 1), (40, 2), (28, 10))
}
