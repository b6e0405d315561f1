"""The differentiable operations: values, gradients, and what they keep for them."""

import functools
import weakref

import numpy as np
import pytest
import reference
from gradients import apart, assert_gradients

import convkit as ck
from convkit import functional as F
from convkit._random import manual_seed
from convkit.autograd import Tensor, no_grad


def rng(seed=0):
    return np.random.default_rng(seed)


def normal(*shape, seed=0):
    return rng(seed).standard_normal(shape)


# ------------------------------------------------------------------------------------------------------ gradients

CONVOLUTIONS = {
    "plain": ((2, 3, 6, 5), (4, 3, 3, 2), {}),
    "stride and padding": ((2, 3, 7, 6), (4, 3, 3, 3), {"stride": (2, 1), "padding": (1, 2)}),
    "dilation": ((1, 2, 8, 9), (3, 2, 3, 2), {"dilation": (2, 3), "padding": 1}),
    "groups": ((2, 4, 5, 5), (6, 2, 3, 3), {"groups": 2}),
    "same": ((1, 2, 5, 6), (2, 2, 4, 3), {"padding": "same"}),
    "valid": ((1, 2, 5, 6), (2, 2, 4, 3), {"padding": "valid"}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d(name):
    input_shape, weight_shape, options = CONVOLUTIONS[name]
    x, w, b = normal(*input_shape), normal(*weight_shape, seed=1), normal(weight_shape[0], seed=2)
    np.testing.assert_allclose(F.conv2d(x, w, b, **options).data, reference.conv2d(x, w, b, **options), atol=1e-12)
    assert_gradients(lambda x, w, b: F.conv2d(x, w, b, **options), x, w, b)
    assert_gradients(lambda x, w: F.conv2d(x, w, **options), x, w)


TRANSPOSED = {
    "plain": ((2, 3, 4, 5), (3, 4, 3, 2), {}),
    "stride and padding": ((2, 3, 4, 3), (3, 4, 3, 3), {"stride": (2, 1), "padding": 1, "output_padding": (1, 0)}),
    "dilation": ((1, 2, 4, 5), (2, 3, 3, 2), {"dilation": (2, 3)}),
    "groups": ((2, 4, 3, 3), (4, 3, 3, 3), {"groups": 2, "stride": 2}),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose2d(name):
    input_shape, weight_shape, options = TRANSPOSED[name]
    x, w = normal(*input_shape), normal(*weight_shape, seed=1)
    b = normal(weight_shape[1] * options.get("groups", 1), seed=2)
    found = F.conv_transpose2d(x, w, b, **options).data
    np.testing.assert_allclose(found, reference.conv_transpose2d(x, w, b, **options), atol=1e-12)
    assert_gradients(lambda x, w, b: F.conv_transpose2d(x, w, b, **options), x, w, b)
    assert_gradients(lambda x, w: F.conv_transpose2d(x, w, **options), x, w)


@pytest.mark.parametrize(
    ("kernel_size", "options"),
    [
        (2, {}),
        ((3, 2), {"stride": (2, 1), "padding": (1, 0)}),
        (2, {"stride": 3, "dilation": 2}),
        (3, {"ceil_mode": True}),
    ],
)
def test_max_pool2d(kernel_size, options):
    x = apart(rng(), (2, 3, 7, 8))
    found = F.max_pool2d(x, kernel_size, **options).data
    np.testing.assert_array_equal(found, reference.max_pool2d(x, kernel_size, **options))
    assert_gradients(lambda x: F.max_pool2d(x, kernel_size, **options), x)


@pytest.mark.parametrize(
    ("kernel_size", "options"),
    [
        (2, {}),
        ((3, 2), {"stride": (2, 1), "padding": (1, 0), "count_include_pad": False}),
        (3, {"padding": 1, "ceil_mode": True}),
    ],
)
def test_avg_pool2d(kernel_size, options):
    x = normal(2, 3, 7, 8)
    np.testing.assert_allclose(
        F.avg_pool2d(x, kernel_size, **options).data, reference.avg_pool2d(x, kernel_size, **options), atol=1e-12
    )
    assert_gradients(lambda x: F.avg_pool2d(x, kernel_size, **options), x)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training, shape):
    x, w, b = normal(*shape), normal(3, seed=1), normal(3, seed=2)
    mean, var = normal(3, seed=3), normal(3, seed=4) ** 2

    def normalised(x, w=None, b=None):
        return F.batch_norm(x, mean.copy(), var.copy(), w, b, training, eps=1e-3)

    statistics = reference.batch_norm_stats(x) if training else (mean, var)
    np.testing.assert_allclose(
        normalised(x, w, b).data, reference.batch_norm(x, *statistics, w, b, 1e-3), rtol=1e-10, atol=1e-12
    )
    assert_gradients(normalised, x, w, b, tolerance=1e-6)
    assert_gradients(normalised, x, tolerance=1e-6)


@pytest.mark.parametrize("size", [1, (3, 5), (None, 2), (9, 4)])
def test_adaptive_pooling(size):
    x = apart(rng(), (2, 3, 7, 8))
    pair = size if isinstance(size, tuple) else (size, size)
    for name in ("adaptive_max_pool2d", "adaptive_avg_pool2d"):
        found = getattr(F, name)(x, size).data
        np.testing.assert_allclose(found, getattr(reference, name)(x, pair), rtol=1e-13)
        assert_gradients(lambda x, name=name: getattr(F, name)(x, size), x)


def test_linear():
    x, w, b = normal(2, 5, 3), normal(4, 3, seed=1), normal(4, seed=2)
    np.testing.assert_allclose(F.linear(x, w, b).data, reference.linear(x, w, b), atol=1e-12)
    assert_gradients(F.linear, x, w, b)
    assert_gradients(F.linear, x[0], w)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, dim):
    x = normal(3, 4, 5)
    np.testing.assert_allclose(getattr(F, name)(x, dim).data, getattr(reference, name)(x, dim), atol=1e-12)
    assert_gradients(lambda x: getattr(F, name)(x, dim), x)


def test_relu():
    x = apart(rng(), (3, 4, 5))
    np.testing.assert_array_equal(F.relu(x).data, reference.relu(x))
    assert_gradients(F.relu, x)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("relu6", {}),
        ("leaky_relu", {}),
        ("leaky_relu", {"negative_slope": -0.5}),
        ("elu", {}),
        ("elu", {"alpha": -2.0}),
        ("sigmoid", {}),
        ("tanh", {}),
        ("silu", {}),
        ("hardsigmoid", {}),
        ("hardswish", {}),
        ("softplus", {}),
        ("softplus", {"beta": 3.0}),
        ("gelu", {}),
        ("gelu", {"approximate": "tanh"}),
    ],
)
def test_activations(name, arguments):
    function = functools.partial(getattr(F, name), **arguments)
    x = apart(rng(), (5, 4, 5))
    np.testing.assert_allclose(function(x).data, getattr(reference, name)(x, **arguments), atol=1e-14)
    assert_gradients(function, x)
    assert_gradients(function, x.transpose(0, 2, 1))


