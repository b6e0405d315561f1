"""Why a network says what it says: what its layers make of an image, and which pixels decide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _shapes
from ..autograd import Tensor, no_grad
from ..nn import Module
from ..nn.hooks import leaves, watched
from ..nn.modes import evaluating
from .evaluation import predict

_BATCH_SIZE = 64


class FeatureMaps(NamedTuple):
    """What one layer made of an image."""

    #: Name of the layer in the network, for example ``features.0``.
    name: str
    #: Its class, for example ``Conv2d``.
    kind: str
    #: Its output, of shape (C, H, W).
    maps: NDArray[Any]


def feature_maps(model: Module, image: NDArray[Any]) -> list[FeatureMaps]:
    """Collect the maps that every layer makes of an image.

    Parameters
    ----------
    model : Module
        Asked in evaluation mode, then put back into the mode it was in.
    image : ndarray, shape (C, H, W)
        Normalised as the ones the network was trained on.

    Returns
    -------
    list of FeatureMaps
        One for each time that a layer, a module without modules in it, gave maps, in the order of the computation. What
        a ``forward`` computes between the layers is not seen.

    Raises
    ------
    ValueError
        If `image` does not have three dimensions, or does not fit the network.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import models
    >>> maps = feature_maps(models.lenet5(), np.zeros((1, 28, 28), np.float32))
    >>> [(layer.name, layer.maps.shape) for layer in maps[:3]]
    [('conv1', (6, 28, 28)), ('relu1', (6, 28, 28)), ('pool1', (6, 14, 14))]
    """
    _shapes.array("feature_maps", "image", image, 3)
    found: list[FeatureMaps] = []

    def keep(name: str, layer: Module, args: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            found.append(FeatureMaps(name, type(layer).__name__, np.array(output.data[0])))

    with evaluating(model), no_grad(), watched(leaves(model), keep):
        model(Tensor(image[None]))
    return found


def gradient(model: Module, image: NDArray[Any], label: int) -> NDArray[Any]:
    """Tell how much the score of a class changes with each pixel.

    Parameters
    ----------
    model : Module
        Asked in evaluation mode, then put back into the mode it was in.
    image : ndarray, shape (C, H, W)
        Normalised as the ones the network was trained on.
    label : int
        The class.

    Returns
    -------
    ndarray, shape (H, W)
        Largest magnitude, over the channels, of the derivative of the score, before softmax, with respect to the pixel.

    Raises
    ------
    ValueError
        If `image` does not have three dimensions or does not fit the network, or there is no such class.

    Notes
    -----
    One pass forward and one back: cheap, and noisy. K. Simonyan, A. Vedaldi, A. Zisserman, "Deep inside convolutional
    networks", 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> slopes = gradient(model, np.zeros((1, 2, 2), np.float32), label=1)
    >>> bool((slopes == abs(model[1].weight.data[1].reshape(2, 2))).all())
    True
    """
    _shapes.array("gradient", "image", image, 3)
    pixels = Tensor(image[None], requires_grad=True)
    with evaluating(model), _frozen(model):
        scores = model(pixels)
        start = np.zeros_like(scores.data)
        start[0, _label("gradient", label, scores.shape[1])] = 1
        scores.backward(start)
    assert pixels.grad is not None
    slopes: NDArray[Any] = np.abs(pixels.grad.data[0]).max(axis=0)
    return slopes


def occlusion(
    model: Module, image: NDArray[Any], label: int, size: int | None = None, stride: int | None = None
) -> NDArray[Any]:
    """Tell how much less likely a class becomes when a part of the image is hidden.

    Parameters
    ----------
    model : Module
        Asked in evaluation mode, then put back into the mode it was in.
    image : ndarray, shape (C, H, W)
        Normalised as the ones the network was trained on.
    label : int
        The class.
    size : int, optional
        Height and width of the square that is hidden, in pixels; a fifth of the image's shorter side if not given.
    stride : int, optional
        Distance of neighbouring squares, in pixels; so that there are about 32 along each side if not given.

    Returns
    -------
    ndarray, shape (H, W)
        Probability of the class for the whole image minus the one with the square hidden, averaged over all squares
        that cover the pixel: positive where pixels speak for the class, negative where they speak against it.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, the square is larger than the image, or `image` does not fit the network.

    Notes
    -----
    Hidden pixels become 0, which is the mean of the training images. It takes one pass forward for each square. M. D.
    Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import models
    >>> occlusion(models.convnet(image_size=8), np.ones((1, 8, 8), np.float32), label=3).shape
    (8, 8)
    """
    _shapes.array("occlusion", "image", image, 3)
    height, width = image.shape[1:]
    shorter, longer = sorted((height, width))
    size = max(1, shorter // 5) if size is None else _shapes.integer("occlusion", "size", size, 1)
    stride = -(-longer // 32) if stride is None else _shapes.integer("occlusion", "stride", stride, 1)
    if size > shorter:
        raise ValueError(f"occlusion: size={size} must be at most {shorter}, the image's shorter side")
    whole = predict(model, image[None])[0]
    label = _label("occlusion", label, len(whole))

    corners = [(top, left) for top in _places(height, size, stride) for left in _places(width, size, stride)]
    total, covered = np.zeros((2, height, width))
    for start in range(0, len(corners), _BATCH_SIZE):
        some = corners[start : start + _BATCH_SIZE]
        drops = whole[label] - predict(model, _hidden(image, some, size))[:, label]
        for (top, left), drop in zip(some, drops, strict=True):
            square = np.s_[top : top + size, left : left + size]
            total[square] += drop
            covered[square] += 1
    return total / np.maximum(covered, 1)


def _places(length: int, size: int, stride: int) -> list[int]:
    """Return where squares begin; the last one ends where the image does."""
    return sorted({*range(0, length - size, stride), length - size})


def _hidden(image: NDArray[Any], corners: list[tuple[int, int]], size: int) -> NDArray[Any]:
    images = np.repeat(image[None], len(corners), axis=0)
    for copy, (top, left) in zip(images, corners, strict=True):
        copy[:, top : top + size, left : left + size] = 0
    return images


def _label(function: str, label: int, classes: int) -> int:
    number = _shapes.integer(function, "label", label, 0)
    if number >= classes:
        raise ValueError(f"{function}: label={label} must be below {classes}, the number of classes")
    return number


@contextmanager
def _frozen(model: Module) -> Iterator[None]:
    """Keep gradients out of the parameters."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad = True
