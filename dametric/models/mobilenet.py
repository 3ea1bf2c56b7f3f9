"""MobileNetV2 at half width for small images."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dametric.models.layers import conv1x1, conv3x3, global_pool, initialise

# expansion, channels at width 0.5, blocks, stride of the first block
STAGES = ((1, 8, 1, 1), (6, 12, 2, 1), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1))


def _conv_bn_relu(conv: nn.Conv2d) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True)]


class _InvertedResidual(nn.Module):
    """Widen with 1x1, filter each channel with 3x3, narrow with 1x1; no activation at the narrow end."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * inputs
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *_conv_bn_relu(conv1x1(inputs, wide)),
            *_conv_bn_relu(conv3x3(wide, wide, stride, groups=wide)),
            conv1x1(wide, outputs),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.conv(x) if self.residual else self.conv(x)
        return result


class MobileNetV2(nn.Module):
    """Inverted residuals at width 0.5 (Sandler et al., arXiv 1801.04381).

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
        self.conv1 = nn.Sequential(*_conv_bn_relu(conv3x3(3, 16, stride=2)))
        stages, inputs = [], 16
        for expansion, outputs, blocks, stride in STAGES:
            stage = [_InvertedResidual(inputs, outputs, stride, expansion)]
            stage += [_InvertedResidual(outputs, outputs, 1, expansion) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(*stage))
            inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.conv2 = nn.Sequential(*_conv_bn_relu(conv1x1(inputs, 1280)))
        self.classifier = nn.Sequential(nn.Linear(1280, num_classes))
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, 3, height, width)."""
        result: Tensor = self.classifier(global_pool(self.conv2(self.blocks(self.conv1(images)))))
        return result


def mobilenet_v2(num_classes: int = 100, image_size: int = 32) -> nn.Module:
    """``MobileNetV2``: width 0.5, expansion 6, logits (batch, num_classes) (arXiv 1801.04381)."""
    return MobileNetV2(num_classes)


MOBILENETS: dict[str, Callable[..., nn.Module]] = {"MobileNetV2": mobilenet_v2}
