"""Augmentation: random changes to the images of a batch, all at once.

A transform is called with images, an ndarray of shape (N, C, H, W), and optionally a generator of random numbers, and
returns new images, channels-last in memory. `DataLoader` calls it in its background threads, with a generator that its
seed, the epoch and the batch decide. Names and arguments are torchvision's; every image of a batch gets random numbers
of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from .. import _random, _shapes
from .._shapes import Pair
from .images import spread

Images = NDArray[Any]

if TYPE_CHECKING:
    # Not at run time: `import convkit` does without numpy.random.
    Transform = Callable[[Images, np.random.Generator], Images]

_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")
# How often torchvision draws a rectangle before it lets an image be.
_ATTEMPTS = 10


class Compose:
    """One transform after the other.

    Parameters
    ----------
    transforms : sequence of callable
        In this order.

    Examples
    --------
    >>> augment = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip()])
    >>> augment(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 3, 32, 32)
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: Images, generator: np.random.Generator | None = None) -> Images:
        """Return what the last transform returns."""
        generator = generator or _random.generator()
        for transform in self.transforms:
            images = transform(images, generator)
        return images


class RandomCrop:
    """Cut a window out of each image, at a random place.

    Parameters
    ----------
    size : int or pair of int
        Height and width of the window.
    padding : int, pair of int or sequence of 4 int, optional
        Pixels to add first: on all sides; left and right, top and bottom; or left, top, right, bottom.
    pad_if_needed : bool, default False
        Whether to pad images that are smaller than the window.
    fill : float, default 0
        What 'constant' pads with. On normalised images, 0 is the mean colour.
    padding_mode : {'constant', 'edge', 'reflect', 'symmetric'}, default 'constant'
        How to pad, as for `numpy.pad`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range or, when called, images are smaller than the window.

    Examples
    --------
    >>> RandomCrop(3)(np.zeros((5, 1, 8, 8), np.uint8)).shape
    (5, 1, 3, 3)
    """

    def __init__(
        self,
        size: Pair,
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float = 0,
        padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
    ) -> None:
        self.size = _shapes.pair("RandomCrop", "size", size, 1)
        self.padding = _sides(padding)
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        if padding_mode not in _PADDING_MODES:
            raise ValueError(f"RandomCrop: padding_mode={padding_mode!r} must be one of {', '.join(_PADDING_MODES)}")
        self.padding_mode = padding_mode

    def __call__(self, images: Images, generator: np.random.Generator | None = None) -> Images:
        """Return windows, shape (N, C, height, width)."""
        generator = generator or _random.generator()
        # Rows without gaps, so that a window's is one run of memory.
        padded = np.ascontiguousarray(self._padded(_channels_last("RandomCrop", images)))
        count, height, width, channels = padded.shape
        rows, columns = height - self.size[0], width - self.size[1]
        if min(rows, columns) < 0:
            raise ValueError(f"RandomCrop: size={self.size} is larger than the images, {(height, width)} with padding")
        top, left = generator.integers(rows + 1, size=count), generator.integers(columns + 1, size=count)
        # (N, places down, places across, height, width*C): every window, as a view.
        image, row, column, _ = padded.strides
        shape = count, rows + 1, columns + 1, self.size[0], self.size[1] * channels
        windows: Images = np.ndarray(shape, padded.dtype, padded, 0, (image, row, column, row, padded.itemsize))
        return _channels_first(windows[np.arange(count), top, left].reshape(count, *self.size, channels))

    def _padded(self, pixels: Images) -> Images:
        left, top, right, bottom = self.padding
        if self.pad_if_needed:
            more_rows = max(self.size[0] - pixels.shape[1] - top - bottom, 0)
            more_columns = max(self.size[1] - pixels.shape[2] - left - right, 0)
            left, top, right, bottom = left + more_columns, top + more_rows, right + more_columns, bottom + more_rows
        if not any((left, top, right, bottom)):
            return pixels
        if self.padding_mode != "constant":
            return np.pad(pixels, ((0, 0), (top, bottom), (left, right), (0, 0)), self.padding_mode)
        # What np.pad does, in a third of the time.
        count, height, width, channels = pixels.shape
        padded = np.full((count, top + height + bottom, left + width + right, channels), self.fill, pixels.dtype)
        padded[:, top : top + height, left : left + width] = pixels
        return padded


