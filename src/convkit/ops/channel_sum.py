"""The gradient of a bias: what is added to every position of a channel gathers the gradient of all of them."""

from .._dispatch import kernel
from .._shapes import Array
from .._threads import get_num_threads
from ._arrays import empty, need_memory, rows_of_channels


def channel_sum(op: str, x: Array) -> Array:
    """Sum an array (N, C, ...) over all axes but the second, on behalf of `op`."""
    out = empty((x.shape[1],), x.dtype)
    need_memory(op, kernel("channel_sum", x.dtype).channel_sum(rows_of_channels(x), out, get_num_threads()))
    return out
