"""Asking a network, without training it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ops
from ..autograd import Tensor, no_grad
from ..nn import Module
from ..nn.modes import evaluating
from .metrics import Score
from .nonfinite import culprit

Batch = tuple[NDArray[Any], ...]
Loss = Callable[[Tensor, NDArray[np.int64]], Tensor]


def evaluate(model: Module, loader: Iterable[Batch], loss_fn: Loss) -> Score:
    """Test a network.

    Parameters
    ----------
    model : Module
        Asked in evaluation mode, where batch norm uses its running statistics; then put back into the mode it was in.
    loader : DataLoader, or iterable of batches
        Images (N, C, H, W) and labels (N,).
    loss_fn : callable
        Mean loss of a batch from outputs and labels, for example `convkit.nn.CrossEntropyLoss`.

    Returns
    -------
    Score
        Loss, accuracy and confusion over all images.

    Warns
    -----
    RuntimeWarning
        If a loss is NaN or infinite, and then the mean is too; the message says which layer was the first to be so.
    """
    score = Score()
    warning = ""
    with evaluating(model), no_grad():
        for number, (images, labels) in enumerate(loader, start=1):
            outputs = model(Tensor(images))
            loss = loss_fn(outputs, labels).item()
            if not warning and not math.isfinite(loss):
                warning = f"the test loss is {loss} in batch {number}: {culprit(model, images)}"
            score.add(loss, outputs.data, labels)
    if warning:
        warnings.warn(warning, RuntimeWarning, stacklevel=2)
    return score


def predict(model: Module, images: NDArray[Any]) -> NDArray[Any]:
    """Ask a network what images show.

    Parameters
    ----------
    model : Module
        Asked in evaluation mode, then put back into the mode it was in.
    images : ndarray, shape (N, C, H, W)
        Normalised as the ones it was trained on.

    Returns
    -------
    ndarray, shape (N, K)
        Probability of each of K classes: the softmax of the outputs.
    """
    with evaluating(model), no_grad():
        return ops.softmax(model(Tensor(images)).data, 1)
