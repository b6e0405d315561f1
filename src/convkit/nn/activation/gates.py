"""Activation layers that multiply a number with a gate made of itself."""

from ... import _shapes, functional
from ...autograd import Tensor
from ..module import Module


class SiLU(Module):
    """Multiply numbers with their own sigmoid.

    See Also
    --------
    convkit.functional.silu : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.SiLU()(np.float32([-200, 0, 200]))
    tensor([ -0.,   0., 200.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.silu(input)


class Hardswish(Module):
    """Multiply numbers with their own hard sigmoid.

    See Also
    --------
    convkit.functional.hardswish : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Hardswish()(np.float32([-4, 1, 4]))
    tensor([-0.       ,  0.6666667,  4.       ])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.hardswish(input)


class GELU(Module):
    """Multiply numbers with the normal distribution at them.

    Parameters
    ----------
    approximate : {'none', 'tanh'}, default 'none'
        Whether to put a hyperbolic tangent in the place of the error function.

    Raises
    ------
    ValueError
        If there is no such `approximate`.

    See Also
    --------
    convkit.functional.gelu : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.GELU()(np.float32([-200, 0, 200]))
    tensor([ -0.,   0., 200.])
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = _shapes.approximation("GELU", approximate)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"approximate={self.approximate!r}"
