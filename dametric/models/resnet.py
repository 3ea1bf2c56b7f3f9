"""Residual networks: three-stage ones for CIFAR, and ResNet-18/50 with a stem for small images."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import relu

from dametric.models.layers import conv1x1, conv3x3, global_pool, initialise, projection


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut is called ``shortcut_name`` because checkpoints disagree on it."""

    widening = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut_name: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inputs, width, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)
        self.shortcut_name = shortcut_name
        self.add_module(shortcut_name, projection(inputs, width, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return relu(y + getattr(self, self.shortcut_name)(x), inplace=True)


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, four times as wide at the end; the 3x3 carries the stride."""

    widening = 4

    def __init__(self, inputs: int, width: int, stride: int, shortcut_name: str) -> None:
        super().__init__()
        outputs = self.widening * width
        self.conv1, self.bn1 = conv1x1(inputs, width), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv1x1(width, outputs), nn.BatchNorm2d(outputs)
        self.shortcut_name = shortcut_name
        self.add_module(shortcut_name, projection(inputs, outputs, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)), inplace=True)
        y = relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return relu(y + getattr(self, self.shortcut_name)(x), inplace=True)


Block = type[_BasicBlock] | type[_Bottleneck]


def _stage(block: Block, inputs: int, width: int, blocks: int, stride: int, shortcut_name: str) -> nn.Sequential:
    outputs = block.widening * width
    first = block(inputs, width, stride, shortcut_name)
    return nn.Sequential(first, *(block(outputs, width, 1, shortcut_name) for _ in range(blocks - 1)))


class CifarResNet(nn.Module):
    """Three-stage residual network of He et al., section 4.2 (arXiv 1512.03385), with projection shortcuts.

    Parameters
    ----------
    depth : int
        Number of weight layers, 6n + 2.
    num_classes : int
        Number of logits.
    stem : int
        Channels after the first convolution.
    widths : tuple of int
        Channels of the three stages.

    Notes
    -----
    ``forward`` maps images (batch, 3, height, width) to logits (batch, num_classes), any size from 8 pixels.
    """

    def __init__(self, depth: int, num_classes: int, stem: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1, self.bn1 = conv3x3(3, stem), nn.BatchNorm2d(stem)
        self.layer1 = _stage(_BasicBlock, stem, widths[0], blocks, 1, "downsample")
        self.layer2 = _stage(_BasicBlock, widths[0], widths[1], blocks, 2, "downsample")
        self.layer3 = _stage(_BasicBlock, widths[1], widths[2], blocks, 2, "downsample")
        self.fc = nn.Linear(widths[2], num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, 3, height, width)."""
        x = relu(self.bn1(self.conv1(images)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        result: Tensor = self.fc(global_pool(x))
        return result


class StemResNet(nn.Module):
    """Four-stage residual network (arXiv 1512.03385, table 1) whose stem is one 3x3 convolution, no pooling.

    Parameters
    ----------
    block : _BasicBlock or _Bottleneck
        The residual block.
    blocks : tuple of int
        Blocks in each of the four stages.
    num_classes : int
        Number of logits.

    Notes
    -----
    ``forward`` maps images (batch, 3, height, width) to logits (batch, num_classes), any size from 8 pixels.
    """

    def __init__(self, block: Block, blocks: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        k = block.widening
        self.conv1, self.bn1 = conv3x3(3, 64), nn.BatchNorm2d(64)
        self.layer1 = _stage(block, 64, 64, blocks[0], 1, "shortcut")
        self.layer2 = _stage(block, 64 * k, 128, blocks[1], 2, "shortcut")
        self.layer3 = _stage(block, 128 * k, 256, blocks[2], 2, "shortcut")
        self.layer4 = _stage(block, 256 * k, 512, blocks[3], 2, "shortcut")
        self.linear = nn.Linear(512 * k, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, 3, height, width)."""
        x = relu(self.bn1(self.conv1(images)), inplace=True)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        result: Tensor = self.linear(global_pool(x))
        return result


def cifar_resnet(depth: int, widen: int = 1) -> Callable[..., nn.Module]:
    """Builder of ``resnet{depth}`` (``widen=1``: stem 16, stages 16/32/64) or ``resnet{depth}x4`` (``widen=4``)."""
    stem, widths = (16, (16, 32, 64)) if widen == 1 else (32, (16 * widen, 32 * widen, 64 * widen))

    def builder(num_classes: int = 100, image_size: int = 32) -> nn.Module:
        return CifarResNet(depth, num_classes, stem, widths)

    return builder


def stem_resnet18(num_classes: int = 100, image_size: int = 32) -> nn.Module:
    """``ResNet18``: 18 layers behind a 3x3 stem, logits (batch, num_classes) (arXiv 1512.03385)."""
    return StemResNet(_BasicBlock, (2, 2, 2, 2), num_classes)


def stem_resnet50(num_classes: int = 100, image_size: int = 32) -> nn.Module:
    """``ResNet50``: 50 layers behind a 3x3 stem, logits (batch, num_classes) (arXiv 1512.03385)."""
    return StemResNet(_Bottleneck, (3, 4, 6, 3), num_classes)


def resnet18(num_classes: int = 100, image_size: int = 32) -> nn.Module:
    """``resnet18``: torchvision's network, with its 7x7 stem and max pooling (arXiv 1512.03385)."""
    from torchvision.models import resnet18 as torchvision_resnet18  # takes seconds to load

    result: nn.Module = torchvision_resnet18(weights=None, num_classes=num_classes)
    return result


RESNETS: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": cifar_resnet(depth) for depth in (8, 14, 20, 32, 44, 56, 110)},
    "resnet8x4": cifar_resnet(8, widen=4),
    "resnet32x4": cifar_resnet(32, widen=4),
    "ResNet18": stem_resnet18,
    "ResNet50": stem_resnet50,
    "resnet18": resnet18,
}
