"""Losses of classes."""

import numpy as np
import numpy.typing as npt

from .. import _shapes
from .._shapes import Array
from ..autograd import Tensor, arrays, record
from ._reduction import check_reduction, reduced
from .activation import log_softmax

Labels = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]


def cross_entropy(
    input: Tensor | Array,
    target: Tensor | npt.NDArray[np.integer] | Array,
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
    target : Tensor or ndarray, shape (N, ...), integers; or shape and dtype of `input`
        The right classes, each in [0, C) or `ignore_index`; or the probability of each class.
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
    Tensor, shape () or (N, ...), dtype of `input`
        The 'mean' of no label that counts is NaN, as in PyTorch.

    Raises
    ------
    TypeError
        If `input` is not float32 or float64, or `target` neither of integers nor of probabilities.
    ValueError
        If shapes do not fit, a label is neither a class nor `ignore_index`, or an option has no such value.

    See Also
    --------
    convkit.nn.CrossEntropyLoss : the same as a layer.

    Notes
    -----
    For a label t, with ``logp = log_softmax(input, 1)`` and s for `label_smoothing`::

        loss = -(1 - s)*weight[t]*logp[t] - s/C*sum over c of weight[c]*logp[c]

    and 'mean' divides the sum of the losses by the sum of ``weight[t]``. For probabilities p::

        loss = -sum over c of weight[c]*((1 - s)*p[c] + s/C)*logp[c]

    and 'mean' divides by the number of losses. Label smoothing is from C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens,
    Z. Wojna, "Rethinking the Inception architecture for computer vision", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.cross_entropy(np.float32([[0, 0], [0, 0]]), np.array([0, 1]))
    tensor(0.6931472)
    """
    check_options("cross_entropy", reduction, label_smoothing)
    scores, right, class_weight = arrays(input, target, weight)
    _check_scores("cross_entropy", scores, class_weight)
    smoothing = float(label_smoothing)
    if isinstance(right, np.ndarray) and right.dtype.kind == "f" and right.shape == scores.shape:
        _check_probabilities(scores, right, ignore_index)
        return _expected_negative_log_likelihood(
            log_softmax(input, 1), target, right, class_weight, reduction, smoothing
        )
    counts = _counting_labels("cross_entropy", scores, right, ignore_index)
    classes = np.where(counts, right, 0)
    return _negative_log_likelihood(
        "cross_entropy", log_softmax(input, 1), classes, counts, class_weight, reduction, smoothing
    )


def nll_loss(
    input: Tensor | Array,
    target: Tensor | npt.NDArray[np.integer],
    weight: Tensor | Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative logarithms of the probabilities of the classes that are right.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...), float32 or float64
        Logarithms of the probabilities of C classes, as `log_softmax` makes them.
    target : Tensor or ndarray, shape (N, ...), integers
        The right classes, each in [0, C) or `ignore_index`.
    weight, ignore_index, reduction
        As for `cross_entropy`.

    Returns
    -------
    Tensor, shape () or that of `target`, dtype of `input`
        The 'mean' of no label that counts is NaN, as in PyTorch.

    Raises
    ------
    TypeError, ValueError
        As `cross_entropy`.

    See Also
    --------
    cross_entropy : the same of scores.
    convkit.nn.NLLLoss : the same as a layer.

    Notes
    -----
    For a label t, ``loss = -weight[t]*input[t]``, and 'mean' divides the sum of the losses by that of ``weight[t]``.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit.functional as F
    >>> F.nll_loss(np.float32([[-1, -2], [-3, -4]]), np.array([0, 1]))
    tensor(2.5)
    """
    check_reduction("nll_loss", reduction)
    logp, labels, class_weight = arrays(input, target, weight)
    _check_scores("nll_loss", logp, class_weight)
    counts = _counting_labels("nll_loss", logp, labels, ignore_index)
    classes = np.where(counts, labels, 0)
    return _negative_log_likelihood("nll_loss", input, classes, counts, class_weight, reduction, 0.0)


def check_options(name: str, reduction: str, label_smoothing: float) -> None:
    """Raise unless there is such a reduction and smoothing."""
    check_reduction(name, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing={label_smoothing!r} must be in [0, 1]")


def _check_scores(op: str, scores: Array, class_weight: Array | None) -> None:
    _shapes.array(op, "input", scores)
    classes = _shapes.channels(op, "input", scores)
    _shapes.vector(op, "weight", class_weight, classes, f"input {scores.shape}", scores)


def _check_probabilities(scores: Array, probabilities: Array, ignore_index: int) -> None:
    _shapes.array("cross_entropy", "target", probabilities, None, scores)
    if ignore_index >= 0:
        raise ValueError(f"cross_entropy: ignore_index={ignore_index} is for classes, but target is of probabilities")


def _counting_labels(op: str, scores: Array, labels: Labels, ignore_index: int) -> Mask:
    """Check labels against scores, and tell which of them count."""
    classes = scores.shape[1]
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        also = " or, in the shape of input, of their probabilities" if op == "cross_entropy" else ""
        found = f"dtype {labels.dtype}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise TypeError(f"{op}: target must be a Tensor or ndarray of integers, the right classes,{also} not {found}")
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


@np.errstate(all="ignore")
def _negative_log_likelihood(
    op: str,
    log_probabilities: Tensor | Array,
    classes: Labels,
    counts: Mask,
    class_weight: Array | None,
    reduction: str,
    smoothing: float,
) -> Tensor:
    logp: Array
    (logp,) = arrays(log_probabilities)
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
    scale = logp.dtype.type(1.0 if reduction != "mean" else 1 / total if total else np.nan)

    def gradient(grad: Array) -> Array:
        arrived = np.where(counts, grad * scale, 0)
        out = np.zeros_like(logp)
        np.put_along_axis(out, at, np.expand_dims((smoothing - 1) * by_label * arrived, 1), 1)
        if smoothing:
            out -= spread * np.expand_dims(arrived, 1)
        return out

    output = losses if reduction == "none" else losses.sum() * scale
    return record(op, output, (log_probabilities, gradient))


@np.errstate(all="ignore")
def _expected_negative_log_likelihood(
    log_probabilities: Tensor,
    target: object,
    probabilities: Array,
    class_weight: Array | None,
    reduction: str,
    smoothing: float,
) -> Tensor:
    logp = log_probabilities.data
    shares = (1 - smoothing) * probabilities + smoothing / logp.shape[1]
    by_class = 1 if class_weight is None else class_weight.reshape(-1, *[1] * (logp.ndim - 2))
    output, scale = reduced(-(by_class * shares * logp).sum(axis=1), reduction)

    def arrived(grad: Array) -> Array:
        return scale * by_class * (np.expand_dims(grad, 1) if reduction == "none" else grad)

    return record(
        "cross_entropy",
        output,
        (log_probabilities, lambda grad: -shares * arrived(grad)),
        (target, lambda grad: (smoothing - 1) * logp * arrived(grad)),
    )
