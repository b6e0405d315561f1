"""A learning rate to begin with, found by trying them all."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..autograd import Tensor
from ..data import DataLoader
from ..nn import CrossEntropyLoss, Module
from ..nn.modes import modes_kept
from ..optim import Optimizer
from .evaluation import Batch, Loss
from .progress import WithBar
from .trials import undone

# A loss of so many times the least is past saving.
_DIVERGED = 4
_LEAST_POINTS = 5


@dataclass(frozen=True)
class LearningRates:
    """What `lr_finder` found.

    Parameters
    ----------
    rates : ndarray of float64, shape (M,)
        Learning rates, each larger than the one before by the same factor.
    losses : ndarray of float64, shape (M,)
        Loss of the batch that met each of them, before its step.

    See Also
    --------
    convkit.train.figures.learning_rates : draws it.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def smoothed(self) -> NDArray[np.float64]:
        """The losses, each averaged with those of a twentieth of the rates to either side."""
        reach = max(len(self.losses) // 20, 1)
        padded = np.pad(self.losses, reach, mode="edge")
        return np.asarray(sliding_window_view(padded, 2 * reach + 1).mean(axis=1))

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest, by factors of the rate, on the way to its minimum."""
        smoothed = self.smoothed
        slopes = np.gradient(smoothed, np.log(self.rates))
        return float(self.rates[np.argmin(slopes[: np.argmin(smoothed) + 1])])


def lr_finder(
    model: Module,
    optimizer: Optimizer,
    loader: DataLoader,
    loss_fn: Loss | None = None,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_iter: int = 100,
    progress: bool = True,
) -> LearningRates:
    """Train a little with ever larger learning rates, and watch the loss.

    Parameters
    ----------
    model : Module
        The network.
    optimizer : Optimizer
        Made for the network's parameters. All its groups get the same rate.
    loader : DataLoader
        Images (N, C, H, W) and labels (N,); begun again when it ends.
    loss_fn : callable, default `CrossEntropyLoss`
        Mean loss of a batch from outputs and labels.
    start_lr, end_lr : float, default 1e-7 and 10.0
        The first rate and the last.
    num_iter : int, default 100
        How many rates are tried, with one batch each; fewer if the loss diverges before.
    progress : bool, default True
        Whether to show a bar.

    Returns
    -------
    LearningRates
        The rates, their losses, and a ``suggestion``.

    Raises
    ------
    ImportError
        If tqdm is missing for `progress`.
    ValueError
        If the rates or their number make no sense, or the loss diverges before there is anything to see.

    Notes
    -----
    Network, optimizer, loader and random numbers are put back as they were, also after an error or Ctrl-C. The rate
    grows exponentially; the search stops when a loss is not finite, or four times the least. L. N. Smith, "Cyclical
    learning rates for training neural networks", WACV 2017, section 3.3.

    Examples
    --------
    >>> import convkit as ck
    >>> _ = ck.manual_seed(0)
    >>> digits = ck.data.DataLoader(ck.data.Digits(train=True), batch_size=32, shuffle=True)
    >>> model = ck.models.convnet(image_size=(8, 8))
    >>> found = lr_finder(model, ck.optim.Adam(model.parameters()), digits, progress=False)
    >>> 1e-4 < found.suggestion < 1e-1
    True
    """
    if not 0 < start_lr < end_lr < math.inf:
        raise ValueError(f"lr_finder: must have 0 < start_lr < end_lr, got {start_lr!r} and {end_lr!r}")
    if num_iter < _LEAST_POINTS:
        raise ValueError(f"lr_finder: num_iter must be at least {_LEAST_POINTS}, got {num_iter!r}")
    if len(loader) == 0:
        raise ValueError("lr_finder: loader has no batch")
    rates = np.geomspace(start_lr, end_lr, num_iter)
    steps: Any = WithBar(rates, "learning rates") if progress else rates
    try:
        with modes_kept(model), undone(model, optimizer, loader):
            losses = _losses(model.train(), optimizer, loader, loss_fn or CrossEntropyLoss(), steps)
    finally:
        optimizer.zero_grad()
    if len(losses) < _LEAST_POINTS:
        raise ValueError(
            f"lr_finder: the loss diverged after {len(losses)} steps, at rate {rates[len(losses)]:.2g}: "
            f"try a smaller start_lr than {start_lr!r}"
        )
    return LearningRates(rates[: len(losses)], np.array(losses))


def _losses(model: Module, optimizer: Optimizer, loader: DataLoader, loss_fn: Loss, rates: Any) -> list[float]:
    losses: list[float] = []
    batches = _endless(loader)
    try:
        for rate in rates:
            images, labels = next(batches)
            for group in optimizer.param_groups:
                group["lr"] = float(rate)
            optimizer.zero_grad()
            loss = loss_fn(model(Tensor(images)), labels)
            value = loss.item()
            if not math.isfinite(value) or value > _DIVERGED * min(losses, default=value):
                break
            losses.append(value)
            loss.backward()
            optimizer.step()
    finally:
        batches.close()
    return losses


def _endless(loader: DataLoader) -> Generator[Batch, None, None]:
    while True:
        yield from loader
