"""Residual networks for small pictures."""

from typing import cast

from .. import nn
from .._shapes import Pair
from ..autograd import Tensor
from ._config import checked


def resnet20(num_classes: int = 10, in_channels: int = 3, image_size: Pair = (32, 32)) -> nn.Module:
    """Nineteen convolutions of 3x3, every two of them bypassed, global average pooling and a linear layer.

    Parameters
    ----------
    num_classes : int, default 10
        Number of scores that come out.
    in_channels : int, default 3
        Number of channels of the images.
    image_size : int or pair of int, default (32, 32)
        Height and width of the images, in pixels; at least 4.

    Returns
    -------
    Module
        Takes (N, in_channels, height, width) and gives scores (N, num_classes).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Three stages of three blocks, with 16, 32 and 64 channels; the second and third halve the image. For CIFAR-10 it
    has 272,474 parameters. Of these 2,752 are in the two bypasses that change size: 1x1 convolutions with batch norm
    ("option B" of the paper), so that the state dict has the keys of torchvision's residual networks, such as
    ``layer2.0.downsample.0.weight``. K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition",
    CVPR 2016, section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import models
    >>> models.resnet20()(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 10)
    """
    # Two halvings leave a pixel.
    arguments = checked("resnet20", num_classes, in_channels, image_size, least=4)
    return arguments.remembered_by(_ResNet(arguments.in_channels, arguments.num_classes, blocks=3))


class _ResNet(nn.Module):
    def __init__(self, in_channels: int, num_classes: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return cast("Tensor", self.fc(self.flatten(self.avgpool(x))))


class _BasicBlock(nn.Module):
    """Two convolutions and a way past them."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        bypass = x if self.downsample is None else self.downsample(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        return cast("Tensor", self.relu2(self.bn2(self.conv2(x)) + bypass))


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = _BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(_BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))
