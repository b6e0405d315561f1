"""The loss of labels and its gradient, row by row, in every width of a vector's rest."""

import numpy as np
import pytest
from cases import DTYPES, SETTLED, around

from convkit import ops
from convkit._dispatch import tile_shape
from convkit._threads import num_threads
from convkit.ops.nll_loss import Labels, cross_entropy_backward, first_wrong, nll_loss

ROWS = (1, 31, 33, 70)  # a thread takes 32 at a time


def plain(scores, labels, grad):
    """Losses, and the gradient of the scores, in float64 and one row after the other."""
    classes = scores.shape[1]
    weight = np.ones(classes) if labels.weight is None else labels.weight.astype(np.float64)
    losses, gradient = np.zeros(len(scores)), np.zeros(scores.shape)
    for row, (z, t) in enumerate(zip(scores.astype(np.float64), labels.classes, strict=True)):
        if t == labels.ignore_index:
            continue
        share = np.full(classes, labels.smoothing / classes)
        share[t] += 1 - labels.smoothing
        share *= weight
        logp = z - z.max() - np.log(np.exp(z - z.max()).sum())
        losses[row] = -(share * logp).sum()
        gradient[row] = grad[row] * (share.sum() * np.exp(logp) - share)
    return losses, gradient


def case(dtype, rows, classes, weighted, smoothing):
    rng = np.random.default_rng(rows * 1000 + classes)
    scores = (3 * rng.standard_normal((rows, classes))).astype(dtype)
    right = rng.integers(0, classes, rows)
    right[rng.random(rows) < 0.2] = -100
    weight = rng.random(classes).astype(dtype) if weighted else None
    return scores, Labels(right, weight, -100, smoothing), rng.standard_normal(rows).astype(dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_of_classes(dtype, weighted, smoothing):
    tolerance = 200 * np.finfo(dtype).eps
    for rows in ROWS:
        for classes in {1, 2, 10, *around(tile_shape(dtype)[1])}:
            scores, labels, grad = case(dtype, rows, classes, weighted, smoothing)
            logp = ops.log_softmax(scores, 1)
            expected, gradient = plain(scores, labels, grad)
            losses, total, counted = nll_loss(logp, labels)
            label = f"{rows} rows, {classes} classes"
            np.testing.assert_allclose(losses, expected, rtol=tolerance, atol=tolerance, err_msg=label)
            np.testing.assert_allclose(total, expected.sum(), rtol=tolerance, atol=tolerance, err_msg=label)
            found = cross_entropy_backward(grad, logp, labels)
            np.testing.assert_allclose(found, gradient, rtol=tolerance, atol=tolerance, err_msg=label)
            counting = labels.classes[labels.classes != -100]
            assert counted == pytest.approx(len(counting) if labels.weight is None else labels.weight[counting].sum())


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_do_not_change_bits(dtype):
    scores, labels, grad = case(dtype, 3000, 50, True, 0.1)
    results = []
    for threads in SETTLED:
        with num_threads(threads):
            logp = ops.log_softmax(scores, 1)
            losses, total, counted = nll_loss(logp, labels)
            results.append((losses.tobytes(), total, counted, cross_entropy_backward(grad, logp, labels).tobytes()))
    assert set(results) == {results[0]}


def test_the_first_wrong_label():
    labels = np.array([0, 2, -1, 3, -2, 9])
    assert first_wrong(labels, 4, -1) == 4
    assert first_wrong(labels, 4, -2) == 2
    assert first_wrong(labels[:4], 4, -1) == -1
    assert first_wrong(labels[:0], 4, -1) == -1


def test_nothing():
    labels = Labels(np.zeros(0, np.int64), None, -100, 0.0)
    logp = np.zeros((0, 3), np.float32)
    losses, total, counted = nll_loss(logp, labels)
    assert (losses.shape, total, counted) == ((0,), 0, 0)
    assert cross_entropy_backward(losses, logp, labels).shape == (0, 3)
