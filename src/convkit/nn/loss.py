"""Losses as layers."""

import numpy as np
import numpy.typing as npt

from .. import functional
from .._shapes import Array
from ..autograd import Tensor
from ..functional.loss import check_options
from .module import Module
from .parameter import Buffer


class CrossEntropyLoss(Module):
    """Compare scores with the classes that are right.

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
        super().__init__()
        check_options("CrossEntropyLoss", reduction, label_smoothing)
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor | npt.NDArray[np.integer]) -> Tensor:
        """Return the loss of scores (N, C, ...) for the right classes (N, ...)."""
        return functional.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )
