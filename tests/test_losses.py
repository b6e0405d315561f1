"""Losses: values, gradients, their edges, and what they refuse."""

import numpy as np
import pytest
from gradients import apart, assert_gradients

from convkit import functional as F
from convkit import nn
from convkit.autograd import Tensor


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# --------------------------------------------------------------------------------------------------- cross-entropy


def plain_cross_entropy(scores, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Label by label, from the definition."""
    classes = scores.shape[1]
    weight = np.ones(classes) if weight is None else weight
    losses, total = np.zeros(target.shape), 0.0
    for where in np.ndindex(*target.shape):
        label = target[where]
        if label == ignore_index:
            continue
        z = scores[(where[0], slice(None), *where[1:])]
        logp = z - np.log(np.sum(np.exp(z)))
        share = np.full(classes, label_smoothing / classes)
        share[label] += 1 - label_smoothing
        losses[where] = -np.sum(share * weight * logp)
        total += weight[label]
    if reduction == "none":
        return losses
    return losses.sum() / (total if reduction == "mean" else 1)


def cross_entropy_case(shape, ignore_index, weighted, **options):
    scores, target = normal(*shape), np.random.default_rng(1).integers(0, 4, (shape[0], *shape[2:]))
    target.flat[0] = ignore_index
    weight = np.array([0.5, 2.0, 1.0, 0.25]) if weighted else None
    return scores, target, {"weight": weight, "ignore_index": ignore_index, **options}


CROSS_ENTROPIES = [
    pytest.mark.parametrize("label_smoothing", [0.0, 0.2, 1.0]),
    pytest.mark.parametrize("reduction", ["mean", "sum", "none"]),
    pytest.mark.parametrize("weighted", [False, True]),
    pytest.mark.parametrize("ignore_index", [-100, 2]),
    pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 2), (2, 4, 3)]),
]


def for_each_cross_entropy(test):
    for mark in CROSS_ENTROPIES:
        test = mark(test)
    return test


@for_each_cross_entropy
def test_cross_entropy(shape, ignore_index, weighted, reduction, label_smoothing):
    scores, target, options = cross_entropy_case(
        shape, ignore_index, weighted, reduction=reduction, label_smoothing=label_smoothing
    )
    found = F.cross_entropy(scores, target, **options)
    np.testing.assert_allclose(found.data, plain_cross_entropy(scores, target, **options), rtol=1e-10)
    assert_gradients(lambda x: F.cross_entropy(x, target, **options), scores)


@for_each_cross_entropy
def test_plain_cross_entropy_is_that_of_pytorch(shape, ignore_index, weighted, reduction, label_smoothing):
    torch = pytest.importorskip("torch")
    scores, target, options = cross_entropy_case(
        shape, ignore_index, weighted, reduction=reduction, label_smoothing=label_smoothing
    )
    expected = plain_cross_entropy(scores, target, **options)
    options["weight"] = torch.tensor(options["weight"]) if weighted else None
    theirs = torch.nn.functional.cross_entropy(torch.tensor(scores), torch.tensor(target), **options)
    np.testing.assert_allclose(theirs.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_cross_entropy_takes_labels_of_any_integer_type(dtype):
    scores, target = normal(3, 4), np.array([0, 3, 1], dtype)
    expected = plain_cross_entropy(scores, target)
    for labels in (target, Tensor(target)):
        assert F.cross_entropy(scores, labels).item() == pytest.approx(expected)


def test_cross_entropy_of_certain_and_of_hopeless_scores():
    scores = Tensor(np.float32([[1000, 0, -1000], [0, 0, 1000]]), requires_grad=True)
    loss = F.cross_entropy(scores, np.array([0, 1]), reduction="none")
    assert loss.data.tolist() == [0, 1000]
    loss.sum().backward()
    assert scores.grad.data.tolist() == [[0, 0, 0], [0, -1, 1]]


def test_the_mean_of_no_label_is_nan_and_has_no_gradient():
    scores = Tensor(normal(2, 3), requires_grad=True)
    loss = F.cross_entropy(scores, np.array([-100, -100]))
    assert np.isnan(loss.item())
    loss.backward()
    assert not scores.grad.data.any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"target": np.array([0, 4, 1])},
            ValueError,
            r"target\[1\] is 4, but must be a class in \[0, 4\) or ignore_index=-100",
        ),
        ({"target": np.array([0, 1, -1])}, ValueError, r"target\[2\] is -1"),
        ({"target": np.array([0, 1])}, ValueError, r"target has shape \(2,\)"),
        ({"target": np.array([0.0, 1.0, 2.0])}, TypeError, "target must be .* integers.* not dtype float64"),
        ({"target": np.ones((3, 4), np.float32)}, TypeError, "target has dtype float32 but input has float64"),
        ({"target": np.ones((3, 4)), "ignore_index": 1}, ValueError, "ignore_index=1 is for classes, but target is of"),
        ({"target": [0, 1, 2]}, TypeError, "target must be .* integers.* not list"),
        ({"input": np.ones(4)}, ValueError, r"input has shape \(4,\)"),
        ({"input": np.ones((3, 4), int)}, TypeError, "input has dtype int64"),
        ({"weight": np.ones(3)}, ValueError, r"weight has shape \(3,\)"),
        ({"reduction": "average"}, ValueError, "reduction='average' must be one of 'mean', 'sum', 'none'"),
        ({"label_smoothing": 1.5}, ValueError, r"label_smoothing=1.5 must be in \[0, 1\]"),
    ],
)
def test_cross_entropy_refuses(change, error, message):
    with pytest.raises(error, match=f"cross_entropy: {message}"):
        F.cross_entropy(**{"input": np.ones((3, 4)), "target": np.array([0, 1, 2]), **change})


def probabilities(*shape):
    shares = np.random.default_rng(3).random(shape)
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 2)])
def test_cross_entropy_with_probabilities(shape, weighted, reduction, label_smoothing):
    scores, target = normal(*shape), probabilities(*shape)
    weight = np.array([0.5, 2.0, 1.0, 0.25]) if weighted else None
    options = {"weight": weight, "reduction": reduction, "label_smoothing": label_smoothing}
    logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    shares = (1 - label_smoothing) * target + label_smoothing / 4
    losses = -np.einsum("nc...,nc...,c->n...", shares, logp, np.ones(4) if weight is None else weight)
    expected = losses if reduction == "none" else getattr(losses, reduction)()
    np.testing.assert_allclose(F.cross_entropy(scores, target, **options).data, expected, rtol=1e-10)
    assert_gradients(lambda x, y: F.cross_entropy(x, y, **options), scores, target)


def test_probabilities_agree_with_classes_and_with_pytorch():
    scores, labels = normal(5, 4), np.array([0, 3, 1, 1, 2])
    found = F.cross_entropy(scores, np.eye(4)[labels], label_smoothing=0.1).item()
    assert found == pytest.approx(F.cross_entropy(scores, labels, label_smoothing=0.1).item())
    torch = pytest.importorskip("torch")
    weight, target = np.arange(1.0, 5), probabilities(5, 4)
    theirs = torch.nn.functional.cross_entropy(
        *map(torch.tensor, (scores, target)), torch.tensor(weight), label_smoothing=0.3
    )
    assert F.cross_entropy(scores, target, weight, label_smoothing=0.3).item() == pytest.approx(theirs.item())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 2)])
def test_nll_loss(shape, weighted, reduction):
    scores, target, options = cross_entropy_case(shape, 2, weighted, reduction=reduction)
    logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        F.nll_loss(logp, target, **options).data, plain_cross_entropy(scores, target, **options), rtol=1e-10
    )
    assert_gradients(lambda x: F.nll_loss(x, target, **options), normal(*shape, seed=4))


def test_nll_loss_refuses():
    with pytest.raises(ValueError, match=r"nll_loss: target\[0\] is 4, but must be a class in \[0, 4\)"):
        F.nll_loss(np.ones((1, 4)), np.array([4]))
    with pytest.raises(TypeError, match=r"nll_loss: target must be .* integers, the right classes, not dtype float64"):
        F.nll_loss(np.ones((1, 4)), np.ones((1, 4)))
    with pytest.raises(ValueError, match="nll_loss: reduction='no'"):
        F.nll_loss(np.ones((1, 4)), np.array([0]), reduction="no")


# --------------------------------------------------------------------------------------- numbers, and yes or no

NUMBERS = {
    "mse_loss": (lambda d: d * d, {}),
    "l1_loss": (abs, {}),
    "smooth_l1_loss": (lambda d: d * d / 2 if abs(d) < 1 else abs(d) - 0.5, {}),
    "smooth_l1_loss, beta": (lambda d: d * d / 0.6 if abs(d) < 0.3 else abs(d) - 0.15, {"beta": 0.3}),
    "smooth_l1_loss, beta 0": (abs, {"beta": 0}),
    "huber_loss": (lambda d: d * d / 2 if abs(d) < 1 else abs(d) - 0.5, {}),
    "huber_loss, delta": (lambda d: d * d / 2 if abs(d) < 0.3 else 0.3 * (abs(d) - 0.15), {"delta": 0.3}),
}


def reduced(losses, reduction):
    return losses if reduction == "none" else getattr(losses, reduction)()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", NUMBERS)
def test_losses_of_numbers(name, reduction):
    plain, options = NUMBERS[name]
    loss = getattr(F, name.split(",")[0])
    x = apart(np.random.default_rng(0), (3, 5)) + 0.003
    y = np.zeros((3, 5))
    expected = reduced(np.array([plain(d) for d in (x - y).ravel()]).reshape(3, 5), reduction)
    np.testing.assert_allclose(loss(x, y, reduction=reduction, **options).data, expected, rtol=1e-12)
    assert_gradients(lambda x, y: loss(x, y, reduction=reduction, **options), x, y)
    assert loss(np.float32(x), np.float32(y), reduction=reduction, **options).dtype == np.float32


def plain_binary(p, y, weight, positive):
    return -weight * (positive * y * np.log(p) + (1 - y) * np.log(1 - p))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_yes_or_no(weighted, reduction):
    x, y = normal(4, 3), np.random.default_rng(1).random((4, 3))
    weight = np.array([[0.5], [2.0], [0.0], [1.0]]) if weighted else None
    positive = np.array([3.0, 0.5, 1.0]) if weighted else None
    p = 1 / (1 + np.exp(-x))
    w, q = (1, 1) if weight is None else (weight, positive)
    options = {"weight": weight, "reduction": reduction}

    def with_logits(x, y):
        return F.binary_cross_entropy_with_logits(x, y, pos_weight=positive, **options)

    def plain(x, y):
        return F.binary_cross_entropy(x, y, **options)

    np.testing.assert_allclose(with_logits(x, y).data, reduced(plain_binary(p, y, w, q), reduction), rtol=1e-10)
    np.testing.assert_allclose(plain(p, y).data, reduced(plain_binary(p, y, w, 1), reduction), rtol=1e-10)
    assert_gradients(with_logits, x, y)
    assert_gradients(plain, p, y)


BINARY_EDGES = np.array([-np.inf, -800, -20, 0.0, 20, 800, np.inf, np.nan])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("binary_cross_entropy_with_logits", BINARY_EDGES),
        ("binary_cross_entropy", np.array([0.0, 1e-30, 0.3, 1.0])),
        ("mse_loss", BINARY_EDGES),
        ("l1_loss", BINARY_EDGES[:-1]),
        ("smooth_l1_loss", BINARY_EDGES[:-1]),
        ("huber_loss", BINARY_EDGES[:-1]),
    ],
)
def test_losses_agree_with_pytorch_everywhere(name, values, dtype):
    torch = pytest.importorskip("torch")
    x, y = np.broadcast_arrays(values.astype(dtype), np.array([[0], [1], [0.25]], dtype))
    ours, theirs = Tensor(x.copy(), requires_grad=True), torch.tensor(x, requires_grad=True)
    for reduction in ("none", "sum", "mean"):
        found = getattr(F, name)(ours, y, reduction=reduction)
        expected = getattr(torch.nn.functional, name)(theirs, torch.tensor(y), reduction=reduction)
        np.testing.assert_allclose(found.data, expected.detach().numpy(), rtol=1e-5)
    getattr(F, name)(ours, y, reduction="sum").backward()
    getattr(torch.nn.functional, name)(theirs, torch.tensor(y), reduction="sum").backward()
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=1e-5, atol=np.finfo(dtype).eps)


def test_the_gradient_of_a_score_lives_as_long_as_its_loss():
    x = Tensor(np.float32([60, -60]), requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, np.float32([1, 0]), reduction="sum")
    loss.backward()
    np.testing.assert_allclose(x.grad.data, np.float32([-np.exp(-60), np.exp(-60)]), rtol=1e-5)
    assert loss.item() == pytest.approx(2 * np.exp(-60), rel=1e-5)


def test_the_mean_of_nothing_is_nan_without_a_warning():
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss, F.binary_cross_entropy):
        x = Tensor(np.zeros((0, 3)), requires_grad=True)
        found = loss(x, np.zeros((0, 3)))
        assert np.isnan(found.item())
        found.backward()
        assert x.grad.shape == (0, 3)
        assert loss(x, np.zeros((0, 3)), reduction="sum").item() == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.mse_loss(x, x[:1]), ValueError, r"mse_loss: target has shape \(1, 3\)"),
        (lambda x: F.l1_loss(x, x.astype(np.float32)), TypeError, "l1_loss: target has dtype float32 but input"),
        (lambda x: F.huber_loss([1.0], x), TypeError, "huber_loss: input must be a numpy.ndarray, not list"),
        (lambda x: F.mse_loss(x, x, "average"), ValueError, "mse_loss: reduction='average' must be one of"),
        (lambda x: F.huber_loss(x, x, delta=0), ValueError, "huber_loss: delta=0 must be greater than 0"),
        (lambda x: F.smooth_l1_loss(x, x, beta=-1), ValueError, "smooth_l1_loss: beta=-1 must be at least 0"),
        (lambda x: F.binary_cross_entropy(x - 2, x), ValueError, r"input holds -1.0, but probabilities must be in"),
        (
            lambda x: F.binary_cross_entropy_with_logits(x, x, pos_weight=np.ones(2)),
            ValueError,
            r"with_logits: shapes \(2,\) and \(2, 3\) do not broadcast",
        ),
        (
            lambda x: F.binary_cross_entropy(x, x, weight=np.ones((4, 2, 3))),
            ValueError,
            r"weight has shape \(4, 2, 3\), which does not broadcast to input \(2, 3\)",
        ),
        (lambda x: nn.MSELoss("all"), ValueError, "MSELoss: reduction='all'"),
        (lambda x: nn.HuberLoss(delta="1"), TypeError, "HuberLoss: delta='1' must be a number"),
        (lambda x: nn.SmoothL1Loss(beta=-1), ValueError, "SmoothL1Loss: beta=-1"),
    ],
)
def test_these_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((2, 3)))


def test_layers_are_their_functions():
    x, y = normal(4, 3), np.random.default_rng(1).random((4, 3))
    labels, weight = np.array([0, 2, 1, 1]), np.array([1.0, 2.0, 3.0])
    pairs = [
        (nn.MSELoss("sum")(x, y), F.mse_loss(x, y, "sum")),
        (nn.L1Loss("none")(x, y), F.l1_loss(x, y, "none")),
        (nn.SmoothL1Loss("sum", 0.2)(x, y), F.smooth_l1_loss(x, y, "sum", 0.2)),
        (nn.HuberLoss("sum", 0.2)(x, y), F.huber_loss(x, y, "sum", 0.2)),
        (nn.NLLLoss(weight, 2, "sum")(x, labels), F.nll_loss(x, labels, weight, 2, "sum")),
        (nn.CrossEntropyLoss(weight)(x, labels), F.cross_entropy(x, labels, weight)),
        (nn.BCELoss(weight, "sum")(y, y), F.binary_cross_entropy(y, y, weight, "sum")),
        (
            nn.BCEWithLogitsLoss(weight, "sum", 2 * weight)(x, y),
            F.binary_cross_entropy_with_logits(x, y, weight, "sum", 2 * weight),
        ),
    ]
    for found, expected in pairs:
        np.testing.assert_array_equal(found.data, expected.data)
    assert sorted(nn.BCEWithLogitsLoss(weight, pos_weight=weight).state_dict()) == ["pos_weight", "weight"]
