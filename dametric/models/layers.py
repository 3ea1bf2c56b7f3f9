"""Layers that several families of networks share."""

from __future__ import annotations

from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """3x3 convolution without bias that keeps the image size at stride 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """1x1 convolution without bias."""
    return nn.Conv2d(inputs, outputs, 1, stride, groups=groups, bias=False)


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Shortcut of a residual block: a 1x1 convolution with batch norm where shapes change, else nothing."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()  # the identity; it has no keys in the state_dict
    return nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


def global_pool(maps: Tensor) -> Tensor:
    """Average over all pixels: (batch, channels, height, width) to (batch, channels)."""
    return nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1)


def channel_shuffle(maps: Tensor, groups: int) -> Tensor:
    """Interleave the channels of ``groups`` groups (arXiv 1707.01083, section 3.1); shape unchanged."""
    result: Tensor = maps.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
    return result


def initialise(network: nn.Module) -> None:
    """Draw initial weights in place: Kaiming normal (fan out) for convolutions, zero for their biases.

    Batch norm starts at one and zero and linear layers as torch makes them (He et al., arXiv 1502.01852).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # meta tensors have no values to draw
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
