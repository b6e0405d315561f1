"""Activation layers."""

from .. import functional
from ..autograd import Tensor
from .module import Module


class ReLU(Module):
    """Replace negative elements by zero.

    See Also
    --------
    convkit.functional.relu : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.ReLU()(np.float32([-1, 0, 2]))
    tensor([0., 0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Rectify `input`, of any shape."""
        return functional.relu(input)


class ReLU6(Module):
    """Clip to the range from 0 to 6.

    See Also
    --------
    convkit.functional.relu6 : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.ReLU6()(np.float32([-1, 2, 7]))
    tensor([0., 2., 6.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.relu6(input)


class LeakyReLU(Module):
    """Scale down what is negative.

    Parameters
    ----------
    negative_slope : float, default 0.01
        What negative elements are multiplied with.

    See Also
    --------
    convkit.functional.leaky_relu : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.LeakyReLU()(np.float32([-100, 0, 2]))
    tensor([-1.,  0.,  2.])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """Let what is negative approach a limit.

    Parameters
    ----------
    alpha : float, default 1.0
        What the output falls to, negated, as the input falls.

    See Also
    --------
    convkit.functional.elu : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.ELU()(np.float32([-50, 0, 2]))
    tensor([-1.,  0.,  2.])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.elu(input, self.alpha)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"alpha={self.alpha}"


class Sigmoid(Module):
    """Press numbers into the range from 0 to 1.

    See Also
    --------
    convkit.functional.sigmoid : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Sigmoid()(np.float32([-200, 0, 200]))
    tensor([0. , 0.5, 1. ])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.sigmoid(input)


class Tanh(Module):
    """Press numbers into the range from -1 to 1.

    See Also
    --------
    convkit.functional.tanh : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Tanh()(np.float32([-200, 0, 200]))
    tensor([-1.,  0.,  1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.tanh(input)


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


class Hardsigmoid(Module):
    """Approximate the sigmoid by three straight lines.

    See Also
    --------
    convkit.functional.hardsigmoid : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Hardsigmoid()(np.float32([-4, 0, 4]))
    tensor([0. , 0.5, 1. ])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.hardsigmoid(input)


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


class Softmax(Module):
    """Turn scores into probabilities along a dimension.

    Parameters
    ----------
    dim : int
        Dimension along which the probabilities sum to one.

    See Also
    --------
    convkit.functional.softmax : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Softmax(dim=0)(np.float32([0, 0]))
    tensor([0.5, 0.5])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Turn scores into logarithms of probabilities along a dimension.

    Parameters
    ----------
    dim : int
        Dimension along which the probabilities sum to one.

    See Also
    --------
    convkit.functional.log_softmax : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.LogSoftmax(dim=0)(np.float32([0, 1000]))
    tensor([-1000.,     0.])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"dim={self.dim}"
