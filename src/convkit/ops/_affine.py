"""Operations that are several at once, for the tape: an affine map of each channel, an activation, a pooling.

`functional` calls these where nobody has seen what lies between. Their arguments have been checked: those of the
single operations, whose bits they give, too. A map is a matrix of three rows, centre, scale and shift of each channel.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _shapes
from .._dispatch import kernel
from .._shapes import Array, Shape
from .._threads import get_num_threads
from ._arrays import (
    as_shape_of,
    contiguous,
    empty,
    empty_like,
    empty_nhwc,
    nchw,
    need_memory,
    nhwc,
    rows_of_channels,
)
from .max_pool2d import _backward

#: A place in a window stands in one byte, and one value of it says that no gradient comes back.
MOST_TAPS = 255

Places = npt.NDArray[np.uint8]


class Pooled(NamedTuple):
    """What a max-pooling keeps of ``activation(map(x))`` for its gradient."""

    pool: _shapes.Pool2d
    places: Places  # of the maxima; nowhere, where the activation has cut them off
    chosen: Array | None  # what they were in x, if there is a map, and a gradient is wanted
    map: Array | None


def affine(
    x: Array, a: Array | None, y: Array | None = None, b: Array | None = None, activation: str = "", slope: float = 0.0
) -> Array:
    """Return ``activation(a(x) + b(y))``. There is a or y; b only with both."""
    rows = rows_of_channels(x)
    out = empty_like(rows)
    other = None if y is None else rows_of_channels(y)
    module = kernel("affine", x.dtype)
    kind = module.KINDS[activation]
    need_memory("batch_norm", module.forward(rows, a, other, b, kind, slope, out, get_num_threads()))
    return as_shape_of(out, x.shape)


class Mapped(NamedTuple):
    """``activation(map(x))``, which a convolution computes as it reads x; the activation is relu, relu6 or nothing."""

    x: Array
    map: Array
    activation: str

    @property
    def kind(self) -> int:
        """The activation, as kernels know it."""
        kind: int = kernel("affine", self.x.dtype).KINDS[self.activation]
        return kind

    def value(self) -> Array:
        """Compute it."""
        return affine(self.x, self.map, activation=self.activation)


def add(x: Array, y: Array, out: Array | None = None) -> Array:
    """Add arrays of one shape whose elements lie in one order, without gaps; the sum may be put over one of them."""
    out = empty_like(x) if out is None else out
    rows = [array.ravel("K").reshape(-1, 1) for array in (x, y, out)]
    module = kernel("affine", x.dtype)
    need_memory("add", module.forward(rows[0], None, rows[1], None, module.KINDS[""], 0.0, rows[2], get_num_threads()))
    return out


def activation_backward_of_sum(
    a: Array, b: Array, output: Array, activation: str, slope: float, grad: Array | None = None
) -> Array:
    """Return the gradient of an activation's input, where that of its output is a + b, of one order in memory.

    It may be written over one of these.
    """
    grad = empty_like(output) if grad is None else grad
    module = kernel("affine", output.dtype)
    flat = [array.ravel("K") for array in (a, b, output, grad)]
    module.backward_of_sum(*flat[:3], module.KINDS[activation], slope, flat[3], get_num_threads())
    return grad


def affine_max_pool2d(
    x: Array, a: Array | None, activation: str, pool: _shapes.Pool2d, learns: bool = True
) -> tuple[Array, Pooled]:
    """Return the maxima of ``activation(a(x))``, and what the gradient of a batch norm needs, if it `learns`.

    There is a map or an activation, ``relu`` or ``relu6``; windows have at most `MOST_TAPS` taps, none of them apart.
    """
    out = empty_nhwc(pool.output_shape, x.dtype)
    places = empty(out.shape, np.dtype(np.uint8))
    chosen = empty_like(out) if learns and a is not None else None
    module = kernel("affine_max_pool2d", x.dtype)
    kind, spacing = module.KINDS[activation], (pool.rows, pool.cols)
    need_memory("max_pool2d", module.forward(nhwc(x), a, kind, out, places, chosen, *spacing, get_num_threads()))
    return nchw(out), Pooled(pool, places.transpose(0, 3, 1, 2), chosen, a)


def affine_max_pool2d_backward(grad_output: Array, pooled: Pooled, input_shape: Shape) -> Array:
    """Return the gradient of ``a(x)``, past the activation."""
    return _backward("max_pool2d_backward", grad_output, pooled.places, input_shape, pooled.pool)


class UnwrittenGradient:
    """The gradient of a batch norm's input, of which only the last step is left; it may take `out`'s place."""

    __slots__ = ("_of", "_out", "dtype", "shape")

    def __init__(self, of: Any, shape: Shape, dtype: np.dtype[Any], out: Array | None = None) -> None:
        need_memory("batch_norm_backward", of is not None)
        self._of, self._out, self.shape, self.dtype = of, out, shape, dtype

    @property
    def rows(self) -> object:
        """What kernels that compute it themselves, row by row, ask for: while this object lives."""
        return self._of.rows

    def value(self) -> Array:
        """Compute it: once, for it may take the place of what it is made of."""
        out = self._out
        if out is None:
            images, channels, *size = self.shape
            out = empty((images * math.prod(size), channels), self.dtype)
        self._of.write(out, get_num_threads())
        return as_shape_of(out, self.shape)


def batch_norm_backward_activated(
    grad_output: Array,
    map: Array,
    activation: str,
    slope: float,
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    eps: float,
    training: bool,
    *,
    overwrite: bool = False,
) -> tuple[UnwrittenGradient, Array, Array]:
    """Return the gradients of ``activation(batch_norm(...))``. `grad_output` may be written over, if so said."""
    grad, x = rows_of_channels(grad_output), rows_of_channels(input)
    sums = empty_like(mean), empty_like(mean)
    scale = None if weight is None else contiguous(weight)
    module = kernel("batch_norm", x.dtype)
    kind = kernel("affine", x.dtype).KINDS[activation]
    of = module.activated_backward(grad, map, kind, slope, x, mean, var, scale, eps, training, *sums, get_num_threads())
    return UnwrittenGradient(of, input.shape, x.dtype, grad if overwrite else None), *sums


def batch_norm_backward_pooled(
    grad_output: Array,
    pooled: Pooled,
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    eps: float,
    training: bool,
) -> tuple[UnwrittenGradient, Array, Array]:
    """Return the gradients of the pooled ``activation(batch_norm(...))``."""
    sums = empty_like(mean), empty_like(mean)
    scale = None if weight is None else contiguous(weight)
    of = kernel("batch_norm", input.dtype).pooled_backward(
        nhwc(grad_output),
        pooled.places.transpose(0, 2, 3, 1),
        pooled.chosen,
        pooled.pool.rows,
        pooled.pool.cols,
        nhwc(input),
        mean,
        var,
        scale,
        eps,
        training,
        *sums,
        get_num_threads(),
    )
    return UnwrittenGradient(of, input.shape, input.dtype), *sums
