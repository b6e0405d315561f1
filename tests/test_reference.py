"""The references against PyTorch, where it is installed: a wrong answer would bless a wrong kernel."""

import itertools

import numpy as np
import pytest
import reference

torch = pytest.importorskip("torch")
F = torch.nn.functional

CONVS = [
    {"shape": (2, 4, 7, 9), "weight": (6, 4, 3, 3)},
    {"shape": (2, 4, 7, 9), "weight": (6, 4, 3, 2), "stride": (2, 3), "padding": (1, 0)},
    {"shape": (1, 4, 9, 9), "weight": (6, 2, 3, 3), "stride": 2, "padding": 2, "groups": 2},
    {"shape": (2, 3, 8, 7), "weight": (6, 1, 2, 3), "padding": 4, "groups": 3},
    {"shape": (2, 3, 9, 10), "weight": (4, 3, 3, 2), "dilation": (2, 3), "padding": (2, 1)},
    {"shape": (2, 3, 6, 7), "weight": (4, 3, 2, 4), "padding": "same"},
    {"shape": (2, 3, 9, 9), "weight": (4, 3, 2, 3), "padding": "same", "dilation": 3},
    {"shape": (2, 3, 6, 7), "weight": (4, 3, 1, 1), "padding": "valid", "stride": 3},
    {"shape": (0, 3, 6, 7), "weight": (4, 3, 3, 3)},
]
TRANSPOSED = [
    {"shape": (2, 4, 5, 6), "weight": (4, 3, 3, 3)},
    {"shape": (2, 4, 5, 6), "weight": (4, 3, 4, 3), "stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)},
    {"shape": (1, 4, 3, 4), "weight": (4, 3, 2, 3), "dilation": (3, 2), "output_padding": (2, 1), "padding": 1},
    {"shape": (2, 6, 3, 4), "weight": (6, 2, 3, 3), "stride": 2, "groups": 3},
    {"shape": (0, 3, 6, 7), "weight": (3, 4, 3, 3)},
]
POOLS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    {"kernel_size": (2, 5), "stride": (2, 4), "padding": (1, 2), "ceil_mode": True},
    {"kernel_size": 8, "stride": 4, "padding": 4, "ceil_mode": True},
]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def leaf(array):
    return torch.tensor(array, requires_grad=True)


def agree(answer, tensor):
    assert answer.shape == tuple(tensor.shape)
    np.testing.assert_allclose(answer, tensor.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("case", CONVS, ids=str)
def test_conv2d(rng, case):
    options = {name: value for name, value in case.items() if name not in ("shape", "weight")}
    x, w = rng.standard_normal(case["shape"]), rng.standard_normal(case["weight"])
    b = rng.standard_normal(len(w))
    tx, tw, tb = leaf(x), leaf(w), leaf(b)
    output = F.conv2d(tx, tw, tb, **options)
    agree(reference.conv2d(x, w, b, **options), output)
    g = rng.standard_normal(output.shape)
    output.backward(torch.tensor(g))
    agree(reference.conv2d_backward_input(x.shape, w, g, **options), tx.grad)
    agree(reference.conv2d_backward_weight(x, w.shape, g, **options), tw.grad)
    agree(reference.conv2d_backward_bias(g), tb.grad)


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_conv_transpose2d(rng, case):
    options = {name: value for name, value in case.items() if name not in ("shape", "weight")}
    x, w = rng.standard_normal(case["shape"]), rng.standard_normal(case["weight"])
    b = rng.standard_normal(w.shape[1] * options.get("groups", 1))
    tx, tw, tb = leaf(x), leaf(w), leaf(b)
    output = F.conv_transpose2d(tx, tw, tb, **options)
    agree(reference.conv_transpose2d(x, w, b, **options), output)
    g = rng.standard_normal(output.shape)
    output.backward(torch.tensor(g))
    agree(reference.conv_transpose2d_backward_input(x.shape, w, g, **options), tx.grad)
    agree(reference.conv_transpose2d_backward_weight(x, w.shape, g, **options), tw.grad)


@pytest.mark.parametrize("dilation", [1, 2, (1, 2)])
@pytest.mark.parametrize("case", POOLS, ids=str)
def test_max_pool2d(rng, case, dilation):
    x = rng.integers(-3, 4, (2, 3, 15, 16)).astype(float)  # small integers: ties in most windows
    x[0, 1, 3:6, 4:7:2] = np.nan
    tx = leaf(x)
    output = F.max_pool2d(tx, **case, dilation=dilation)
    agree(reference.max_pool2d(x, **case, dilation=dilation), output)
    g = rng.standard_normal(output.shape)
    output.backward(torch.tensor(g))
    agree(reference.max_pool2d_backward(g, x, **case, dilation=dilation), tx.grad)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_sizes_of_ceil_mode(rng, size):
    x = rng.standard_normal((1, 1, size, 6))
    for kernel, stride, padding in itertools.product([1, 2, 3], [1, 2, 3, 4], [0, 1]):
        if padding <= kernel // 2 and size + 2 * padding >= kernel:
            options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": True}
            agree(reference.max_pool2d(x, **options), F.max_pool2d(torch.tensor(x), **options))


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("case", POOLS, ids=str)
def test_avg_pool2d(rng, case, count_include_pad):
    options = dict(case, count_include_pad=count_include_pad)
    x = rng.standard_normal((2, 3, 10, 11))
    tx = leaf(x)
    output = F.avg_pool2d(tx, **options)
    agree(reference.avg_pool2d(x, **options), output)
    g = rng.standard_normal(output.shape)
    output.backward(torch.tensor(g))
    agree(reference.avg_pool2d_backward(g, x.shape, **options), tx.grad)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 2)], ids=str)
