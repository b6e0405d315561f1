"""Pictures side by side in one picture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mosaic(tiles: NDArray[Any], columns: int, blank: float = np.nan, line: int = 1) -> NDArray[Any]:
    """Lay tiles (N, R, S, C) out in rows of `columns`, with lines of `line` pixels of `blank` between.

    matplotlib leaves NaN blank where it maps values to colours, but not in pictures that are colours already.
    """
    count, height, width, depth = tiles.shape
    rows = -(-count // columns)
    framed = (height + line, width + line)
    picture = np.full((rows * columns, *framed, depth), blank, np.result_type(tiles, blank))
    picture[:count, :height, :width] = tiles
    grid = picture.reshape(rows, columns, *framed, depth).swapaxes(1, 2)
    return grid.reshape(rows * framed[0], columns * framed[1], depth)[:-line, :-line]


def square(count: int) -> int:
    """Return how many columns make so many things a square."""
    return math.ceil(math.sqrt(count))
