"""Activation layers that pass what is positive, and bend or cut what is negative."""

from ... import functional
from ...autograd import Tensor
from ..module import Module


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


class Softplus(Module):
    """Round off the corner of `ReLU`.

    Parameters
    ----------
    beta : float, default 1.0
        How sharp the corner stays.
    threshold : float, default 20.0
        Where ``beta*input`` is above it, the output is the input.

    See Also
    --------
    convkit.functional.softplus : the operation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Softplus()(np.float32([-200, 0, 200]))
    tensor([  0.       ,   0.6931472, 200.       ])
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function to `input`, of any shape."""
        return functional.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"beta={self.beta}, threshold={self.threshold}"
