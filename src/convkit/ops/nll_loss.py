"""The loss of labels, and the gradient of the scores it was computed from, on behalf of the losses that do so."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._dispatch import kernel
from .._shapes import Array
from .._threads import get_num_threads
from ._arrays import contiguous, empty, empty_like


class Labels(NamedTuple):
    """The right class of each row, and how it counts."""

    classes: npt.NDArray[np.int64]
    weight: Array | None
    ignore_index: int
    smoothing: float


def nll_loss(log_probabilities: Array, labels: Labels) -> tuple[Array, float, float]:
    """Return the loss of each row of a matrix (rows, classes), their sum, and how much the labels count together."""
    losses = empty(labels.classes.shape, log_probabilities.dtype)
    if not log_probabilities.size:
        losses[...] = 0
        return losses, 0.0, 0.0
    forward = kernel("nll_loss", log_probabilities.dtype).forward
    total, counted = forward(log_probabilities, *_arguments(labels), losses, get_num_threads())
    return losses, total, counted


def cross_entropy_backward(grad_losses: Array, log_probabilities: Array, labels: Labels) -> Array:
    """Return the gradient of the scores whose log-softmax was given to `nll_loss`."""
    grad_scores = empty_like(log_probabilities)
    if log_probabilities.size:
        kernel("nll_loss", log_probabilities.dtype).backward(
            grad_losses, log_probabilities, *_arguments(labels), grad_scores, get_num_threads()
        )
    return grad_scores


def first_wrong(labels: npt.NDArray[np.int64], classes: int, ignore_index: int) -> int:
    """Return the place of the first label that is neither a class nor `ignore_index`, or -1."""
    # The kernel is of integers: either element type has it.
    place: int = kernel("nll_loss", np.dtype(np.float32)).first_wrong(labels, classes, ignore_index)
    return place


def _arguments(labels: Labels) -> tuple[npt.NDArray[np.int64], Array | None, int, float]:
    weight = labels.weight
    return labels.classes, None if weight is None else contiguous(weight), labels.ignore_index, labels.smoothing
