"""The activations, softmax, log_softmax and their backward passes, against float64 answers and exact ones."""

import itertools

import numpy as np
import pytest
import reference
from cases import (
    DTYPES,
    LAYOUTS,
    SETTLED,
    THREADS,
    around,
    assert_exact,
    assert_same_bits,
    denormals,
    integers,
    is_channels_last,
    keeps_denormals,
    reals,
    whole_buffer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from convkit import ops
from convkit._dispatch import tile_shape
from convkit._threads import num_threads

LANES = set().union(*(around(tile_shape(dtype)[1], (1, 2, 4)) for dtype in DTYPES))
SHAPES = [
    *((n,) for n in sorted(LANES)),
    (),
    (0,),
    (3, 0, 2),
    (2, 3),
    (2, 17, 5, 6),
    (3, 4, 5),
    (2, 3, 4, 5, 6),
]
SOFTMAXES = ["softmax", "log_softmax"]


# Every function of one element, with other arguments than by default.
ACTIVATIONS = {
    "relu": {},
    "relu6": {},
    "leaky_relu": {"negative_slope": 0.25},
    "elu": {"alpha": 1.5},
    "sigmoid": {},
    "tanh": {},
    "silu": {},
    "hardsigmoid": {},
    "hardswish": {},
    "softplus": {"beta": 2.0, "threshold": 5.0},
    "gelu": {},
    "gelu by tanh": {"approximate": "tanh"},
}
EXACT = ("relu", "relu6", "leaky_relu")  # of integers and quarters these are, too
TAKES_OUTPUT = ("relu", "relu6", "sigmoid", "tanh")


def value(api, name, x):
    return getattr(api, name.split()[0])(x, **ACTIVATIONS[name])


def gradient(api, name, g, v):
    return getattr(api, f"{name.split()[0]}_backward")(g, v, **ACTIVATIONS[name])


def taken(name, x):
    """What the gradient takes, exact to the dtype of `x`: the input, or the output."""
    return np.asarray(value(reference, name, x), x.dtype) if name in TAKES_OUTPUT else x


def assert_close(actual, answer, dtype, label):
    assert isinstance(actual, np.ndarray), label
    assert (actual.dtype, actual.shape) == (dtype, answer.shape), label
    limit = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(actual, answer, rtol=limit, atol=limit, err_msg=label)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_exact_activations(name, shape):
    rng = np.random.default_rng(0)
    x, g = rng.integers(-9, 10, shape).astype(float), integers(rng, shape)
    v = taken(name, x)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        label = f"{name} shape={shape} {dtype.__name__} threads={threads}"
        with num_threads(threads):
            assert_exact(value(ops, name, x.astype(dtype)), value(reference, name, x), dtype, label)
            result = gradient(ops, name, g.astype(dtype), v.astype(dtype))
        assert_exact(result, gradient(reference, name, g, v), dtype, f"{label}, backward")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - set(EXACT)))
def test_activations(name, shape):
    rng = np.random.default_rng(0)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        x, g = (np.asarray(size * rng.standard_normal(shape), dtype) for size in (3, 1))
        v = taken(name, x)
        label = f"{name} shape={shape} {dtype.__name__} threads={threads}"
        with num_threads(threads):
            assert_close(value(ops, name, x), value(reference, name, x), dtype, label)
            assert_close(gradient(ops, name, g, v), gradient(reference, name, g, v), dtype, f"{label}, backward")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_exact_activations_of_special_values(name, dtype):
    """A NaN stays one, and passes relu's gradient, within whole vectors as in the rest."""
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0], dtype)
    for x in (special, np.resize(special, 500)):
        assert_exact(value(ops, name, x), value(reference, name, x), dtype, name)
        v = taken(name, x)
        for g in (np.arange(1, x.size + 1).astype(dtype), np.full(x.size, np.inf, dtype)):
            assert_exact(gradient(ops, name, g, v), gradient(reference, name, g, v), dtype, f"{name}_backward")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if not name.startswith("gelu")])
