"""Losses as layers."""

import numpy as np
import numpy.typing as npt

from .. import functional
from .._shapes import Array
from ..autograd import Tensor
from ..functional._reduction import check_reduction
from ..functional.cross_entropy import check_options
from ..functional.loss import check_threshold
from .module import Module
from .parameter import Buffer


class _Loss(Module):
    """A loss for each element, reduced to one."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        check_reduction(type(self).__name__, reduction)
        self.reduction = reduction


class CrossEntropyLoss(_Loss):
    """Compare scores with the classes that are right, or with their probabilities.

    Parameters
    ----------
    weight : Tensor or ndarray, shape (C,), optional
        How much each of C classes counts; 1 if not given.
    ignore_index : int, default -100
        Label of what does not count.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average over what counts, add up, or return one loss for each label.
    label_smoothing : float, default 0
        Share of each label, in [0, 1], that is spread evenly over all classes.

    Raises
    ------
    ValueError
        If an option has no such value.

    See Also
    --------
    convkit.functional.cross_entropy : the operation, with the equation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.CrossEntropyLoss()(np.float32([[0, 0], [0, 0]]), np.array([0, 1]))
    tensor(0.6931472)
    """

    def __init__(
        self,
        weight: Tensor | Array | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        check_options("CrossEntropyLoss", reduction, label_smoothing)
        self.weight = _factors(weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor | npt.NDArray[np.integer] | Array) -> Tensor:
        """Return the loss of scores (N, C, ...) for classes (N, ...), or probabilities (N, C, ...)."""
        return functional.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(_Loss):
    """Return the negative logarithms of the probabilities of the classes that are right.

    Parameters
    ----------
    weight : Tensor or ndarray, shape (C,), optional
        How much each of C classes counts; 1 if not given.
    ignore_index : int, default -100
        Label of what does not count.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average over what counts, add up, or return one loss for each label.

    Raises
    ------
    ValueError
        If there is no such reduction.

    See Also
    --------
    convkit.functional.nll_loss : the operation, with the equation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.NLLLoss()(np.float32([[-1, -2], [-3, -4]]), np.array([0, 1]))
    tensor(2.5)
    """

    def __init__(self, weight: Tensor | Array | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = _factors(weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor | npt.NDArray[np.integer]) -> Tensor:
        """Return the loss of logarithms of probabilities (N, C, ...) for the right classes (N, ...)."""
        return functional.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """Average the squares of differences.

    Parameters
    ----------
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average, add up, or return one loss for each element.

    Raises
    ------
    ValueError
        If there is no such reduction.

    See Also
    --------
    convkit.functional.mse_loss : the operation, with the equation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.MSELoss()(np.float32([1, 2]), np.float32([1, 4]))
    tensor(2.)
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor | Array) -> Tensor:
        """Return the loss of numbers of any shape for others of that shape."""
        return functional.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """Average the absolute values of differences.

    Parameters
    ----------
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average, add up, or return one loss for each element.

    Raises
    ------
    ValueError
        If there is no such reduction.

    See Also
    --------
    convkit.functional.l1_loss : the operation, with the equation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.L1Loss()(np.float32([1, 2]), np.float32([1, 4]))
    tensor(1.)
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor | Array) -> Tensor:
        """Return the loss of numbers of any shape for others of that shape."""
        return functional.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    """Average absolute differences, smoothed to squares where they are small.

    Parameters
    ----------
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average, add up, or return one loss for each element.
    beta : float, default 1
        The difference from which on the loss is a straight line.

    Raises
    ------
    TypeError, ValueError
        If an option has no such value.

    See Also
    --------
    convkit.functional.smooth_l1_loss : the operation, with the equation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.SmoothL1Loss()(np.float32([1, 2]), np.float32([2, 4]))
    tensor(1.)
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        check_threshold("SmoothL1Loss", "beta", beta, zero=True)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor | Array) -> Tensor:
        """Return the loss of numbers of any shape for others of that shape."""
        return functional.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """Average squares of differences, with straight lines where they are large.

    Parameters
    ----------
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average, add up, or return one loss for each element.
    delta : float, default 1
        The difference from which on the loss is a straight line.

    Raises
    ------
    TypeError, ValueError
        If an option has no such value.

    See Also
    --------
    convkit.functional.huber_loss : the operation, with the equation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.HuberLoss(delta=2)(np.float32([2]), np.float32([6]))
    tensor(6.)
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        check_threshold("HuberLoss", "delta", delta, zero=False)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor | Array) -> Tensor:
        """Return the loss of numbers of any shape for others of that shape."""
        return functional.huber_loss(input, target, self.reduction, self.delta)


class BCEWithLogitsLoss(_Loss):
    """Compare scores of yes with how probable yes should be.

    Parameters
    ----------
    weight : Tensor or ndarray, of a shape that broadcasts to that of the input, optional
        How much each element counts; 1 if not given.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average, add up, or return one loss for each element.
    pos_weight : Tensor or ndarray, of a shape that broadcasts to that of the input, optional
        How much yes counts beside no; 1 if not given.

    Raises
    ------
    ValueError
        If there is no such reduction.

    See Also
    --------
    convkit.functional.binary_cross_entropy_with_logits : the operation, with the equation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.BCEWithLogitsLoss()(np.float32([0]), np.float32([1]))
    tensor(0.6931472)
    """

    def __init__(
        self,
        weight: Tensor | Array | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | Array | None = None,
    ) -> None:
        super().__init__(reduction)
        self.weight = _factors(weight)
        self.pos_weight = _factors(pos_weight)

    def forward(self, input: Tensor, target: Tensor | Array) -> Tensor:
        """Return the loss of scores of any shape for probabilities of that shape."""
        return functional.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)


class BCELoss(_Loss):
    """Compare probabilities of yes with how probable yes should be.

    Parameters
    ----------
    weight : Tensor or ndarray, of a shape that broadcasts to that of the input, optional
        How much each element counts; 1 if not given.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average, add up, or return one loss for each element.

    Raises
    ------
    ValueError
        If there is no such reduction.

    See Also
    --------
    convkit.functional.binary_cross_entropy : the operation, with the equation.
    BCEWithLogitsLoss : of scores, which is more exact.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> nn.BCELoss()(np.float32([0.5]), np.float32([1]))
    tensor(0.6931472)
    """

    def __init__(self, weight: Tensor | Array | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = _factors(weight)

    def forward(self, input: Tensor, target: Tensor | Array) -> Tensor:
        """Return the loss of probabilities of any shape for others of that shape."""
        return functional.binary_cross_entropy(input, target, self.weight, self.reduction)


def _factors(weight: Tensor | Array | None) -> Buffer | None:
    return None if weight is None else Buffer(weight)
