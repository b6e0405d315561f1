"""Losses."""

import numpy as np
import numpy.typing as npt

from .. import _shapes
from .._shapes import Array
from ..autograd import Tensor, arrays, record
from .activation import log_softmax

Labels = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]

_REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(
    input: Tensor | Array,
    target: Tensor | npt.NDArray[np.integer],
    weight: Tensor | Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Compare scores with the classes that are right.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...), float32 or float64
        Scores (logits) of C classes: (N, C) for images, (N, C, H, W) for pixels.
    target : Tensor or ndarray, shape (N, ...), integers
        The right classes, each in [0, C) or `ignore_index`.
    weight : Tensor, shape (C,), dtype of `input`, optional
        How much each class counts; 1 if not given.
    ignore_index : int, default -100
        Label of what does not count.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        Average over what counts (weighted by `weight`), add up, or return one loss for each label.
    label_smoothing : float, default 0
        Share of each label, in [0, 1], that is spread evenly over all classes.

    Returns
    -------
    Tensor, shape () or that of `target`, dtype of `input`
        The 'mean' of no label that counts is NaN, as in PyTorch.

    Raises
    ------
    TypeError
        If `input` is not float32 or float64, or `target` not of integers.
    ValueError
        If shapes do not fit, a label is neither a class nor `ignore_index`, or an option has no such value.

    See Also
    --------
    convkit.nn.CrossEntropyLoss : the same as a layer.

    Notes
    -----
    For a label t, with ``logp = log_softmax(input, 1)`` and s for `label_smoothing`::

        loss = -(1 - s)*weight[t]*logp[t] - s/C*sum over c of weight[c]*logp[c]

    and 'mean' divides the sum of the losses by the sum of ``weight[t]``. Label smoothing is from C. Szegedy,
    V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception architecture for computer vision", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.cross_entropy(np.float32([[0, 0], [0, 0]]), np.array([0, 1]))
    tensor(0.6931472)
    """
    check_options("cross_entropy", reduction, label_smoothing)
    scores, labels, class_weight = arrays(input, target, weight)
    counts = _counting_labels(scores, labels, class_weight, ignore_index)
    classes = np.where(counts, labels, 0)
    return _negative_log_likelihood(
        log_softmax(input, 1), classes, counts, class_weight, reduction, float(label_smoothing)
    )


def check_options(name: str, reduction: str, label_smoothing: float) -> None:
    """Raise unless there is such a reduction and smoothing."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{name}: reduction={reduction!r} must be one of {', '.join(map(repr, _REDUCTIONS))}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing={label_smoothing!r} must be in [0, 1]")


def _counting_labels(scores: Array, labels: Labels, class_weight: Array | None, ignore_index: int) -> Mask:
    """Check scores, labels and weights against each other, and tell which labels count."""
    op = "cross_entropy"
    _shapes.array(op, "input", scores)
    classes = _shapes.channels(op, "input", scores)
    _shapes.vector(op, "weight", class_weight, classes, f"input {scores.shape}", scores)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        found = f"dtype {labels.dtype}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise TypeError(f"{op}: target must be a Tensor or ndarray of integers, the right classes, not {found}")
    _shapes.same_shape(op, "target", labels.shape, (scores.shape[0], *scores.shape[2:]))
    counts: Mask = labels != ignore_index
    wrong = counts & ((labels < 0) | (labels >= classes))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{op}: target{list(where)} is {labels[where]}, but must be a class in [0, {classes}) "
            f"or ignore_index={ignore_index}"
        )
    return counts


def _negative_log_likelihood(
    log_probabilities: Tensor,
    classes: Labels,
    counts: Mask,
    class_weight: Array | None,
    reduction: str,
    smoothing: float,
) -> Tensor:
    logp = log_probabilities.data
    at = np.expand_dims(classes, 1)
    by_class = np.ones(logp.shape[1], logp.dtype) if class_weight is None else class_weight
    by_label = np.where(counts, by_class[classes], 0)
    # Of each loss, the part of the right class and the part that smoothing gives to every class.
    spread = (smoothing / logp.shape[1] * by_class).reshape(-1, *[1] * (logp.ndim - 2))
    losses = (smoothing - 1) * by_label * np.take_along_axis(logp, at, 1)[:, 0]
    if smoothing:
        losses -= (spread * logp).sum(axis=1)
    losses = np.where(counts, losses, 0)

    total = float(by_label.sum())
    scale = 1.0 if reduction != "mean" else 1 / total if total else np.nan

    def gradient(grad: Array) -> Array:
        arrived = np.where(counts, grad * scale, 0)
        out = np.zeros_like(logp)
        np.put_along_axis(out, at, np.expand_dims((smoothing - 1) * by_label * arrived, 1), 1)
        if smoothing:
            out -= spread * np.expand_dims(arrived, 1)
        return out

    output = losses if reduction == "none" else losses.sum() * scale
    return record("cross_entropy", output, (log_probabilities, gradient))
