"""Labelled pictures in memory, and what a network must know of them to see other pictures the same way."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from .labels import check_labels


@dataclass(frozen=True)
class ImageSpec:
    """How the pictures of a data set look to a network; saved with the trained network.

    Parameters
    ----------
    dataset : str
        Name of the data set, for example ``"fashion-mnist"``.
    classes : tuple of str
        Names of the classes, in the order of their labels.
    channels : int
        1 for grey, 3 for red, green, blue.
    image_size : tuple of int
        Height and width, pixels.
    mean, std : tuple of float
        Mean and standard deviation of each channel over the training set, where black is 0 and white is 1.
    dark_background : bool
        Whether pictures are light on a dark ground, as scanned digits usually are not.

    Raises
    ------
    ValueError
        If the fields contradict each other.
    """

    dataset: str
    classes: tuple[str, ...]
    channels: int
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dark_background: bool

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"ImageSpec: mean and std need one value for each of {self.channels} channels, "
                f"got mean={self.mean}, std={self.std}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"ImageSpec: std must be above 0, got {self.std}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: (C, H, W)."""
        return (self.channels, *self.image_size)

    def normalise(self, pixels: NDArray[Any], white: float) -> NDArray[np.float32]:
        """Turn pixels into what the network sees.

        Parameters
        ----------
        pixels : ndarray, shape (..., C, H, W)
            Brightness from 0, black, to `white`. Any real dtype.
        white : float
            The value of a white pixel, for example 255.

        Returns
        -------
        ndarray of float32, shape (..., C, H, W)
            ``(pixels / white - mean) / std``, in the same memory order as `pixels`.
        """
        images: NDArray[np.float32] = np.divide(pixels, white, dtype=np.float32)
        shape = (*pixels.shape[-2:], self.channels)
        images -= spread(self.mean, shape).transpose(2, 0, 1)
        images /= spread(self.std, shape).transpose(2, 0, 1)
        return images

    def picture(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Turn what the network sees back into a picture.

        Parameters
        ----------
        image : ndarray, shape (C, H, W)
            Normalised.

        Returns
        -------
        ndarray of float32, shape (H, W, C)
            Brightness from 0, black, to 1, white; what lies beyond is cut off.
        """
        brightness = image.transpose(1, 2, 0) * np.array(self.std, np.float32) + np.array(self.mean, np.float32)
        picture: NDArray[np.float32] = np.clip(brightness, 0, 1, dtype=np.float32)
        return picture

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ImageSpec:
        """Make a spec from what `to_dict` returned, possibly after a trip through JSON.

        Raises
        ------
        ValueError
            If a field is missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if values.keys() != names:
            raise ValueError(f"ImageSpec: fields must be {sorted(names)}, got {sorted(values)}")
        # JSON has no tuples: what were tuples come back as lists.
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**tuples)


class ImageDataset:
    """Labelled pictures of one size, kept as bytes and normalised batch by batch.

    Parameters
    ----------
    data : ndarray of uint8, shape (N, H, W) or (N, H, W, C)
        Brightness from 0, black, to `white`.
    targets : ndarray of int64, shape (N,)
        Labels, each below the number of classes.
    spec : ImageSpec
        Names of the classes, and how to normalise.
    white : int, default 255
        The value of a white pixel.

    Attributes
    ----------
    data, targets, spec, white
        As given.

    Raises
    ------
    ValueError
        If shapes or labels do not fit `spec`.
    """

    def __init__(self, data: NDArray[np.uint8], targets: NDArray[np.int64], spec: ImageSpec, white: int = 255) -> None:
        _check_pictures(data, targets, spec)
        self.data = data
        self.targets = targets
        self.spec = spec
        self.white = white

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return self.spec.classes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], int]:
        images, labels = self.batch(np.array([range(len(self))[index]]))
        return images[0], int(labels[0])

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Gather and normalise many pictures at once.

        Parameters
        ----------
        indices : ndarray of int64, shape (N,)
            Which pictures, in this order.

        Returns
        -------
        images : ndarray of float32, shape (N, C, H, W)
            Normalised; channels-last in memory.
        labels : ndarray of int64, shape (N,)
            Their classes.
        """
        height, width = self.spec.image_size
        pixels = self.data[indices].reshape(len(indices), height, width, self.spec.channels)
        return self.spec.normalise(pixels.transpose(0, 3, 1, 2), self.white), self.targets[indices]

    def __repr__(self) -> str:
        channels, height, width = self.spec.shape
        return f"<{self.spec.dataset}: {len(self)} images of {channels}x{height}x{width}, {len(self.classes)} classes>"


def pixel_statistics(data: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, where black is 0 and white is 1.

    Parameters
    ----------
    data : ndarray of uint8, shape (N, H, W, C)
        One or more images, 0 to 255.

    Returns
    -------
    mean, std : tuple of float
        One value a channel, rounded to four places. The deviation is at least one step of brightness, so that it can
        be divided by where all images are of one flat colour.

    Examples
    --------
    >>> import numpy as np
    >>> pixel_statistics(np.array([0, 255, 255, 0], np.uint8).reshape(1, 2, 2, 1))
    ((0.5,), (0.5,))
    """
    channels = data.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    for image in data:
        for channel in range(channels):
            counts[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
    brightness = np.arange(256) / 255
    mean = counts @ brightness / counts.sum(axis=1)
    variance = (counts * (brightness - mean[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1)
    std = np.maximum(np.sqrt(variance), 1 / 255)
    return tuple(mean.round(4).tolist()), tuple(std.round(4).tolist())


@lru_cache(maxsize=16)
def spread(
    values: tuple[float, ...], shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32
) -> NDArray[np.floating[Any]]:
    """Lay one value a channel out over an image of shape (H, W, C).

    Arithmetic between the two is then one long loop for NumPy, and not one for each pixel.
    """
    pixels = np.empty(shape, dtype)
    pixels[:] = values
    pixels.flags.writeable = False  # it is handed out again
    return pixels


def _check_pictures(data: NDArray[np.uint8], targets: NDArray[np.int64], spec: ImageSpec) -> None:
    height, width = spec.image_size
    shapes = [(height, width, spec.channels)] + [(height, width)] * (spec.channels == 1)
    if data.dtype != np.uint8 or data.shape[1:] not in shapes:
        raise ValueError(
            f"{spec.dataset}: data must be uint8 of shape {' or '.join(f'(N, {str(s)[1:]}' for s in shapes)}, "
            f"got {data.dtype} {data.shape}"
        )
    if targets.dtype != np.int64 or targets.shape != data.shape[:1]:
        raise ValueError(
            f"{spec.dataset}: {len(data)} images need int64 labels of shape ({len(data)},), "
            f"got {targets.dtype} {targets.shape}"
        )
    check_labels(spec.dataset, targets, len(spec.classes))
