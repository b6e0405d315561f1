"""What a module finds among its attributes and calls its own: parameters and buffers."""

from typing import Any

from ..autograd import Tensor


class Parameter(Tensor):
    """A tensor that a module learns: an attribute that `Module.parameters` finds.

    Parameters
    ----------
    data : array_like
        The values; an ndarray is not copied.
    requires_grad : bool, default True
        Whether to compute a gradient for it. Without one it stays as it is: frozen.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.Parameter(np.zeros(2, np.float32))
    Parameter containing:
    tensor([0., 0.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that belongs to a module but is not learned by gradients, such as a running average.

    Parameters
    ----------
    data : array_like
        The values; an ndarray is not copied.
    persistent : bool, default True
        Whether it is part of `Module.state_dict`.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> class Scaled(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.scale = nn.Buffer(np.float32([2, 3]))
    >>> Scaled().state_dict()
    {'scale': array([2., 3.], dtype=float32)}
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Any, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent
