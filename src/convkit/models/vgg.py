"""A VGG for small pictures."""

from .. import nn
from .._shapes import Pair
from ._config import checked

# Channels of the two convolutions of each stage: narrow enough to be trained in minutes on two cores.
_STAGES = (32, 64, 128)


def vgg(num_classes: int = 10, in_channels: int = 3, image_size: Pair = (32, 32)) -> nn.Sequential:
    """Three stages of two 3x3 convolutions and a max-pooling, and a linear layer.

    Parameters
    ----------
    num_classes : int, default 10
        Number of scores that come out.
    in_channels : int, default 3
        Number of channels of the images.
    image_size : int or pair of int, default (32, 32)
        Height and width of the images, in pixels; at least 8.

    Returns
    -------
    Sequential
        Its parts are ``features`` and ``classifier``. Takes (N, in_channels, height, width) and gives scores
        (N, num_classes).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Stages of 32, 64 and 128 channels; each convolution is followed by batch norm and ReLU, and each stage halves the
    image. For CIFAR-10 it has 307,946 parameters and takes 39 million multiply-adds an image. After K. Simonyan,
    A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015, whose networks are
    wider, have no batch norm, and end in three linear layers.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import models
    >>> models.vgg()(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 10)
    """
    # Three poolings by 2 must leave a pixel.
    arguments = checked("vgg", num_classes, in_channels, image_size, least=8)
    height, width = arguments.image_size
    features = nn.Sequential()
    channels = arguments.in_channels
    for wider in _STAGES:
        for _ in range(2):
            features.append(nn.Conv2d(channels, wider, 3, padding=1, bias=False))
            features.append(nn.BatchNorm2d(wider)).append(nn.ReLU())
            channels = wider
        features.append(nn.MaxPool2d(2))
    classifier = nn.Linear(channels * (height // 8) * (width // 8), arguments.num_classes)
    model = nn.Sequential({"features": features, "flatten": nn.Flatten(), "classifier": classifier})
    return arguments.remembered_by(model)
