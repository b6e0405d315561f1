"""Linear layers."""

import numpy as np
import numpy.typing as npt

from .. import _shapes, functional
from ..autograd import Tensor
from . import init
from ._arguments import floating
from .module import Module
from .parameter import Parameter


class Linear(Module):
    """Apply a linear map that is learned: ``input @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
        Length of the vectors that come in, and go out.
    bias : bool, default True
        Whether to add a learned vector.
    dtype : dtype, default float32
        float32 or float64.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    See Also
    --------
    convkit.functional.linear : the operation.

    Notes
    -----
    Weights and biases start uniform on [-b, b) with ``b = 1/sqrt(in_features)``, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Linear(64, 10)(np.zeros((2, 64), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: npt.DTypeLike | None = None
    ) -> None:
        super().__init__()
        self.in_features = _shapes.integer("Linear", "in_features", in_features, 1)
        self.out_features = _shapes.integer("Linear", "out_features", out_features, 1)
        dtype = floating("Linear", dtype)
        self.weight = Parameter(np.empty((self.out_features, self.in_features), dtype))
        self.bias = Parameter(np.empty(self.out_features, dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights and biases anew."""
        init.default_(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Map `input`, of shape (..., in_features)."""
        return functional.linear(input, self.weight, self.bias)

    def takes(self) -> str:
        """Return which input would fit."""
        return f"a {self.weight.dtype} (..., {self.in_features})"

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
