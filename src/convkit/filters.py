"""Filters made by hand: small matrices that blur, sharpen, or find edges where a convolution takes them over an image.

Each function returns one of shape (height, width). `apply` takes it over a photograph; `depthwise` makes weights of it,
for `convkit.ops.conv2d` and `convkit.nn.Conv2d`::

    from convkit import filters
    edges = filters.apply(photograph, filters.sobel_x())

As everywhere in deep learning, and in image processing too, the filter is laid on the image as it is written, without
being rotated first.
"""

import numpy as np
import numpy.typing as npt

from . import _shapes, ops
from ._shapes import Array, Pair

_SOBEL = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))
_LAPLACIAN = ((0, 1, 0), (1, -4, 1), (0, 1, 0))
_EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def identity(size: Pair = 3, dtype: npt.DTypeLike | None = None) -> Array:
    """Make the filter that leaves an image as it is.

    Parameters
    ----------
    size : int or pair of int, default 3
        Height and width; odd, so that there is a pixel in the middle.
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray, shape (height, width)
        A 1 in the middle, and zeros.

    Raises
    ------
    TypeError, ValueError
        If `size` is no size, or even, or `dtype` neither of the two.

    Examples
    --------
    >>> identity()
    array([[0., 0., 0.],
           [0., 1., 0.],
           [0., 0., 0.]], dtype=float32)
    """
    kernel = np.zeros(_odd("identity", size), _shapes.floating("identity", dtype))
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1
    return kernel


def box_blur(size: Pair = 3, dtype: npt.DTypeLike | None = None) -> Array:
    """Make the filter that averages the pixels around each.

    Parameters
    ----------
    size : int or pair of int, default 3
        Height and width, in pixels.
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray, shape (height, width)
        Equal numbers that sum to 1.

    Raises
    ------
    TypeError, ValueError
        If `size` is no size, or `dtype` neither of the two.

    Examples
    --------
    >>> box_blur(2)
    array([[0.25, 0.25],
           [0.25, 0.25]], dtype=float32)
    """
    shape = _shapes.pair("box_blur", "size", size, 1)
    return np.full(shape, 1 / (shape[0] * shape[1]), _shapes.floating("box_blur", dtype))


def gaussian_blur(size: Pair = 5, sigma: float = 1.0, dtype: npt.DTypeLike | None = None) -> Array:
    """Make the filter that blurs as a soft lens does, the same in all directions.

    Parameters
    ----------
    size : int or pair of int, default 5
        Height and width, in pixels: six times `sigma` and more leaves nothing out that could be seen.
    sigma : float, default 1.0
        Standard deviation, in pixels.
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray, shape (height, width)
        Numbers that sum to 1.

    Raises
    ------
    TypeError, ValueError
        If `size` is no size, `sigma` not a positive number, or `dtype` neither of the two.

    Notes
    -----
    Proportional to ``exp(-(y**2 + x**2)/(2*sigma**2))``, with y and x the distances from the middle, in pixels.

    Examples
    --------
    >>> gaussian_blur(3).round(3)
    array([[0.075, 0.124, 0.075],
           [0.124, 0.204, 0.124],
           [0.075, 0.124, 0.075]], dtype=float32)
    """
    shape = _shapes.pair("gaussian_blur", "size", size, 1)
    deviation = _shapes.number("gaussian_blur", "sigma", sigma)
    if not deviation > 0:
        raise ValueError(f"gaussian_blur: sigma={sigma!r} must be positive")
    down, across = (np.exp(-(((np.arange(length) - (length - 1) / 2) / deviation) ** 2) / 2) for length in shape)
    return np.outer(down / down.sum(), across / across.sum()).astype(_shapes.floating("gaussian_blur", dtype))


def sharpen(amount: float = 1.0, dtype: npt.DTypeLike | None = None) -> Array:
    """Make the filter that brings out what differs from its surroundings.

    Parameters
    ----------
    amount : float, default 1.0
        How much of the difference is added; 0 leaves the image as it is.
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray, shape (3, 3)
        `identity`, less `amount` times the `laplacian`.

    Raises
    ------
    TypeError
        If `amount` is not a number, or `dtype` neither of the two.

    Examples
    --------
    >>> sharpen()
    array([[ 0., -1.,  0.],
           [-1.,  5., -1.],
           [ 0., -1.,  0.]], dtype=float32)
    """
    dtype = _shapes.floating("sharpen", dtype)
    return identity(dtype=dtype) - dtype.type(_shapes.number("sharpen", "amount", amount)) * laplacian(dtype)


def sobel_x(dtype: npt.DTypeLike | None = None) -> Array:
    """Make the filter that answers to changes from left to right: to vertical edges.

    Parameters
    ----------
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray, shape (3, 3)
        Eight times the slope, where an image gets brighter evenly.

    Raises
    ------
    TypeError
        If `dtype` is neither of the two.

    Notes
    -----
    I. Sobel and G. Feldman, "A 3x3 isotropic gradient operator for image processing", 1968.

    Examples
    --------
    >>> sobel_x()
    array([[-1.,  0.,  1.],
           [-2.,  0.,  2.],
           [-1.,  0.,  1.]], dtype=float32)
    """
    return np.array(_SOBEL, _shapes.floating("sobel_x", dtype))