def test_batch_norm(rng, shape, training):
    x, g = rng.standard_normal(shape) + 2, rng.standard_normal(shape)
    w, b = rng.standard_normal((2, shape[1]))
    mean, var = reference.batch_norm_stats(x) if training else (w + 1, np.abs(b) + 0.5)
    tx, tw, tb = leaf(x), leaf(w), leaf(b)
    running = (None, None) if training else (torch.tensor(mean), torch.tensor(var))
    output = F.batch_norm(tx, *running, tw, tb, training=training, eps=1e-3)
    agree(reference.batch_norm(x, mean, var, w, b, eps=1e-3), output)
    output.backward(torch.tensor(g))
    grads = reference.batch_norm_backward(g, x, mean, var, w, eps=1e-3, training=training)
    for answer, tensor in zip(grads, (tx, tw, tb), strict=True):
        agree(answer, tensor.grad)


@pytest.mark.parametrize("norm_type", [1, 2, 3, 2.5, 0.5])
@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"stride": (2, 3), "ceil_mode": True}], ids=str)
def test_lp_pool2d(rng, norm_type, options):
    x = np.abs(rng.standard_normal((2, 3, 6, 7)))
    if norm_type == 2:
        x[0], x[1, 0] = -x[0], 0  # where the norm is 0, PyTorch's gradient is too
    tx = leaf(x)
    output = F.lp_pool2d(tx, norm_type, (3, 2), **options)
    answer = reference.lp_pool2d(x, norm_type, (3, 2), **options)
    agree(answer, output)
    g = rng.standard_normal(output.shape)
    output.backward(torch.tensor(g))
    agree(reference.lp_pool2d_backward(g, x, answer, norm_type, (3, 2), **options), tx.grad)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)], ids=str)
def test_linear(rng, shape):
    x, w, b = rng.standard_normal(shape), rng.standard_normal((4, 5)), rng.standard_normal(4)
    tx, tw, tb = leaf(x), leaf(w), leaf(b)
    output = F.linear(tx, tw, tb)
    agree(reference.linear(x, w, b), output)
    g = rng.standard_normal(output.shape)
    output.backward(torch.tensor(g))
    agree(reference.linear_backward_input(x.shape, w, g), tx.grad)
    agree(reference.linear_backward_weight(x, w.shape, g), tw.grad)
    agree(reference.linear_backward_bias(g), tb.grad)


def test_relu(rng):
    x = np.array([-np.inf, -1.0, 0.0, 1.0, np.inf, np.nan])
    tx = leaf(x)
    output = F.relu(tx)
    agree(reference.relu(x), output)
    g = rng.standard_normal(x.shape)
    output.backward(torch.tensor(g))
    agree(reference.relu_backward(g, reference.relu(x)), tx.grad)


@pytest.mark.parametrize(
    ("name", "arguments", "takes"),
    [
        ("relu6", {}, "output"),
        ("leaky_relu", {"negative_slope": 0.3}, "input"),
        ("elu", {"alpha": 2.0}, "input"),
        ("sigmoid", {}, "output"),
        ("tanh", {}, "output"),
        ("silu", {}, "input"),
        ("hardswish", {}, "input"),
        ("softplus", {}, "input"),
        ("softplus", {"beta": 2.0, "threshold": 3.0}, "input"),
        ("gelu", {}, "input"),
        ("gelu", {"approximate": "tanh"}, "input"),
    ],
)
def test_activations(rng, name, arguments, takes):
    x = np.concatenate([5 * rng.standard_normal(50), [-6.0, -3.0, 0.0, 3.0, 6.0]])
    tx = leaf(x)
    output = getattr(F, name)(tx, **arguments)
    answer = getattr(reference, name)(x, **arguments)
    agree(answer, output)
    g = rng.standard_normal(x.shape)
    output.backward(torch.tensor(g))
    agree(getattr(reference, f"{name}_backward")(g, answer if takes == "output" else x, **arguments), tx.grad)


def test_hardsigmoid(rng):
    """PyTorch's gradient has a sixth in float32, whatever the dtype."""
    x = np.concatenate([5 * rng.standard_normal(50), [-3.0, 0.0, 3.0]])
    tx = leaf(x)
    output = F.hardsigmoid(tx)
    agree(reference.hardsigmoid(x), output)
    output.sum().backward()
    np.testing.assert_allclose(reference.hardsigmoid_backward(np.ones_like(x), x), tx.grad.numpy(), rtol=1e-7)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_softmax(rng, name, dim):
    x = 5 * rng.standard_normal((3, 4, 5))
    tx = leaf(x)
    output = getattr(F, name)(tx, dim)
    answer = getattr(reference, name)(x, dim)
    agree(answer, output)
    g = rng.standard_normal(x.shape)
    output.backward(torch.tensor(g))
    agree(getattr(reference, f"{name}_backward")(g, answer, dim), tx.grad)
