"""Normalisation layers."""

import numpy as np
import numpy.typing as npt

from .. import _shapes, functional
from .._shapes import Array
from ..autograd import Tensor, borrowed
from . import init
from ._arguments import floating
from .module import Module
from .parameter import Buffer, Parameter


class BatchNorm2d(Module):
    """Normalise each channel of a batch of images, then scale and shift it by numbers that are learned.

    Parameters
    ----------
    num_features : int
        Number of channels, C.
    eps : float, default 1e-5
        Added to the variance.
    momentum : float or None, default 0.1
        Weight of each batch in the running averages; None averages all batches alike.
    affine : bool, default True
        Whether to scale and shift.
    track_running_stats : bool, default True
        Whether to keep running averages, and use them out of training. Otherwise the batch's own statistics are
        always used.
    dtype : dtype, default float32
        float32 or float64.

    Attributes
    ----------
    weight, bias : Parameter, shape (C,), or None
        Scale and shift; they start as 1 and 0.
    running_mean, running_var : Buffer, shape (C,), or None
        They start as 0 and 1.
    num_batches_tracked : Buffer, shape (), int64, or None

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    See Also
    --------
    convkit.functional.batch_norm : the operation, with the equation.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> norm = nn.BatchNorm2d(3)
    >>> norm(np.random.default_rng(0).random((8, 3, 4, 4), np.float32)).mean((0, 2, 3)).data.round(3) + 0
    array([0., 0., 0.], dtype=float32)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__()
        self.num_features = _shapes.integer("BatchNorm2d", "num_features", num_features, 1)
        if not eps >= 0:
            raise ValueError(f"BatchNorm2d: eps={eps!r} must not be negative")
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"BatchNorm2d: momentum={momentum!r} must be None or in [0, 1]")
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats

        def channels() -> Array:
            return np.empty(self.num_features, dtype)

        dtype = floating("BatchNorm2d", dtype)
        self.weight = Parameter(channels()) if affine else None
        self.bias = Parameter(channels()) if affine else None
        self.running_mean = Buffer(channels()) if track_running_stats else None
        self.running_var = Buffer(channels()) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.zeros((), np.int64)) if track_running_stats else None
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget all batches."""
        for buffer, fill in (
            (self.running_mean, init.zeros_),
            (self.running_var, init.ones_),
            (self.num_batches_tracked, init.zeros_),
        ):
            if buffer is not None:
                fill(buffer)

    def reset_parameters(self) -> None:
        """Forget all batches, and go back to scale 1 and shift 0."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input`, of shape (N, num_features, H, W)."""
        (x,) = borrowed(input)
        _shapes.array("batch_norm", "input", x, 4)
        output = functional.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            self._momentum(),
            self.eps,
        )
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.data[...] += 1
        return output

    def _momentum(self) -> float:
        """Return the weight of this batch in the running averages."""
        if self.momentum is not None:
            return self.momentum
        return 1.0 if self.num_batches_tracked is None else 1 / (1 + self.num_batches_tracked.item())

    def takes(self) -> str:
        """Return which input would fit."""
        dtype = "" if self.weight is None else f"a {self.weight.dtype} "
        values = ", more than one value per channel" if self.training else ""
        return f"{dtype}(N, {self.num_features}, H, W){values}"

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