def sobel_y(dtype: npt.DTypeLike | None = None) -> Array:
    """Make the filter that answers to changes from top to bottom: to horizontal edges.

    Parameters
    ----------
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray, shape (3, 3)
        The transpose of `sobel_x`.

    Raises
    ------
    TypeError
        If `dtype` is neither of the two.

    Examples
    --------
    >>> sobel_y()
    array([[-1., -2., -1.],
           [ 0.,  0.,  0.],
           [ 1.,  2.,  1.]], dtype=float32)
    """
    return np.array(_SOBEL, _shapes.floating("sobel_y", dtype)).T


def laplacian(dtype: npt.DTypeLike | None = None) -> Array:
    """Make the filter that answers to edges of all directions, and to lines and dots.

    Parameters
    ----------
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray, shape (3, 3)
        The sum of the second differences along both axes.

    Raises
    ------
    TypeError
        If `dtype` is neither of the two.

    Examples
    --------
    >>> laplacian()
    array([[ 0.,  1.,  0.],
           [ 1., -4.,  1.],
           [ 0.,  1.,  0.]], dtype=float32)
    """
    return np.array(_LAPLACIAN, _shapes.floating("laplacian", dtype))


def emboss(dtype: npt.DTypeLike | None = None) -> Array:
    """Make the filter that shows an image as a relief, with light from the top left.

    Parameters
    ----------
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    ndarray, shape (3, 3)
        Numbers that sum to 1: what is flat keeps its brightness.

    Raises
    ------
    TypeError
        If `dtype` is neither of the two.

    Examples
    --------
    >>> emboss()
    array([[-2., -1.,  0.],
           [-1.,  1.,  1.],
           [ 0.,  1.,  2.]], dtype=float32)
    """
    return np.array(_EMBOSS, _shapes.floating("emboss", dtype))


def depthwise(kernel: Array, channels: int = 1) -> Array:
    """Make weights of a filter that a convolution takes over each channel by itself.

    Parameters
    ----------
    kernel : ndarray, shape (R, S), float32 or float64
        The filter.
    channels : int, default 1
        Channels of the image, and groups of the convolution.

    Returns
    -------
    ndarray, shape (channels, 1, R, S), dtype of `kernel`

    Raises
    ------
    TypeError, ValueError
        If `kernel` is no matrix of floats, or `channels` no number of channels.

    Examples
    --------
    >>> from convkit import ops
    >>> ops.conv2d(np.ones((2, 3, 8, 8), np.float32), depthwise(box_blur(), 3), groups=3).shape
    (2, 3, 6, 6)
    """
    _shapes.array("depthwise", "kernel", kernel, 2)
    count = _shapes.integer("depthwise", "channels", channels, 1)
    return np.tile(kernel, (count, 1, 1, 1))


def apply(image: npt.NDArray[np.number], kernel: Array) -> Array:
    """Take a filter over an image.

    Parameters
    ----------
    image : ndarray, shape (H, W), (H, W, C) or (N, C, H, W), of real numbers
        A grey image, one with its colours last, as Pillow and matplotlib have it, or a batch as convkit has it.
    kernel : ndarray, shape (R, S), float32 or float64
        The filter, the same for every colour.

    Returns
    -------
    ndarray, shape of `image`, float32, or float64 where `image` is
        Not clipped: filters that find edges give negative numbers, too.

    Raises
    ------
    TypeError, ValueError
        If `image` has other axes or no real numbers, or `kernel` is no matrix of floats.

    Notes
    -----
    `convkit.ops.conv2d` with ``padding='same'``: beyond the edge of the image all is 0, which is black.

    Examples
    --------
    >>> import numpy as np
    >>> stripe = np.array([[0, 0, 255, 255]] * 3, np.uint8)
    >>> apply(stripe, sobel_x())[1]
    array([    0.,  1020.,  1020., -1020.], dtype=float32)
    """
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "buif":
        found = f"dtype {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"apply: image must be a numpy.ndarray of real numbers, not {found}")
    if image.ndim not in (2, 3, 4):
        raise ValueError(f"apply: image has shape {image.shape}, but must be (H, W), (H, W, C) or (N, C, H, W)")
    _shapes.array("apply", "kernel", kernel, 2)
    images = _batch(image.astype(np.float64 if image.dtype == np.float64 else np.float32, copy=False))
    channels = max(images.shape[1], 1)
    weight = depthwise(kernel.astype(images.dtype, copy=False), channels)
    filtered = ops.conv2d(images, weight, padding="same", groups=channels)
    return filtered.transpose(0, 2, 3, 1).reshape(image.shape) if image.ndim < 4 else filtered


def _batch(image: Array) -> Array:
    """Return an image as (N, C, H, W)."""
    if image.ndim == 2:
        return image[np.newaxis, np.newaxis]
    return image.transpose(2, 0, 1)[np.newaxis] if image.ndim == 3 else image


def _odd(name: str, size: Pair) -> tuple[int, int]:
    height, width = _shapes.pair(name, "size", size, 1)
    if height % 2 == 0 or width % 2 == 0:
        raise ValueError(f"{name}: size={size!r} must be odd, so that there is a pixel in the middle")
    return height, width


__all__ = [
    "apply",
    "box_blur",
    "depthwise",
    "emboss",
    "gaussian_blur",
    "identity",
    "laplacian",
    "sharpen",
    "sobel_x",
    "sobel_y",
]
