"""Memory of results: large arrays are made of blocks that earlier ones left.

The first touch of fresh memory costs more than many a kernel: the operating system clears each page.
"""

import math
import os
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from ._kernels._blocks import Block, counts, limit_idle, release_idle

#: Bytes from which arrays are made of blocks. Smaller ones come from malloc, which is faster and keeps their pages.
LEAST = 2**16


def _memory(groups: str | os.PathLike[str] = "/sys/fs/cgroup") -> int:
    """Return the bytes of memory that this process may use: the machine's, or the container's (cgroup v2, then v1)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            with open(os.path.join(groups, limit)) as file:  # pathlib would be a tenth of convkit's import
                return min(memory, int(file.read()))
        except (OSError, ValueError):  # there is no such file, or "max": no limit
            continue
    return memory


#: At most so many bytes are kept for arrays to come: a quarter of the memory.
MOST_CACHED = _memory() // 4
limit_idle(MOST_CACHED)


def empty(shape: tuple[int, ...], dtype: "np.dtype[Any]") -> npt.NDArray[Any]:
    """Allocate an array in C order, of whatever was in its memory."""
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, Block(size))  # type: ignore[arg-type]


def empty_like(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Allocate an array of the shape and dtype of `x` that lies without gaps, its axes in the order of those of `x`."""
    if x.nbytes < LEAST:
        return np.empty_like(x, subok=False)
    if x.flags.c_contiguous:
        return empty(x.shape, x.dtype)
    return empty_in_order(x.shape, x.dtype, x.strides)


def empty_in_order(shape: tuple[int, ...], dtype: "np.dtype[Any]", strides: tuple[int, ...]) -> npt.NDArray[Any]:
    """Allocate an array without gaps whose axes lie in the order of those of an array with these strides."""
    outer_to_inner = sorted(range(len(shape)), key=lambda axis: -abs(strides[axis]))
    out = empty(tuple([shape[axis] for axis in outer_to_inner]), dtype)
    return out.transpose(sorted(range(len(shape)), key=outer_to_inner.__getitem__))


class MemoryStats(TypedDict):
    """The result of `memory_stats`."""

    in_use: int
    cached: int
    limit: int


def memory_stats() -> MemoryStats:
    """Return how much memory results take, and how much is kept for results to come.

    Returns
    -------
    dict
        In bytes: ``in_use`` by arrays of 64 KB or more; ``cached``, kept for the next ones; ``limit`` of what may be
        cached, a quarter of the memory of the machine or the container.

    See Also
    --------
    empty_cache : gives back what is cached.

    Notes
    -----
    When an array that convkit made is gone, with all views of it, its memory is kept for the next array of its size,
    so that a training loop touches no fresh pages. Sizes are rounded up, by at most an eighth. No more is cached than
    the limit, nor than twice what was ever in use at once, or 8 MB if that is more; beyond that, what lay unused for
    longest is given back.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import ops
    >>> empty_cache()
    >>> x = ops.relu(np.ones((64, 1024), np.float32))
    >>> before = memory_stats()
    >>> del x
    >>> memory_stats()["cached"] - before["cached"]
    262144
    """
    in_use, cached = counts()
    return {"in_use": in_use, "cached": cached, "limit": MOST_CACHED}


def empty_cache() -> None:
    """Give all memory that is kept for results to come back to the operating system.

    Arrays that exist are not touched. `memory_stats` tells what is cached.

    Examples
    --------
    >>> empty_cache()
    >>> memory_stats()["cached"]
    0
    """
    release_idle()
