"""A small convolutional network for small images."""

from .. import nn
from .._shapes import Pair
from ._config import checked


def convnet(num_classes: int = 10, in_channels: int = 1, image_size: Pair = (28, 28)) -> nn.Sequential:
    """Two blocks of convolution, batch norm, ReLU and max-pooling, and a linear layer.

    Parameters
    ----------
    num_classes : int, default 10
        Number of scores that come out.
    in_channels : int, default 1
        Number of channels of the images.
    image_size : int or pair of int, default (28, 28)
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
    conv(16, 5x5, pad 2) - batch norm - ReLU - max-pool 2 - conv(32, 5x5, pad 2) - batch norm - ReLU - max-pool 2 -
    linear: the network that the articles train on Fashion-MNIST, with Adam. For grey images of 28x28 and ten classes
    it has 29,034 parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import models
    >>> models.convnet()(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 10)
    """
    # Two poolings by 2 must leave a pixel.
    arguments = checked("convnet", num_classes, in_channels, image_size, least=4)
    height, width = arguments.image_size
    model = nn.Sequential(
        {
            "conv1": nn.Conv2d(arguments.in_channels, 16, 5, padding=2),
            "bn1": nn.BatchNorm2d(16),
            "relu1": nn.ReLU(),
            "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(16, 32, 5, padding=2),
            "bn2": nn.BatchNorm2d(32),
            "relu2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(32 * (height // 4) * (width // 4), arguments.num_classes),
        }
    )
    return arguments.remembered_by(model)
