"""Filters and feature maps as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tiles import mosaic, square

# Beyond these a picture tells nothing that the first ones do not.
_MOST_TILES = 64
_MOST_PER_SIDE = 16
# Small filters are drawn larger, so that a browser does not blur them.
_LEAST_SIZE = 24
# Lines between the tiles: so many pixels, of such a brightness.
_LINE = 2
_BETWEEN = 255


def filters_picture(weight: NDArray[Any]) -> NDArray[np.uint8]:
    """Draw the filters of a convolution, each scaled by its largest weight, grey where a weight is 0.

    Parameters
    ----------
    weight : ndarray, shape (K, C, R, S)
        Filters. Those of one channel are drawn in a grid; those of three in their colours; of others the first 16,
        one row for each, with their first 16 channels.

    Returns
    -------
    ndarray of uint8, shape (height, width, 1 or 3)
    """
    weight = _finite(weight)
    peak = np.abs(weight).max(axis=(1, 2, 3), keepdims=True)
    brightness = np.rint(127.5 + 127.5 * weight / np.where(peak > 0, peak, 1)).astype(np.uint8)
    if weight.shape[1] in (1, 3):
        return _grid(brightness[:_MOST_TILES].transpose(0, 2, 3, 1))
    cut = brightness[:_MOST_PER_SIDE, :_MOST_PER_SIDE]
    return _grid(cut.reshape(-1, *cut.shape[2:], 1), columns=cut.shape[1])


def maps_picture(maps: NDArray[Any]) -> NDArray[np.uint8]:
    """Draw feature maps in a grid, the least value of all of them black and the largest white.

    Parameters
    ----------
    maps : ndarray, shape (C, H, W)
        What a layer made of an image; the first 64 are drawn.

    Returns
    -------
    ndarray of uint8, shape (height, width, 1)
    """
    shown = _finite(maps[:_MOST_TILES])
    least, span = shown.min(), np.ptp(shown)
    brightness = (255 * (shown - least) / (span or 1)).astype(np.uint8)
    return _grid(brightness[..., None])


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    """Put 0 for NaN and infinity, which no brightness tells."""
    return np.where(np.isfinite(values), values, 0).astype(np.float64)


def _grid(tiles: NDArray[np.uint8], columns: int | None = None) -> NDArray[np.uint8]:
    """Lay tiles (N, R, S, C) out in rows, with a white line between."""
    scale = max(_LEAST_SIZE // max(tiles.shape[1:3]), 1)
    return mosaic(tiles.repeat(scale, axis=1).repeat(scale, axis=2), columns or square(len(tiles)), _BETWEEN, _LINE)
