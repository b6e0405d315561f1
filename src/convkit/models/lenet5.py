"""LeNet-5."""

from .. import nn
from .._shapes import Pair
from ._config import checked


def lenet5(num_classes: int = 10, in_channels: int = 1, image_size: Pair = (28, 28)) -> nn.Sequential:
    """LeNet-5, with ReLU and max-pooling in place of its sigmoids and trained averages.

    Parameters
    ----------
    num_classes : int, default 10
        Number of scores that come out.
    in_channels : int, default 1
        Number of channels of the images.
    image_size : int or pair of int, default (28, 28)
        Height and width of the images, in pixels; at least 12.

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
    conv(6, 5x5, pad 2) - ReLU - max-pool 2 - conv(16, 5x5) - ReLU - max-pool 2 - linear(120) - ReLU - linear(84) -
    ReLU - linear. Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 86, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import models
    >>> models.lenet5()(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 10)
    """
    # The second convolution takes 4 pixels off half the image, and must leave 2 to pool.
    arguments = checked("lenet5", num_classes, in_channels, image_size, least=12)
    height, width = ((size // 2 - 4) // 2 for size in arguments.image_size)
    model = nn.Sequential(
        {
            "conv1": nn.Conv2d(arguments.in_channels, 6, 5, padding=2),
            "relu1": nn.ReLU(),
            "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(6, 16, 5),
            "relu2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(16 * height * width, 120),
            "relu3": nn.ReLU(),
            "fc2": nn.Linear(120, 84),
            "relu4": nn.ReLU(),
            "fc3": nn.Linear(84, arguments.num_classes),
        }
    )
    return arguments.remembered_by(model)
