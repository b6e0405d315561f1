"""Padding, and its gradient."""

import numpy as np
import numpy.typing as npt

from .. import _shapes
from .._memory import empty_in_order
from .._shapes import Array, Shape

Sides = tuple[tuple[int, int], ...]


def pad(input: Array, pad: tuple[int, ...], mode: str = "constant", value: float | None = None) -> Array:
    """Put elements around an array, or take some off.

    Parameters
    ----------
    input : ndarray of any shape, float32 or float64
    pad : tuple of int
        How many elements before and after, for the last axis, then the last but one, and so on: (left, right, top,
        bottom) for images. Negative ones, with 'constant' only, take elements off.
    mode : {'constant', 'reflect', 'replicate', 'circular'}, default 'constant'
        What is put there: `value`; the elements as a mirror on the edge shows them, without the edge itself; the edge;
        the elements at the opposite end.
    value : number, optional
        For 'constant'; 0 by default.

    Returns
    -------
    ndarray, dtype of `input`
        In memory ordered as `input`.

    Raises
    ------
    TypeError
        If `input` is not a float32 or float64 array, or `pad` not of integers.
    ValueError
        If there is no such mode, `value` is given for another than 'constant', or `pad` is of more axes than `input`
        has, takes off more than there is, or is larger than what is there to be mirrored or repeated.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.float32([1, 2, 3])
    >>> pad(x, (1, 2)), pad(x, (1, 2), "reflect")
    (array([0., 1., 2., 3., 0., 0.], dtype=float32), array([2., 1., 2., 3., 2., 1.], dtype=float32))
    """
    _shapes.array("pad", "input", input)
    sides = _shapes.pad("pad", input.shape, pad, mode)
    if mode == "constant":
        return _surrounded(input, sides, 0.0 if value is None else _shapes.number("pad", "value", value))
    if value is not None:
        raise ValueError(f"pad: value={value!r} is for mode='constant', but mode={mode!r}")
    for axis, (before, after) in enumerate(sides):
        if before or after:
            input = _along(input, axis, _sources(mode, input.shape[axis], before, after))
    return input


def pad_backward(grad_output: Array, input_shape: Shape, pad: tuple[int, ...], mode: str = "constant") -> Array:
    """Gradient of `pad`.

    Parameters
    ----------
    grad_output : ndarray, float32 or float64
        Gradient with respect to the output.
    input_shape : tuple of int
        The input's shape.
    pad, mode
        As in the forward pass.

    Returns
    -------
    ndarray, shape `input_shape`, dtype of `grad_output`
        What arrives at every place that an element was put to, added up.

    Raises
    ------
    TypeError, ValueError
        As `pad`, and if `grad_output` does not have the output's shape.

    Examples
    --------
    >>> import numpy as np
    >>> pad_backward(np.ones(6, np.float32), (3,), (1, 2), "reflect")
    array([2., 3., 1.], dtype=float32)
    """
    op = "pad_backward"
    _shapes.array(op, "grad_output", grad_output)
    input_shape = _shapes.shape(op, "input_shape", input_shape, None)
    sides = _shapes.pad(op, input_shape, pad, mode)
    padded = tuple([size + before + after for size, (before, after) in zip(input_shape, sides, strict=True)])
    _shapes.same_shape(op, "grad_output", grad_output.shape, padded)
    if mode == "constant":
        return _surrounded(grad_output, tuple([(-before, -after) for before, after in sides]), 0.0)
    for axis, (before, after) in enumerate(sides):
        if before or after:
            sources = _sources(mode, input_shape[axis], before, after)
            grad_output = _gathered(grad_output, axis, sources, before, input_shape[axis])
    return grad_output


def _surrounded(x: Array, sides: Sides, value: float) -> Array:
    """Return a copy with so many elements of `value` around it; negative numbers take elements off."""
    shape = tuple([size + before + after for size, (before, after) in zip(x.shape, sides, strict=True)])
    out = empty_in_order(shape, x.dtype, x.strides)
    out[...] = value
    starts_there = [max(before, 0) for before, _ in sides]
    starts_here = [max(-before, 0) for before, _ in sides]
    sizes = [size + min(before, 0) + min(after, 0) for size, (before, after) in zip(x.shape, sides, strict=True)]
    out[_box(starts_there, sizes)] = x[_box(starts_here, sizes)]
    return out


def _box(starts: list[int], sizes: list[int]) -> tuple[slice, ...]:
    return tuple([slice(start, start + size) for start, size in zip(starts, sizes, strict=True)])


def _sources(mode: str, size: int, before: int, after: int) -> npt.NDArray[np.intp]:
    """Tell for each place along a padded axis which element stands there."""
    places = np.arange(-before, size + after)
    if mode == "circular":
        return places % size
    if mode == "replicate":
        return places.clip(0, size - 1)
    return size - 1 - abs(size - 1 - abs(places))


def _along(x: Array, axis: int, sources: npt.NDArray[np.intp]) -> Array:
    shape = (*x.shape[:axis], len(sources), *x.shape[axis + 1 :])
    out = empty_in_order(shape, x.dtype, x.strides)
    out.swapaxes(0, axis)[...] = x.swapaxes(0, axis)[sources]
    return out


def _gathered(x: Array, axis: int, sources: npt.NDArray[np.intp], before: int, size: int) -> Array:
    """Add up what lies at the places of each element."""
    out = empty_in_order((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype, x.strides)
    sums, parts = out.swapaxes(0, axis), x.swapaxes(0, axis)
    sums[...] = parts[before : before + size]
    for place in (*range(before), *range(before + size, len(sources))):
        sums[sources[place]] += parts[place]
    return out