def test_special_values_as_in_pytorch(name, dtype):
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, name.split()[0])
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 3.0, -3.0, 6.0, 1e30, -1e30, 700.0, -700.0, 95.0, -95.0]
    for x in (np.array(special, dtype), np.resize(np.array(special, dtype), 500)):
        leaf = torch.tensor(x, requires_grad=True)
        output = function(leaf, **ACTIVATIONS[name])
        output.backward(torch.ones_like(output))
        found = value(ops, name, x)
        tiny, close = np.finfo(dtype).tiny, {"rtol": 1e-6, "err_msg": name}
        answer = output.detach().numpy()
        np.testing.assert_allclose(found, answer, atol=1e3 * tiny, **close)
        assert np.array_equal(np.signbit(found[x == 0]), np.signbit(answer[x == 0]))
        grad = gradient(ops, name, np.ones_like(x), answer if name in TAKES_OUTPUT else x)
        told = ~np.isnan(x)  # at a NaN, PyTorch's gradients depend on its own vectors
        np.testing.assert_allclose(grad[told], leaf.grad.numpy()[told], atol=1e3 * tiny, **close)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_large_numbers(approximate, dtype):
    """The limits, also where a cube overflows. Of -inf it is -inf times 0."""
    x = np.resize(np.array([np.inf, -np.inf, 1e30, -1e30, 700, -700], dtype), 500)
    answer = np.resize(np.array([np.inf, np.nan, 1e30, 0, 700, 0], dtype), 500)
    np.testing.assert_array_equal(ops.gelu(x, approximate), answer)
    finite = np.isfinite(x)
    grad = ops.gelu_backward(np.ones_like(x), x, approximate)
    np.testing.assert_array_equal(grad[finite], np.where(x[finite] > 0, 1, 0))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_as_in_pytorch(approximate):
    """In float64: in float32 PyTorch's own error function is good to a few in the fourth digit."""
    torch = pytest.importorskip("torch")
    x = np.linspace(-6, 6, 1001)
    leaf = torch.tensor(x, requires_grad=True)
    output = torch.nn.functional.gelu(leaf, approximate=approximate)
    output.sum().backward()
    np.testing.assert_allclose(ops.gelu(x, approximate), output.detach().numpy(), rtol=1e-14, atol=1e-14)
    grad = ops.gelu_backward(np.ones_like(x), x, approximate)
    np.testing.assert_allclose(grad, leaf.grad.numpy(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["elu", "sigmoid", "tanh", "silu", "hardswish", "softplus", "gelu", "gelu by tanh"])
def test_gradient_at_a_nan_is_one(name, dtype):
    for size in (1, 500):
        nan, one = np.full(size, np.nan, dtype), np.ones(size, dtype)
        assert np.all(np.isnan(value(ops, name, nan)))
        assert np.all(np.isnan(gradient(ops, name, one, nan)))


def ulps(actual, exact):
    """Distance from the exact result in units of its last place; what underflows may be 0."""
    info = np.finfo(actual.dtype)
    magnitude = np.abs(exact)
    unit = np.exp2(np.floor(np.log2(np.maximum(magnitude, info.tiny)))) * info.eps
    return np.where((magnitude < info.tiny) & (actual == 0), 0, np.abs(actual - exact) / unit)


def all_magnitudes(dtype):
    """Numbers close together, and from the smallest to those whose exponential overflows, of both signs."""
    rng = np.random.default_rng(0)
    most = -np.log(np.finfo(dtype).tiny)
    magnitudes = np.exp(rng.uniform(np.log(np.finfo(dtype).tiny), np.log(2 * most), 100_000))
    edges = np.nextafter(np.log(2.0) * (np.arange(-40, 41) + 0.5), [[-np.inf], [0], [np.inf]]).ravel()
    dense = [np.linspace(-size, size, 100_001) for size in (1, 20, 1.01 * most)]
    return np.concatenate([*dense, edges, magnitudes, -magnitudes]).astype(dtype)


def normal_distribution(x):
    """P(X <= x) in extended precision: near 0 by its series, in the tail by Laplace's continued fraction."""
    a = np.abs(x)
    density = np.exp(-a * a / 2) / np.sqrt(8 * np.arctan(np.longdouble(1)))
    term = series = np.minimum(a, 2)
    for k in range(3, 90, 2):
        term = term * np.minimum(a, 2) ** 2 / k
        series = series + term
    fraction = np.maximum(a, 2)
    for k in range(200, 0, -1):
        fraction = np.maximum(a, 2) + k / fraction
    tail = np.where(a < 2, 0.5 - density * series, density / fraction)
    return np.where(x < 0, tail, 1 - tail)


# In extended precision where there is such a thing. Elsewhere the answers for float64 are its own, an ulp off.
WIDE = {
    "elu": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "sigmoid": lambda x: np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x))),
    "tanh": np.tanh,
    "softplus": lambda x: np.where(x > 20, x, np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))),
    "gelu": lambda x: x * normal_distribution(x),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WIDE)
