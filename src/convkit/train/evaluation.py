"""Asking a network, without training it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ops
from ..autograd import Tensor, no_grad
from ..nn import Module
from .metrics import Score

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
    """
    score = Score()
    with evaluating(model), no_grad():
        for images, labels in loader:
            outputs = model(Tensor(images))
            score.add(loss_fn(outputs, labels).item(), outputs.data, labels)
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


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Put a network into evaluation mode, and at the end of the block back into the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