def test_flatten():
    x = normal(2, 3, 4, 5).transpose(0, 3, 1, 2)
    found = F.flatten(x, 1)
    np.testing.assert_array_equal(found.data, x.reshape(2, -1))
    assert F.flatten(x).shape == (120,)
    assert_gradients(lambda x: F.flatten(x, 1, 2), x)


# ---------------------------------------------------------------------------------------------------- batch norm


def test_running_statistics_move_by_the_unbiased_variance():
    x = normal(5, 3, 2, 2)
    mean, var = Tensor(normal(3, seed=1)), Tensor(normal(3, seed=2) ** 2)
    expected_mean = 0.7 * mean.data + 0.3 * x.mean(axis=(0, 2, 3))
    expected_var = 0.7 * var.data + 0.3 * x.var(axis=(0, 2, 3), ddof=1)
    memory = mean.data, var.data
    F.batch_norm(x, mean, var, training=True, momentum=0.3)
    np.testing.assert_allclose(mean.data, expected_mean, rtol=1e-12)
    np.testing.assert_allclose(var.data, expected_var, rtol=1e-12)
    assert mean.data is memory[0]
    assert var.data is memory[1]
    F.batch_norm(x, mean, var, training=False)
    np.testing.assert_allclose(mean.data, expected_mean, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_running_statistic_may_be_alone_and_a_view(dtype):
    x = normal(5, 3, 2, 2).astype(dtype)
    batch = {
        "running_mean": x.astype(float).mean(axis=(0, 2, 3)),
        "running_var": x.astype(float).var((0, 2, 3), ddof=1),
    }
    for name, value in batch.items():
        every = np.ones(6, dtype)
        averages = {"running_mean": None, "running_var": None, name: every[::-2]}
        F.batch_norm(x, **averages, training=True, momentum=0.25)
        np.testing.assert_allclose(every[::-2], 0.75 + 0.25 * value, rtol=2 * np.finfo(dtype).eps)
        assert every[::2].tolist() == [1, 1, 1]


def test_a_running_statistic_that_cannot_be_written_is_refused_before_the_other_moves():
    mean, var = np.zeros(3), np.ones(3)
    var.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        F.batch_norm(normal(5, 3), mean, var, training=True)
    assert not mean.any()


def test_the_gradient_uses_the_statistics_of_its_own_forward():
    mean, var = np.zeros(2), np.ones(2)
    x = Tensor(normal(4, 2), requires_grad=True)
    y = F.batch_norm(x, mean, var)
    F.batch_norm(10 + 5 * normal(4, 2), mean, var, training=True)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.data, np.full((4, 2), 1 / np.sqrt(1 + 1e-5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input": np.ones((1, 3, 1, 1))}, "one value per channel; training needs more than one"),
        ({"weight": np.ones(2)}, r"weight has shape \(2,\)"),
        ({"bias": np.ones(3, np.float32)}, "bias has dtype float32"),
        ({"running_var": np.ones(4)}, r"running_var has shape \(4,\)"),
        ({"eps": -1}, "eps=-1"),
        ({"input": np.ones(3)}, r"input has shape \(3,\)"),
        ({"training": False, "running_var": None}, "needed unless training=True"),
    ],
)
def test_batch_norm_refuses_and_forgets_nothing(arguments, message):
    mean = np.zeros(3)
    given = {"input": np.ones((2, 3)), "running_mean": mean, "running_var": np.ones(3), "training": True, **arguments}
    with pytest.raises((TypeError, ValueError), match=f"batch_norm: .*{message}"):
        F.batch_norm(**given)
    assert not mean.any()


# --------------------------------------------------------------------------------------------------------- dropout


def test_dropout_keeps_the_expectation():
    manual_seed(0)
    p, count = 0.3, 100_000
    found = F.dropout(np.ones(count), p).data
    kept = np.count_nonzero(found)
    assert set(found.tolist()) == {0.0, 1 / 0.7}
    assert abs(kept - (1 - p) * count) < 5 * np.sqrt(p * (1 - p) * count)


def test_dropout_follows_the_seed():
    def draw():
        manual_seed(3)
        return F.dropout(np.ones((4, 5, 6)), 0.5).data

    np.testing.assert_array_equal(draw(), draw())
    assert not np.array_equal(draw(), F.dropout(np.ones((4, 5, 6)), 0.5).data)


def test_the_gradient_of_dropout_passes_where_the_value_did():
    x = Tensor(np.ones((2, 3, 4, 5)).transpose(0, 3, 1, 2), requires_grad=True)
    y = F.dropout(x, 0.5)
    assert y.data.strides == x.data.strides
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)