def test_activations_are_within_four_ulps(name, dtype):
    x = all_magnitudes(dtype)[:: 7 if name == "gelu" else 1]  # whose answers take long
    error = ulps(getattr(ops, name)(x), WIDE[name](x.astype(np.longdouble)))
    worst = np.argmax(error)
    assert error[worst] <= 4, f"{name}({x[worst]!r}) is {error[worst]:.3g} ulp off"


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_elu_is_within_four_ulps(dtype):
    x = all_magnitudes(dtype)
    error = ulps(ops.elu_backward(np.ones_like(x), x), np.exp(np.minimum(x.astype(np.longdouble), 0)))
    worst = np.argmax(error)
    assert error[worst] <= 4, f"elu_backward at {x[worst]!r} is {error[worst]:.3g} ulp off"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("classes", "scale"), [(2, 10), (10, 10), (100, 25), (1000, 5), (30_000, 1)])
def test_softmax_is_within_four_ulps(classes, scale, dtype):
    """Along the lanes of vectors, and with a lane for each line."""
    x = dtype(scale) * reals(np.random.default_rng(0), (120_000 // classes, classes), dtype)
    wide = np.exp(x.astype(np.longdouble) - x.max(axis=1, keepdims=True))
    exact = wide / wide.sum(axis=1, keepdims=True)
    assert ulps(ops.softmax(x, 1), exact).max() <= 4
    assert ulps(ops.softmax(np.ascontiguousarray(x.T), 0), exact.T).max() <= 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "relu6"])
def test_denormals_pass_where_nothing_is_computed(name, dtype):
    x = denormals((500,), dtype)
    assert value(ops, name, x).tobytes() == x.tobytes()
    assert not np.any(value(ops, name, -x).view(f"u{x.itemsize}") << 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_results(dtype):
    """These are stored past the caches, and a rest of less than a vector is not."""
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, 2**24 // dtype().itemsize + 5).astype(dtype)
    g = np.arange(x.size).astype(dtype)
    for threads in (1, 2):
        with num_threads(threads):
            assert_exact(ops.relu(x), np.maximum(x, 0), dtype, "relu")
            assert_exact(ops.leaky_relu_backward(g, x, 0.5), np.where(x > 0, g, g / 2), dtype, "leaky_relu_backward")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 4, 3), (3, 4, 5)], ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_memory_orders_of_activations(name, shape, layout, dtype):
    """Any strides in; channels-last stays so, and neither the inputs nor their neighbours are written."""
    rng = np.random.default_rng(0)
    x, g = (LAYOUTS[layout](integers(rng, shape).astype(dtype)) for _ in range(2))
    output = LAYOUTS["channels-last"](value(reference, name, x).astype(dtype))
    v = output if name in TAKES_OUTPUT else LAYOUTS["channels-last"](x.copy())
    before = [whole_buffer(a) for a in (x, g, v)]
    for result, answer in (
        (value(ops, name, x), output),
        (gradient(ops, name, g, v), gradient(reference, name, g, v)),
    ):
        assert_exact(result, answer, dtype, f"{name} {shape} {layout} {dtype.__name__}")
        assert layout != "channels-last" or is_channels_last(result), f"strides {result.strides}"
        assert not any(np.shares_memory(result, a) for a in (x, g, v))
    assert [whole_buffer(a) for a in (x, g, v)] == before


def softmax_and_back(api, name, x, g, dim):
    output = getattr(api, name)(x, dim)
    return output, getattr(api, f"{name}_backward")(g, output, dim)


