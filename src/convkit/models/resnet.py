"""Residual networks."""

from typing import cast

from .. import nn
from .._shapes import Pair
from ..autograd import Tensor
from ._config import checked, for_rectifiers


def resnet20(num_classes: int = 10, in_channels: int = 3, image_size: Pair = (32, 32)) -> nn.Sequential:
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
    Sequential
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
    stem = _stem(nn.Conv2d(arguments.in_channels, 16, 3, padding=1, bias=False))
    stages = _stages((16, 32, 64), blocks=3)
    return arguments.remembered_by(nn.Sequential(stem | stages | _head(64, arguments.num_classes)))


def resnet18(num_classes: int = 1000, in_channels: int = 3, image_size: Pair = (224, 224)) -> nn.Sequential:
    """Seventeen convolutions, all but the first of 3x3 and bypassed in pairs, global average pooling, a linear layer.

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
        Takes (N, in_channels, height, width) and gives scores (N, num_classes).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    A convolution of 7x7 and a max-pooling make the image a quarter as high and wide; four stages of two blocks follow,
    with 64, 128, 256 and 512 channels, of which all but the first halve it. For ImageNet it has 11,689,512 parameters
    and takes 1.81 billion multiply-adds an image. Its state dict has the keys of torchvision's ``resnet18``, whose
    weights it takes; its own start as they do there. K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for
    image recognition", CVPR 2016, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import models
    >>> models.resnet18()(np.zeros((1, 3, 64, 64), np.float32)).shape
    (1, 1000)
    """
    # Padded windows fit images of any size.
    arguments = checked("resnet18", num_classes, in_channels, image_size, least=1)
    stem = _stem(nn.Conv2d(arguments.in_channels, 64, 7, stride=2, padding=3, bias=False))
    stem["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    stages = _stages((64, 128, 256, 512), blocks=2)
    model = nn.Sequential(stem | stages | _head(512, arguments.num_classes))
    return arguments.remembered_by(model.apply(for_rectifiers))


def _stem(conv: nn.Conv2d) -> dict[str, nn.Module]:
    return {"conv1": conv, "bn1": nn.BatchNorm2d(conv.out_channels), "relu": nn.ReLU()}


def _stages(widths: tuple[int, ...], blocks: int) -> dict[str, nn.Module]:
    """Make a stage of each width; all but the first halve the image."""
    return {
        f"layer{number}": nn.Sequential(
            _BasicBlock(before, width, stride=1 if number == 1 else 2),
            *(_BasicBlock(width, width, stride=1) for _ in range(blocks - 1)),
        )
        for number, (before, width) in enumerate(zip((widths[0], *widths), widths, strict=False), start=1)
    }


def _head(channels: int, num_classes: int) -> dict[str, nn.Module]:
    return {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(channels, num_classes)}


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
