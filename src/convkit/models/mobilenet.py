"""MobileNet."""

from typing import cast

from .. import nn
from .._shapes import Pair
from ..autograd import Tensor
from ._config import checked, for_rectifiers

# Table 2 of the paper. Of each stage: how many times wider its blocks are inside, channels, blocks, and first stride.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_FIRST, _LAST = 32, 1280


def mobilenet_v2(num_classes: int = 1000, in_channels: int = 3, image_size: Pair = (224, 224)) -> nn.Sequential:
    """Depthwise convolutions of 3x3 between 1x1 that widen and narrow, global average pooling and a linear layer.

    Parameters
    ----------
    num_classes : int, default 1000
        Number of scores that come out.
    in_channels : int, default 3
        Number of channels of the images.
    image_size : int or pair of int, default (224, 224)
        Height and width of the images, in pixels; any will do.

    Returns
    -------
    Sequential
        Takes (N, in_channels, height, width) and gives scores (N, num_classes). While it is trained, a fifth of what
        the linear layer sees is dropped.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Seventeen inverted residual blocks between a convolution of 3x3 and one of 1x1; five halve the image, the first
    convolution among them. For ImageNet it has 3,504,872 parameters and takes 0.30 billion multiply-adds an image. Its
    state dict has the keys of torchvision's ``mobilenet_v2``, whose weights it takes; its own start as they do there.
    M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen, "MobileNetV2: inverted residuals and linear bottlenecks",
    CVPR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import models
    >>> models.mobilenet_v2()(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 1000)
    """
    # Padded windows fit images of any size.
    arguments = checked("mobilenet_v2", num_classes, in_channels, image_size, least=1)
    features = nn.Sequential(_conv_bn(arguments.in_channels, _FIRST, 3, stride=2))
    before = _FIRST
    for expansion, channels, blocks, stride in _STAGES:
        for block in range(blocks):
            features.append(_InvertedResidual(before, channels, 1 if block else stride, expansion))
            before = channels
    features.append(_conv_bn(before, _LAST, 1))
    fc = nn.Linear(_LAST, arguments.num_classes)
    nn.init.normal_(fc.weight, std=0.01)
    nn.init.zeros_(cast("Tensor", fc.bias))
    model = nn.Sequential(
        {
            "features": features.apply(for_rectifiers),
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "classifier": nn.Sequential(nn.Dropout(0.2), fc),
        }
    )
    return arguments.remembered_by(model)


class _InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow; and a way past that where the shape stays."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = in_channels * expansion
        widen = [] if expansion == 1 else [_conv_bn(in_channels, inside, 1)]
        self.conv = nn.Sequential(
            *widen,
            _conv_bn(inside, inside, 3, stride, groups=inside),
            nn.Conv2d(inside, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.bypassed = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        y = cast("Tensor", self.conv(x))
        return x + y if self.bypassed else y


def _conv_bn(in_channels: int, channels: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(),
    )