def check_softmax(name, shape, dim, dtype, scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    x, g = dtype(scale) * reals(rng, shape, dtype), reals(rng, shape, dtype)
    label = f"{name} shape={shape} dim={dim} {dtype.__name__} scale={scale} seed={seed}"
    output = getattr(ops, name)(x, dim)
    assert output.dtype == dtype
    limit = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        output, getattr(reference, name)(x, dim), rtol=limit * max(scale, 1), atol=limit, err_msg=label
    )
    grad = getattr(ops, f"{name}_backward")(g, output, dim)
    answer = getattr(reference, f"{name}_backward")(g, output, dim)
    assert grad.dtype == dtype
    np.testing.assert_allclose(grad, answer, rtol=limit, atol=limit * np.abs(g).max(), err_msg=label)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("shape", [(5, 10, 3), (1, 17, 1), (16, 1, 33)], ids=str)
def test_softmax(name, shape, dim, dtype):
    check_softmax(name, shape, dim, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e3])
def test_softmax_of_small_and_large_values(name, scale, dtype):
    check_softmax(name, (7, 10), 1, dtype, scale)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(SOFTMAXES),
    st.lists(st.integers(1, 20), min_size=1, max_size=4).map(tuple),
    st.sampled_from(DTYPES),
    st.integers(0, 99),
    st.data(),
)
def test_any_softmax(name, shape, dtype, seed, data):
    check_softmax(name, shape, data.draw(st.integers(-len(shape), len(shape) - 1)), dtype, seed=seed)


@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("shape", [(0, 5), (5, 0)], ids=str)
def test_empty_softmax(name, shape):
    x = np.empty(shape, np.float32)
    for result in softmax_and_back(ops, name, x, x, 1):
        assert result.shape == shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SOFTMAXES)
def test_softmax_of_special_values(name, dtype):
    """The impossible stays so, what is certain too; NaN, Inf and rows of nothing but -Inf give NaN."""
    inf, nan = np.inf, np.nan
    x = np.array([[0, -inf, 0], [-inf, 5, -inf], [1e30, 0, -1e30], [nan, 0, 0], [inf, 0, 0], [-inf] * 3], dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        answer = getattr(reference, name)(x, 1)
    np.testing.assert_allclose(getattr(ops, name)(x, 1), answer, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SOFTMAXES)
def test_memory_orders_of_softmax(name, layout, dtype):
    rng = np.random.default_rng(0)
    x, g = (LAYOUTS[layout](reals(rng, (3, 5, 4), dtype)) for _ in range(2))
    before = [whole_buffer(a) for a in (x, g)]
    for dim in range(3):
        answers = softmax_and_back(reference, name, x, g, dim)
        for result, answer in zip(softmax_and_back(ops, name, x, g, dim), answers, strict=True):
            np.testing.assert_allclose(result, answer, rtol=0, atol=64 * np.finfo(dtype).eps)
            assert not np.shares_memory(result, x)
            assert not np.shares_memory(result, g)
    assert [whole_buffer(a) for a in (x, g)] == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(dtype):
    rng = np.random.default_rng(0)
    x, g = reals(rng, (64, 40, 300), dtype), reals(rng, (64, 40, 300), dtype)
    results = {}
    for threads, again in itertools.product(SETTLED, ("", ", again")):
        with num_threads(threads):
            arrays = [value(ops, name, x) for name in ACTIVATIONS]
            arrays += [gradient(ops, name, g, x) for name in ACTIVATIONS]
            for name, dim in itertools.product(SOFTMAXES, (0, 1, 2)):
                arrays += softmax_and_back(ops, name, x, g, dim)
        results[f"threads={threads}{again}"] = arrays
    assert_same_bits(results, dtype.__name__)


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormal_mode_stays_the_callers(dtype):
    x = denormals((5, 7), dtype)
    for name in ACTIVATIONS:
        value(ops, name, x)
        gradient(ops, name, x, np.ones_like(x))
    for name in SOFTMAXES:
        softmax_and_back(ops, name, x, x, 1)
    assert keeps_denormals(x)
