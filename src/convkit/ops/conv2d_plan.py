"""Which algorithm a convolution runs."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _shapes
from .._shapes import Padding, Pair, Shape
from .._threads import get_num_threads
from ._convolution import plan
from ._layer import Pass

_PASSES: dict[str | None, Pass] = {None: "forward", "input": "backward_input", "weight": "backward_weight"}


class Conv2dPlan(NamedTuple):
    """The result of `conv2d_plan`."""

    name: str
    scratch: int
    multiplies: int


def conv2d_plan(
    input_shape: Shape,
    weight_shape: Shape,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    dtype: npt.DTypeLike = np.float32,
    gradient: str | None = None,
) -> Conv2dPlan:
    """Tell which algorithm a convolution of these shapes runs, and what that takes.

    Parameters
    ----------
    input_shape : tuple of int
        (N, C, H, W): images, channels, height and width in pixels.
    weight_shape : tuple of int
        (K, C/groups, R, S): output channels, channels of a group, kernel height and width.
    stride, padding, dilation, groups
        As for `conv2d`.
    dtype : dtype, default float32
        float32 or float64.
    gradient : {None, 'input', 'weight'}
        Which pass: `conv2d` itself, `conv2d_backward_input` or `conv2d_backward_weight`.

    Returns
    -------
    name : str
        Of the algorithm: 'direct' fills vectors with outputs; 'narrow' with the outputs of several groups, or of one
        that fills just one; 'planar' with columns, where outputs are very few; 'depthwise' needs no stage. 'crowded'
        fills them with pixels of few channels as they lie, 'scattered' adds a gradient window by window. 'winograd
        F(2x2, 3x3)' and 'winograd F(4x4, 3x3)' compute such tiles of outputs of 3x3 filters from fewer products, as
        'winograd F(2x2, 5x5)' does of 5x5 filters; 'winograd F(3x3, 2x2)' the gradient of the filters. 'split' sums
        products of bfloat16 parts on AMX tiles: all six that count in float32, three, or one, as the precision asks;
        'split shallow' does so in ranges of whole columns, where channels are very few. 'bfloat16' is the direct sum
        of numbers rounded to bfloat16, by the instruction for pairs of them.
    scratch : int
        Bytes that the kernel allocates for its own use, at most at a time, on the threads that `get_num_threads`
        gives: packed weights or partial sums, and a strip for each thread. Weights lie in memory as `convkit.nn` makes
        them.
    multiplies : int
        Multiplications that the algorithm does. A direct sum has one for each tap of each channel of each output;
        those with padding count, and those with zeros that only fill vectors do not.

    Raises
    ------
    TypeError, ValueError
        As `conv2d` would, or if `dtype` or `gradient` is none of these.

    See Also
    --------
    convkit.set_float32_precision : the choice depends on it, on the shapes and on the instruction set alone.

    Examples
    --------
    >>> plan = conv2d_plan((16, 64, 56, 56), (128, 64, 1, 1), dtype="float64")
    >>> plan.name, plan.multiplies
    ('direct', 411041792)
    >>> conv2d_plan((16, 64, 56, 56), (64, 1, 3, 3), padding=1, groups=64, gradient="weight").name
    'depthwise'
    """
    op = "conv2d_plan"
    input_shape = _shapes.shape(op, "input_shape", input_shape, 4)
    weight_shape = _shapes.shape(op, "weight_shape", weight_shape, 4)
    convolution = _shapes.conv2d(op, input_shape, weight_shape, stride, padding, dilation, groups)
    element = _shapes.floating(op, dtype)
    if not (gradient is None or (isinstance(gradient, str) and gradient in _PASSES)):
        raise ValueError(f"{op}: gradient={gradient!r} must be None, 'input' or 'weight'")
    planned = plan(_PASSES[gradient], element, convolution)
    algorithm = planned.algorithm
    return Conv2dPlan(algorithm.name, planned.scratch_bytes(get_num_threads()), algorithm.products(planned.layer))
