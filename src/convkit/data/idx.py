"""The idx format of MNIST: arrays of bytes behind a header that gives their shape.

=========  ==========================================================================
bytes      meaning
=========  ==========================================================================
0, 1       zero
2          type of an element; 8 is an unsigned byte, the only one read here
3          number of axes
4 ...      length of each axis, 4 bytes each, most significant byte first
then       the elements, last axis fastest
=========  ==========================================================================
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .labels import check_labels

_UNSIGNED_BYTE = 0x08


def read_idx(path: str | os.PathLike[str], ndim: int) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, plain or compressed by gzip.

    Parameters
    ----------
    path : path-like
        The file; compressed if its name ends in ``.gz``.
    ndim : int
        The number of axes it must have: 3 for images, 1 for labels.

    Returns
    -------
    ndarray of uint8
        Read-only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not such an idx file, or has fewer or more bytes than its header says. The message names
        the file, what it should have and what it has.
    """
    content = _content(Path(path))
    header_size = 4 + 4 * ndim
    magic = _UNSIGNED_BYTE << 8 | ndim
    if len(content) < header_size:
        raise ValueError(
            f"{path}: truncated: an idx header of {ndim} axes has {header_size} bytes, found {len(content)}"
        )
    found, *shape = struct.unpack_from(f">{1 + ndim}I", content)
    if found != magic:
        raise ValueError(f"{path}: magic number of an idx file of {ndim} axes is 0x{magic:08x}, found 0x{found:08x}")
    expected, size = math.prod(shape), len(content) - header_size
    if size != expected:
        fault = "truncated" if size < expected else "trailing bytes"
        raise ValueError(f"{path}: {fault}: its header says {expected} bytes of data, {tuple(shape)}, found {size}")
    return np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)


def read_labelled_images(
    images: str | os.PathLike[str], labels: str | os.PathLike[str], num_classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read a file of images and the file of their labels, and check that they go together.

    Parameters
    ----------
    images, labels : path-like
        An idx file of 3 axes, and one of 1 axis.
    num_classes : int
        Every label must be below it.

    Returns
    -------
    data : ndarray of uint8, shape (N, H, W)
        The images; read-only.
    targets : ndarray of int64, shape (N,)
        The labels.

    Raises
    ------
    ValueError
        If a file is not whole (see `read_idx`), the numbers of images and labels differ, or a label is too large.
    """
    data = read_idx(images, ndim=3)
    targets = read_idx(labels, ndim=1)
    if len(targets) != len(data):
        raise ValueError(
            f"{labels}: needs one label for each of the {len(data)} images in {images}, found {len(targets)}"
        )
    check_labels(labels, targets, num_classes)
    return data, targets.astype(np.int64)


def _content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except EOFError:
        raise ValueError(f"{path}: truncated: the compressed data ends before its end mark") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file: {error}") from None
