"""Padding."""

from .. import ops
from .._shapes import Array
from ..autograd import Tensor, arrays, record


def pad(input: Tensor | Array, pad: tuple[int, ...], mode: str = "constant", value: float | None = None) -> Tensor:
    """Put elements around a tensor, or take some off.

    Parameters
    ----------
    input : Tensor of any shape, float32 or float64
    pad : tuple of int
        How many elements before and after, for the last dimension, then the last but one, and so on: (left, right,
        top, bottom) for images. Negative ones, with 'constant' only, take elements off.
    mode : {'constant', 'reflect', 'replicate', 'circular'}, default 'constant'
        What is put there: `value`; the elements as a mirror on the edge shows them, without the edge itself; the edge;
        the elements at the opposite end.
    value : number, optional
        For 'constant'; 0 by default.

    Returns
    -------
    Tensor, dtype of `input`

    Raises
    ------
    TypeError, ValueError
        If `pad` does not fit, or there is no such mode.

    See Also
    --------
    convkit.ops.pad : the same on arrays.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.pad(np.float32([1, 2, 3]), (1, 2), mode="replicate")
    tensor([1., 1., 2., 3., 3., 3.])
    """
    (x,) = arrays(input)
    output = ops.pad(x, pad, mode, value)
    shape = x.shape
    return record("pad", output, (input, lambda grad: ops.pad_backward(grad, shape, pad, mode)))