class RandomHorizontalFlip:
    """Swap left and right, of some images.

    Parameters
    ----------
    p : float, default 0.5
        Probability of each image to be flipped.

    Raises
    ------
    ValueError
        If `p` is not from 0 to 1.

    Examples
    --------
    >>> RandomHorizontalFlip(p=1)(np.array([[[[1.0, 2.0, 3.0]]]]))
    array([[[[3., 2., 1.]]]])
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability("RandomHorizontalFlip", p)

    def __call__(self, images: Images, generator: np.random.Generator | None = None) -> Images:
        """Return images, some of them flipped."""
        generator = generator or _random.generator()
        pixels = _channels_last("RandomHorizontalFlip", images)
        chosen = generator.random(len(pixels)) < self.p
        flipped = pixels.copy()
        # Channel by channel, so that NumPy's innermost loop is a row and not a pixel.
        for channel in range(pixels.shape[3]):
            flipped[..., channel][chosen] = pixels[:, :, ::-1, channel][chosen]
        return _channels_first(flipped)


class RandomErasing:
    """Paint a rectangle of random size and place over some images.

    Parameters
    ----------
    p : float, default 0.5
        Probability of each image to get one.
    scale : pair of float, default (0.02, 0.33)
        Least and largest share of the image that it covers.
    ratio : pair of float, default (0.3, 3.3)
        Least and largest ratio of its height to its width.
    value : float, sequence of float, or 'random', default 0
        What to paint: one value, one a channel, or noise, normally distributed or, for images of uint8, uniformly.

    Raises
    ------
    ValueError
        If an argument is out of its range or, when called, `value` does not have one value a channel.

    Notes
    -----
    Of ten rectangles that are drawn for an image, the first that fits into it is painted, and none if none does.

    Z. Zhong, L. Zheng, G. Kang, S. Li, Y. Yang, *Random Erasing Data Augmentation*, AAAI 2020, arXiv:1708.04896.

    Examples
    --------
    >>> erased = RandomErasing(p=1)(np.ones((4, 1, 16, 16), np.float32))
    >>> bool(0.6 < erased.mean() < 1)
    True
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | Sequence[float] | Literal["random"] = 0,
    ) -> None:
        self.p = _probability("RandomErasing", p)
        self.scale = _range("scale", scale, 1)
        self.ratio = _range("ratio", ratio, math.inf)
        if isinstance(value, str) and value != "random":
            raise ValueError(f"RandomErasing: value={value!r} must be a number, one a channel, or 'random'")
        self.value = value

    def __call__(self, images: Images, generator: np.random.Generator | None = None) -> Images:
        """Return images, some of them with a rectangle."""
        generator = generator or _random.generator()
        pixels = _channels_last("RandomErasing", images).copy()
        count, height, width, channels = pixels.shape
        if np.ndim(self.value) and len(self.value) != channels:  # type: ignore[arg-type]
            raise ValueError(f"RandomErasing: value={self.value} needs one value for each of {channels} channels")
        for index, (top, left, rows, columns) in self._rectangles(count, height, width, generator):
            window = pixels[index, top : top + rows, left : left + columns]
            window[:] = _noise(window, generator) if self.value == "random" else self.value
        return _channels_first(pixels)

    def _rectangles(self, count: int, height: int, width: int, generator: np.random.Generator) -> Any:
        """Draw for all images at once; return which get a rectangle, and top, left, height and width of each."""
        chosen = generator.random(count) < self.p
        area = height * width * generator.uniform(*self.scale, (count, _ATTEMPTS))
        low, high = self.ratio
        aspect = np.exp(generator.uniform(math.log(low), math.log(high), (count, _ATTEMPTS)))
        rows, columns = np.rint(np.sqrt(area * aspect)).astype(int), np.rint(np.sqrt(area / aspect)).astype(int)
        fits = (rows < height) & (columns < width)
        first = np.arange(count), fits.argmax(axis=1)
        rows, columns = rows[first], columns[first]
        place = generator.random((2, count))
        top, left = (place * np.maximum([height - rows + 1, width - columns + 1], 0)).astype(int)
        painted = np.flatnonzero(chosen & fits[first])
        return zip(painted, np.stack([top, left, rows, columns], axis=1)[painted].tolist(), strict=True)


