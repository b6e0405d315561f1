"""The handwritten digits that ship inside the package."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .images import ImageDataset, ImageSpec

# After one header line each row is "label,pixels\n", where every pixel is one base-17 digit: 0 ... 9 a ... g.
_FILE = Path(__file__).with_name("digits.csv.gz")
_PIXEL_DIGITS = b"0123456789abcdefg"
_ROW_SIZE = len("7,") + 64 + len("\n")

_SPEC = ImageSpec(
    dataset="digits",
    classes=tuple("0123456789"),
    channels=1,
    image_size=(8, 8),
    mean=(0.3051,),
    std=(0.3762,),
    dark_background=True,
)


class Digits(ImageDataset):
    """The 1,797 handwritten digits of UCI, 8x8 pixels, shipped with convkit.

    Parameters
    ----------
    train : bool, default True
        The training set, 1,442 images, or the test set, 355 images.

    Attributes
    ----------
    data : ndarray of uint8, shape (N, 8, 8)
        The images, 0 (paper) to 16 (ink).
    targets : ndarray of int64, shape (N,)
        The digits, 0 to 9.
    spec : ImageSpec
        What a network must know of the images.

    Notes
    -----
    Each image counts the inked pixels in the 4x4 blocks of a 32x32 bitmap. Of the images of each digit, in the
    order of the original file, every fifth is in the test set. So the two sets hold all digits in the same
    proportions, and the same 13 writers: the test accuracy tells how well a network reads hands it has seen.

    E. Alpaydin, C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49, licensed under CC BY 4.0. These are the images of its test file.

    Examples
    --------
    >>> digits = Digits(train=False)
    >>> digits
    <digits: 355 images of 1x8x8, 10 classes>
    >>> image, label = digits[0]
    >>> image.shape, label
    ((1, 8, 8), 5)
    """

    def __init__(self, train: bool = True) -> None:
        pixels, labels = _read()
        chosen = _every_fifth(labels) != train
        super().__init__(pixels[chosen], labels[chosen], _SPEC, white=16)


@lru_cache(maxsize=1)
def _read() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rows = gzip.decompress(_FILE.read_bytes()).partition(b"\n")[2]
    table = np.frombuffer(rows, np.uint8).reshape(-1, _ROW_SIZE)
    value = np.zeros(256, np.uint8)
    value[list(_PIXEL_DIGITS)] = range(17)
    decoded = value[table]
    return decoded[:, 2:66].reshape(-1, 8, 8), decoded[:, 0].astype(np.int64)


def _every_fifth(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark every fifth image of each class."""
    marked = np.zeros(len(labels), bool)
    for label in range(10):
        marked[np.flatnonzero(labels == label)[4::5]] = True
    return marked
