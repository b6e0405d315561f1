"""Losses of classes."""

import math

import numpy as np
import numpy.typing as npt

from .. import _shapes, ops
from .._shapes import Array, Shape
from ..autograd import Tensor, arrays, record
from ..ops._arrays import as_shape_of, rows_of_channels
from ..ops.nll_loss import Labels, cross_entropy_backward, first_wrong
from ..ops.nll_loss import nll_loss as nll_loss_of_rows
from ._reduction import check_reduction, reduced
from .activation import log_softmax

Classes = npt.NDArray[np.int64]


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
    labels = Labels(
        _checked_labels("cross_entropy", scores, right, ignore_index), class_weight, ignore_index, smoothing
    )
    logp = ops.log_softmax(rows_of_channels(scores), 1)
    output, scale = _reduced(*nll_loss_of_rows(logp, labels), reduction, right.shape)

    def gradient(grad: Array) -> Array:
        return as_shape_of(cross_entropy_backward(_of_rows(grad * scale, logp), logp, labels), scores.shape)

    return record("cross_entropy", output, (input, gradient))


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
    classes = _checked_labels("nll_loss", logp, labels, ignore_index)
    rows = rows_of_channels(logp)
    losses = nll_loss_of_rows(rows, Labels(classes, class_weight, ignore_index, 0.0))
    output, scale = _reduced(*losses, reduction, labels.shape)

    def gradient(grad: Array) -> Array:
        counting = np.flatnonzero(classes != ignore_index)
        right = classes[counting]
        out = np.zeros_like(rows)
        out[counting, right] = -_of_rows(grad * scale, rows)[counting]
        if class_weight is not None:
            out[counting, right] *= class_weight[right]
        return as_shape_of(out, logp.shape)

    return record("nll_loss", output, (input, gradient))


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


def _checked_labels(op: str, scores: Array, labels: npt.NDArray[np.integer], ignore_index: int) -> Classes:
    """Check labels against scores, and return them as one row's after the other's."""
    classes = scores.shape[1]
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        also = " or, in the shape of input, of their probabilities" if op == "cross_entropy" else ""
        found = f"dtype {labels.dtype}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise TypeError(f"{op}: target must be a Tensor or ndarray of integers, the right classes,{also} not {found}")
    _shapes.same_shape(op, "target", labels.shape, (scores.shape[0], *scores.shape[2:]))
    # A copy: whoever gave them may change them before the gradient comes back.
    rows = labels.astype(np.int64, order="C").reshape(-1)
    wrong = first_wrong(rows, classes, ignore_index)
    if wrong >= 0:
        where = [int(i) for i in np.unravel_index(wrong, labels.shape)]
        raise ValueError(
            f"{op}: target{where} is {rows[wrong]}, but must be a class in [0, {classes}) "
            f"or ignore_index={ignore_index}"
        )
    return rows


@np.errstate(all="ignore")
def _reduced(losses: Array, total: float, counted: float, reduction: str, shape: Shape) -> tuple[Array, np.floating]:
    """Return the result, and what the loss of each row is multiplied with in it: the mean of none that count is NaN."""
    real = losses.dtype.type
    if reduction == "none":
        return losses.reshape(shape), real(1)
    if reduction == "sum":
        return np.asarray(total, losses.dtype), real(1)
    scale = 1 / counted if counted else math.nan
    return np.asarray(total * scale, losses.dtype), real(scale)


def _of_rows(grad: Array, rows: Array) -> Array:
    """Return the gradient of a loss as one of each row: of all the same, if they became one."""
    out = np.empty(rows.shape[0], rows.dtype)
    out[...] = grad.reshape(-1)
    return out


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