def test_dropout_of_nothing_and_of_everything():
    x = Tensor(normal(3, 4), requires_grad=True)
    assert F.dropout(x, 0) is x
    assert F.dropout(x, 0.5, training=False) is x
    y = F.dropout(x, 1)
    y.sum().backward()
    assert not y.data.any()
    assert not x.grad.data.any()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "half", None])
def test_dropout_refuses(p):
    with pytest.raises(ValueError, match=r"dropout: p=.* must be a probability"):
        F.dropout(np.ones(3), p)


def test_dropout_needs_floats():
    with pytest.raises(TypeError, match="dropout: input has dtype int64"):
        F.dropout(np.ones(3, np.int64))


# --------------------------------------------------------------------------------- what is kept, and what is not


def image(requires_grad=False, seed=0):
    """A channels-last float32 image."""
    array = normal(2, 6, 6, 3, seed=seed).astype(np.float32).transpose(0, 3, 1, 2)
    return Tensor(array.copy(order="K"), requires_grad)


def filters(requires_grad):
    return Tensor(normal(4, 3, 3, 3).astype(np.float32), requires_grad)


def kept(array, result):
    """Whether an array lives on when only `result`, and the node behind it, do."""
    assert result is not None
    return array() is not None


@pytest.mark.parametrize("frozen", [False, True])
def test_conv2d_keeps_its_input_for_its_weight_alone(frozen):
    x, w = image(), filters(not frozen)
    array = weakref.ref(x.data)
    y = F.conv2d(x, w, Tensor(np.zeros(4, np.float32), requires_grad=True))
    del x
    assert kept(array, y) == (not frozen)