class ConvertImageDtype:
    """Turn pixels of uint8, 0 to 255, into floating point, 0 to 1.

    Parameters
    ----------
    dtype : dtype, default float32
        float32 or float64.

    Raises
    ------
    TypeError
        If `dtype` is not floating point or, when called, images are neither uint8 nor floating point.

    Examples
    --------
    >>> ConvertImageDtype()(np.full((1, 1, 1, 1), 255, np.uint8))
    array([[[[1.]]]], dtype=float32)
    """

    def __init__(self, dtype: npt.DTypeLike = np.float32) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype.kind != "f":
            raise TypeError(f"ConvertImageDtype: dtype must be floating point, got {self.dtype}")

    def __call__(self, images: Images, generator: np.random.Generator | None = None) -> Images:
        """Return images of `dtype`; nothing is drawn."""
        pixels = _channels_last("ConvertImageDtype", images)
        if pixels.dtype == np.uint8:
            return _channels_first(np.divide(pixels, 255, dtype=self.dtype, order="C"))
        return _channels_first(pixels.astype(self.dtype, order="C"))


class Normalize:
    """Subtract the mean of each channel and divide by its standard deviation.

    Parameters
    ----------
    mean, std : sequence of float
        One value a channel, or one for all.

    Raises
    ------
    ValueError
        If a `std` is not above 0 or, when called, there is not one value a channel.
    TypeError
        When called, if images are not floating point; see `ConvertImageDtype`.

    Examples
    --------
    >>> Normalize([0.5], [0.25])(np.ones((1, 1, 1, 1)))
    array([[[[2.]]]])
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = tuple(mean)
        self.std = tuple(std)
        if not self.std or min(self.std) <= 0:
            raise ValueError(f"Normalize: std must be above 0, got {self.std}")

    def __call__(self, images: Images, generator: np.random.Generator | None = None) -> Images:
        """Return normalised images of the same dtype; nothing is drawn."""
        pixels = _channels_last("Normalize", images)
        if pixels.dtype.kind != "f":
            raise TypeError("Normalize: images must be floating point, not uint8: ConvertImageDtype comes first")
        shape, channels = pixels.shape[1:], pixels.shape[3]
        if not {len(self.mean), len(self.std)} <= {1, channels}:
            raise ValueError(
                f"Normalize: mean={self.mean} and std={self.std} need one value for each of {channels} channels"
            )
        normalised = np.subtract(pixels, spread(self.mean, shape, pixels.dtype), order="C")
        normalised /= spread(self.std, shape, pixels.dtype)
        return _channels_first(normalised)


def _channels_last(name: str, images: Images) -> Images:
    """View images as (N, H, W, C), after a check."""
    if not isinstance(images, np.ndarray) or images.ndim != 4:
        raise ValueError(f"{name}: images must be an array of shape (N, C, H, W), got {np.shape(images)}")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise TypeError(f"{name}: images must be uint8 or floating point, got {images.dtype}")
    return images.transpose(0, 2, 3, 1)


def _channels_first(pixels: Images) -> Images:
    return pixels.transpose(0, 3, 1, 2)


def _probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be from 0 to 1, got {p}")
    return p


def _range(name: str, values: tuple[float, float], most: float) -> tuple[float, float]:
    low, high = values
    if not (0 < low <= high <= most and math.isfinite(high)):
        raise ValueError(f"RandomErasing: {name}={values} must be two numbers above 0 and up to {most}, in order")
    return low, high


def _sides(padding: int | Sequence[int] | None) -> tuple[int, int, int, int]:
    """Return what to add left, on top, right and at the bottom."""
    values = [padding or 0] if padding is None or isinstance(padding, int) else list(padding)
    if len(values) not in (1, 2, 4):
        raise ValueError(f"RandomCrop: padding={padding} must be 1, 2 or 4 numbers")
    left, top, right, bottom = [_shapes.integer("RandomCrop", "padding", v, 0) for v in values * (4 // len(values))]
    return left, top, right, bottom


def _noise(window: Images, generator: np.random.Generator) -> Images:
    if window.dtype == np.uint8:
        return generator.integers(256, size=window.shape, dtype=np.uint8)
    return generator.standard_normal(window.shape)
