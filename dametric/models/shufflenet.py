"""ShuffleNet V1 and V2 for small images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from dametric.errors import UsageError
from dametric.models.layers import channel_shuffle, conv1x1, conv3x3, global_pool, initialise


class _UnitV1(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; at stride 2 joined to the pooled input, else added."""

    def __init__(self, inputs: int, outputs: int, stride: int, first_groups: int, groups: int) -> None:
        super().__init__()
        branch = outputs - inputs if stride == 2 else outputs
        narrow = branch // 4
        self.stride, self.shuffles = stride, first_groups
        self.conv1, self.bn1 = conv1x1(inputs, narrow, groups=first_groups), nn.BatchNorm2d(narrow)
        self.conv2, self.bn2 = conv3x3(narrow, narrow, stride, groups=narrow), nn.BatchNorm2d(narrow)
        self.conv3, self.bn3 = conv1x1(narrow, branch, groups=groups), nn.BatchNorm2d(branch)

    def forward(self, x: Tensor) -> Tensor:
        y = channel_shuffle(relu(self.bn1(self.conv1(x)), inplace=True), self.shuffles)
        y = relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y = torch.cat([y, avg_pool2d(x, 3, 2, padding=1)], 1) if self.stride == 2 else y + x
        return relu(y, inplace=True)


class ShuffleNetV1(nn.Module):
    """ShuffleNet with three groups (Zhang et al., arXiv 1707.01083).

    Parameters
    ----------
    num_classes : int
        Number of logits.

    Notes
    -----
    ``forward`` maps images (batch, 3, 32, 32) to logits (batch, num_classes).
    """

    def __init__(self, num_classes: int, groups: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv1x1(3, 24), nn.BatchNorm2d(24)
        inputs = 24
        for stage, (outputs, blocks) in enumerate(((240, 4), (480, 8), (960, 4)), 1):
            # 24 channels are too few to split before they have been mixed once
            units = [_UnitV1(inputs, outputs, 2, 1 if stage == 1 else groups, groups)]
            units += [_UnitV1(outputs, outputs, 1, groups, groups) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*units))
            inputs = outputs
        self.linear = nn.Linear(inputs, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, 3, 32, 32)."""
        x = relu(self.bn1(self.conv1(images)), inplace=True)
        x = self.get_submodule("layer3")(self.get_submodule("layer2")(self.get_submodule("layer1")(x)))
        result: Tensor = self.linear(global_pool(x))
        return result


class _UnitV2(nn.Module):
    """Half of the channels pass, the other half go through 1x1, depthwise 3x3 and 1x1; then all are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = conv1x1(half, half), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = conv3x3(half, half, groups=half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = conv1x1(half, half), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        kept, y = x.chunk(2, 1)
        y = relu(self.bn1(self.conv1(y)), inplace=True)
        y = self.bn2(self.conv2(y))
        y = relu(self.bn3(self.conv3(y)), inplace=True)
        return channel_shuffle(torch.cat([kept, y], 1), 2)


class _DownV2(nn.Module):
    """Both branches see all channels and halve the image; together they give ``outputs`` channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1, self.bn1 = conv3x3(inputs, inputs, 2, groups=inputs), nn.BatchNorm2d(inputs)
        self.conv2, self.bn2 = conv1x1(inputs, half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = conv1x1(inputs, half), nn.BatchNorm2d(half)
        self.conv4, self.bn4 = conv3x3(half, half, 2, groups=half), nn.BatchNorm2d(half)
        self.conv5, self.bn5 = conv1x1(half, half), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        left = self.bn1(self.conv1(x))
        left = relu(self.bn2(self.conv2(left)), inplace=True)
        right = relu(self.bn3(self.conv3(x)), inplace=True)
        right = self.bn4(self.conv4(right))
        right = relu(self.bn5(self.conv5(right)), inplace=True)
        return channel_shuffle(torch.cat([left, right], 1), 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNet V2 at width 1 (Ma et al., arXiv 1807.11164).

    Parameters
    ----------
    num_classes : int
        Number of logits.

    Notes
    -----
    ``forward`` maps images (batch, 3, height, width) to logits (batch, num_classes), any size from 8 pixels.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv1x1(3, 24), nn.BatchNorm2d(24)
        self.layer1 = nn.Sequential(_DownV2(24, 116), *(_UnitV2(116) for _ in range(3)))
        self.layer2 = nn.Sequential(_DownV2(116, 232), *(_UnitV2(232) for _ in range(7)))
        self.layer3 = nn.Sequential(_DownV2(232, 464), *(_UnitV2(464) for _ in range(3)))
        self.conv2, self.bn2 = conv1x1(464, 1024), nn.BatchNorm2d(1024)
        self.linear = nn.Linear(1024, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, 3, height, width)."""
        x = relu(self.bn1(self.conv1(images)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        x = relu(self.bn2(self.conv2(x)), inplace=True)
        result: Tensor = self.linear(global_pool(x))
        return result


def shufflenet_v1(num_classes: int = 100, image_size: int = 32) -> nn.Module:
    """``ShuffleV1``: logits (batch, num_classes) of 32-pixel images (arXiv 1707.01083).

    Raises
    ------
    UsageError
        If ``image_size`` is not 32.
    """
    if image_size != 32:
        raise UsageError(f"ShuffleV1 takes images of 32 pixels, not {image_size}: use ShuffleV2 or resize to 32")
    return ShuffleNetV1(num_classes)


def shufflenet_v2(num_classes: int = 100, image_size: int = 32) -> nn.Module:
    """``ShuffleV2``: width 1, logits (batch, num_classes) (arXiv 1807.11164)."""
    return ShuffleNetV2(num_classes)


SHUFFLENETS: dict[str, Callable[..., nn.Module]] = {"ShuffleV1": shufflenet_v1, "ShuffleV2": shufflenet_v2}