@pytest.mark.parametrize("constant", [False, True])
def test_conv2d_keeps_its_weight_for_its_input_alone(constant):
    x, w = image(not constant), filters(requires_grad=False)
    array = weakref.ref(w.data)
    y = F.conv2d(x, w, Tensor(np.zeros(4, np.float32), requires_grad=True))
    del w
    assert kept(array, y) == (not constant)


def test_linear_keeps_its_input_for_its_weight_alone():
    for frozen in (False, True):
        x, w = Tensor(normal(2, 3)), Tensor(normal(4, 3), requires_grad=not frozen)
        array = weakref.ref(x.data)
        y = F.linear(x, w, Tensor(np.zeros(4), requires_grad=True))
        del x
        assert kept(array, y) == (not frozen)


@pytest.mark.parametrize(
    "operation",
    [
        F.relu,
        F.relu6,
        F.sigmoid,
        F.tanh,
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 2),
        F.dropout,
        lambda x: F.softmax(x, 1),
        lambda x: F.log_softmax(x, 1),
        lambda x: F.flatten(x, 1),
        lambda x: F.pad(x, (1, 1)),
        ck.exp,
        ck.sqrt,
        lambda x: x.sum(0),
        lambda x: x.mean((2, 3)),
        lambda x: x.max(1).values,
        lambda x: x[np.array([0, 0])],
        lambda x: ck.stack([x, x]),
    ],
    ids=[
        "relu",
        "relu6",
        "sigmoid",
        "tanh",
        "max_pool2d",
        "avg_pool2d",
        "dropout",
        "softmax",
        "log_softmax",
        "flatten",
        "pad",
        "exp",
        "sqrt",
        "sum",
        "mean",
        "max",
        "getitem",
        "stack",
    ],
)
def test_these_keep_no_input(operation):
    x = image(requires_grad=True) * 2
    array = weakref.ref(x.data)
    y = operation(x)
    del x
    assert not kept(array, y)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 2),
        F.dropout,
        F.elu,
        F.hardswish,
        lambda x: F.conv2d(x, filters(False)),
    ],
    ids=["max_pool2d", "avg_pool2d", "dropout", "elu", "hardswish", "conv2d"],
)
def test_these_keep_no_output(operation):
    y = operation(image(requires_grad=True))
    z = y * 2
    array = weakref.ref(y.data)
    del y
    assert not kept(array, z)


def test_nothing_is_kept_under_no_grad():
    x, w = image(requires_grad=True), filters(requires_grad=True)
    array = weakref.ref(x.data)
    with no_grad():
        y = F.conv2d(x, w)
    del x
    assert y.is_leaf
    assert not kept(array, y)


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.conv2d([1], np.ones((1, 1, 1, 1))),
        lambda: F.conv2d(np.ones((1, 1, 1, 1)), None),
        lambda: F.linear(np.ones((1, 1)), "w"),
        lambda: F.relu([1.0]),
        lambda: F.max_pool2d(None, 2),
        lambda: F.avg_pool2d(None, 2),
        lambda: F.softmax(1.0, 0),
        lambda: F.batch_norm([1.0], None, None, training=True),
    ],
)
def test_what_is_no_array_is_refused_by_name(call):
    with pytest.raises(TypeError, match=r"\w+: (input|weight) must be a numpy.ndarray, not \w+"):
        call()
