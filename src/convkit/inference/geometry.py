"""The sizes of each operation, from its arguments and what it reads: where they do not fit, a ValueError says so.

Kernels trust them, and a graph may come from a file that holds anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _shapes
from .._dispatch import kernel
from .graph import Node

Shape = tuple[int, ...]

#: Activations by name, and what the kernel calls them.
KINDS: Mapping[str, int] = kernel("activation", np.dtype(np.float32)).KINDS

#: What kernels do to outputs that have hardly left their registers: the first of KINDS.
RECTIFIERS = ("relu", "relu6", "leaky_relu")


def image(shape: Shape) -> tuple[int, int, int]:
    """Return (C, H, W) of what has that shape, or (F,), or ()."""
    channels, rows, cols = (*shape, 1, 1, 1)[:3]
    return channels, rows, cols


def convolution(node: Node, shape: Shape, images: int = 1) -> _shapes.Conv2d:
    """Return the sizes of a convolution of images of this shape."""
    return _shapes.conv2d("conv2d", (images, *image(shape)), node.arrays["weight"].shape, **node.options)


def pooling(node: Node, shape: Shape) -> _shapes.Pool2d:
    """Return the windows of a pooling of images of this shape."""
    images, options = (1, *image(shape)), dict(node.options)
    if "output_size" in options:
        return _shapes.adaptive_pool2d(node.op, images, options["output_size"])
    options.pop("count_include_pad", None)
    return _shapes.pool2d(node.op, images, **{"dilation": 1, **options})


def shape_of(node: Node, read: list[Shape]) -> Shape:
    """Return the shape of what an operation makes from one image: (C, H, W) or (F,).

    Parameters
    ----------
    node : Node
        The operation.
    read : list of tuple of int
        The shapes of what it reads, that of its residual the last.

    Raises
    ------
    ValueError
        If there is no such operation, or its arguments, constants and what it reads do not fit each other.
    """
    if node.op not in _SHAPES:
        raise ValueError(f"operation {node.op!r} is not one of {', '.join(_SHAPES)}")
    if node.op not in _FINISHING and (node.residual, node.rectifier) != (None, None):
        raise ValueError(f"{node.op} cannot add or rectify")
    if node.rectifier not in (None, *RECTIFIERS):
        raise ValueError(f"rectifier {node.rectifier!r} is not one of {', '.join(RECTIFIERS)}")
    if len(node.inputs) != 1 and node.op not in ("add", "cat"):
        raise ValueError(f"{node.op} reads one value, not {len(node.inputs)}")
    try:
        made = _SHAPES[node.op](node, read)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{node.op}: its arguments do not fit: {error}") from None
    if node.residual is not None and image(read[-1]) != image(made):
        raise ValueError(f"{node.op}: values of shape {read[-1]} cannot be added to {made}")
    return made


_FINISHING = ("conv2d", "linear", "scale", "add")


def _array(node: Node, name: str, *shape: int) -> NDArray[Any]:
    """Return a constant, which must have this shape; -1 is any size."""
    array = node.arrays[name]
    sizes = array.shape if array.ndim == len(shape) else ()
    if not sizes or any(size != wanted != -1 for size, wanted in zip(sizes, shape, strict=True)):
        raise ValueError(f"{node.op}: {name} has shape {array.shape}")
    return array


def _conv2d(node: Node, read: list[Shape]) -> Shape:
    weight = _array(node, "weight", -1, -1, -1, -1)
    _array(node, "bias", len(weight))
    return convolution(node, read[0]).output_shape[1:]


def _linear(node: Node, read: list[Shape]) -> Shape:
    weight = _array(node, "weight", -1, math.prod(read[0]))
    _array(node, "bias", len(weight))
    return (len(weight),)


def _scale(node: Node, read: list[Shape]) -> Shape:
    for name in ("scale", "shift"):
        _array(node, name, image(read[0])[0])
    return read[0]


def _add(node: Node, read: list[Shape]) -> Shape:
    if len(node.inputs) != 2 or image(read[0]) != image(read[1]) or node.residual is not None:
        raise ValueError(f"add: values of shapes {read} cannot be added")
    return read[0]


def _activation(node: Node, read: list[Shape]) -> Shape:
    if node.options["kind"] not in KINDS:
        raise ValueError(f"activation {node.options['kind']!r} is not one of {', '.join(KINDS)}")
    for name in ("p", "q"):
        _shapes.number("activation", name, node.options[name])
    return read[0]


def _cat(node: Node, read: list[Shape]) -> Shape:
    images = [image(shape) for shape in read]
    if not images or any(part[1:] != images[0][1:] for part in images):
        raise ValueError(f"cat: values of shapes {read} cannot be joined")
    channels = sum(part[0] for part in images)
    return (channels, *images[0][1:]) if len(read[0]) == 3 else (channels,)


def _pool(node: Node, read: list[Shape]) -> Shape:
    return pooling(node, read[0]).output_shape[1:]


def _softmax(node: Node, read: list[Shape]) -> Shape:
    if not isinstance(node.options["logarithm"], bool):
        raise ValueError(f"softmax: logarithm={node.options['logarithm']!r} must be true or false")
    return read[0]


def _flatten(node: Node, read: list[Shape]) -> Shape:
    return (math.prod(read[0]),)


_SHAPES: dict[str, Callable[[Node, list[Shape]], Shape]] = {
    "activation": _activation,
    "adaptive_avg_pool2d": _pool,
    "adaptive_max_pool2d": _pool,
    "add": _add,
    "avg_pool2d": _pool,
    "cat": _cat,
    "conv2d": _conv2d,
    "flatten": _flatten,
    "linear": _linear,
    "max_pool2d": _pool,
    "scale": _scale,
    "softmax": _softmax,
}
