"""Functions of one element or two: values and gradients, their edges, and what they refuse."""

import math
import warnings

import numpy as np
import pytest
from gradients import apart, assert_gradients

import convkit as ck
from convkit.autograd import Tensor, tensor


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# name: (function of one tensor, its values by the math module, where to look)
FUNCTIONS = {
    "abs": (ck.abs, abs, apart),
    "exp": (ck.exp, math.exp, None),
    "expm1": (ck.expm1, math.expm1, None),
    "log": (ck.log, math.log, "positive"),
    "log1p": (ck.log1p, math.log1p, "positive"),
    "sqrt": (ck.sqrt, math.sqrt, "positive"),
    "rsqrt": (ck.rsqrt, lambda x: 1 / math.sqrt(x), "positive"),
    "square": (ck.square, lambda x: x * x, None),
    "sin": (ck.sin, math.sin, None),
    "cos": (ck.cos, math.cos, None),
    "tan": (ck.tan, math.tan, "positive"),
    "neg": (ck.neg, lambda x: -x, None),
    "clamp": (lambda x: ck.clamp(x, -0.2, 0.5), lambda x: min(max(x, -0.2), 0.5), apart),
    "clamp from below": (lambda x: ck.clamp(x, min=0.1), lambda x: max(x, 0.1), apart),
    "clamp from above": (lambda x: ck.clamp(x, max=0.1), lambda x: min(x, 0.1), apart),
}


def inputs(where, *shape):
    if where is apart:
        return apart(np.random.default_rng(0), shape) + 0.003
    return np.abs(normal(*shape)) % 1 + 0.3 if where == "positive" else normal(*shape)


@pytest.mark.parametrize("shape", [(3, 4), (0, 2), ()])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, shape):
    function, plain, where = FUNCTIONS[name]
    x = np.asarray(inputs(where, *shape))
    expected = [plain(value) for value in x.ravel().tolist()]
    np.testing.assert_allclose(function(Tensor(x)).data.ravel(), expected, rtol=1e-14)
    np.testing.assert_allclose(function(x.astype(np.float32)).data.ravel(), expected, rtol=2e-6, atol=1e-6)
    assert function(x.astype(np.float32)).dtype == np.float32
    assert_gradients(function, x)


PAIRS = {
    "add": ck.add,
    "sub": ck.sub,
    "mul": ck.mul,
    "div": ck.div,
    "pow": lambda x, y: ck.pow(ck.exp(x), y),
    "maximum": ck.maximum,
    "minimum": ck.minimum,
    "where": lambda x, y: ck.where(np.arange(3) != 1, x, y),
}


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 3), (3,)), ((1, 3), (2, 1)), ((2, 3), ()), ((0, 3), (3,))])
@pytest.mark.parametrize("name", PAIRS)
def test_gradients_of_pairs(name, shapes):
    rng = np.random.default_rng(2)
    x, y = apart(rng, shapes[0]), apart(rng, shapes[1]) + (2 if name == "div" else 0.01)
    assert_gradients(PAIRS[name], x, y)


@pytest.mark.parametrize(
    "name", ["abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "sin", "cos", "tan", "neg"]
)
def test_functions_agree_with_pytorch_everywhere(name):
    """In value, dtype and gradient, at the edges of their domains too, and without a warning."""
    torch = pytest.importorskip("torch")
    edges = [-np.inf, -2.5, -1, -0.0, 0.0, 1e-30, 0.5, 1, 2.5, 700, np.inf, np.nan]
    for values in (np.array(edges), np.array(edges, np.float32), np.arange(5), np.arange(5, dtype=np.uint8)):
        theirs = torch.tensor(values, requires_grad=values.dtype.kind == "f")
        ours = Tensor(values, requires_grad=values.dtype.kind == "f")
        expected = getattr(torch, name)(theirs)
        for found in (getattr(ck, name)(ours), getattr(ours, name)()):
            assert found.dtype == expected.detach().numpy().dtype
            np.testing.assert_allclose(found.data, expected.detach().numpy(), rtol=1e-5)
        if values.dtype.kind == "f":
            found.sum().backward()
            expected.sum().backward()
            known = ~np.isnan(values)  # where PyTorch's abs has slope 0, and ours NaN
            np.testing.assert_allclose(ours.grad.data[known], theirs.grad.numpy()[known], rtol=1e-5)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "maximum", "minimum"])
def test_pairs_agree_with_pytorch_everywhere(name):
    torch = pytest.importorskip("torch")
    edges = np.array([-np.inf, -1.5, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan])
    ours = [Tensor(x, requires_grad=True) for x in (edges[:, None], edges)]
    theirs = [torch.tensor(x, requires_grad=True) for x in (edges[:, None], edges)]
    found, expected = getattr(ours[0], name)(ours[1]), getattr(torch, name)(*theirs)
    np.testing.assert_array_equal(found.data, expected.detach().numpy())
    start = np.ones((8, 8))
    found.backward(start)
    expected.backward(torch.tensor(start))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad.data, other.grad.numpy())


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_agree_with_numpy_and_have_no_gradient(name):
    x, y = Tensor(np.array([1.0, 2.0, np.nan]), requires_grad=True), np.array([[1.0], [3.0]])
    numpy_name = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater"}
    expected = getattr(np, numpy_name.get(name, "greater_equal"))(x.data, y)
    for found in (getattr(ck, name)(x, y), getattr(x, name)(y)):
        assert found.dtype == np.bool_
        assert found.is_leaf
        np.testing.assert_array_equal(found.data, expected)


def test_equal_elements_share_the_gradient():
    for function in (ck.maximum, ck.minimum):
        x, y = tensor([1.0, 2.0], requires_grad=True), tensor([1.0, 1.0], requires_grad=True)
        function(x, y).sum().backward()
        assert x.grad.data[0] == y.grad.data[0] == 0.5


def test_the_gradient_passes_at_the_bounds():
    x = tensor([0.0, 1.0, 1.5, np.nan], requires_grad=True)
    y = x.clamp(0, 1)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, np.float32([0, 1, 1, np.nan]))
    assert x.grad.data.tolist() == [1, 1, 0, 0]
    assert ck.clamp(np.array([-3, 5]), 0, 2).data.tolist() == [0, 2]
    assert ck.clamp(np.array([-3, 5]), 0, 2.5).dtype == np.float32
    assert ck.clamp(np.array([1.0]), 3, 2).data.tolist() == [2]


def test_what_was_not_chosen_gets_no_gradient():
    x = tensor([-1.0, 4.0], requires_grad=True)
    ck.where(x > 0, x, 0.0).sum().backward()
    assert x.grad.data.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("left", "right", "dtype"),
    [
        (np.zeros(2, np.float32), np.array(1.0), "float32"),
        (np.zeros(2, np.float32), np.float64(1), "float32"),
        (np.array(1.0), np.zeros(2, np.float32), "float32"),
        (np.zeros(2, np.int64), np.array(1.0), "float64"),
        (np.array(1), np.zeros(2, np.uint8), "uint8"),
        (np.array(1.0), np.float32([[2]]), "float32"),
        (np.array(1.0), np.array(np.float32(2)), "float64"),
        (np.array([True]), 1, "int64"),
        (np.array([True]), np.array([1], np.uint8), "uint8"),
    ],
)
def test_arrays_without_dimensions_give_way(left, right, dtype):
    found = Tensor(left) + right
    assert found.dtype == dtype
    torch = pytest.importorskip("torch")
    other = torch.tensor(right) if isinstance(right, np.ndarray) else right
    assert (torch.tensor(left) + other).numpy().dtype == dtype


def test_conversions():
    x = tensor(normal(3), requires_grad=True)
    assert x.to(np.float64) is x
    y = x.float()
    (y * y).sum().backward()
    assert (y.dtype, x.grad.dtype, y.double().dtype) == (np.float32, np.float64, np.float64)
    np.testing.assert_allclose(x.grad.data, 2 * x.data, rtol=1e-6)
    assert not x.to(np.int64).requires_grad
    assert (x > 0).float().dtype == np.float32
    copy = x.clone()
    assert not np.shares_memory(copy.data, x.data)
    assert_gradients(lambda x: ck.clone(x) * x, normal(3))
    with pytest.raises(TypeError, match="dtype must be float32"):
        x.to(np.float16)


def test_large_results_are_made_of_recycled_memory():
    x = Tensor(np.ones((4, 64, 32, 3), np.float32).transpose(0, 3, 1, 2), requires_grad=True)
    scale = Tensor(np.ones((3, 1, 1), np.float32))
    before = ck.memory_stats()["in_use"]
    results = [x * scale, scale - x, x.exp(), x / 2, x.maximum(scale)]
    assert ck.memory_stats()["in_use"] >= before + len(results) * x.data.nbytes
    assert all(result.data.strides == x.data.strides for result in results)
    assert (x > scale).dtype == np.bool_
    assert (x * np.float64([[[[1]]]])).dtype == np.float64


def test_the_articles_graph():
    """w3 = cos(x), w4 = sin(x), w5 = w3*w4, w6 = w1/w2, w7 = w5 + w6."""
    w1, w2, x = (tensor(value, dtype=np.float64, requires_grad=True) for value in (3.0, 4.0, 0.7))
    w3, w4 = ck.cos(x), ck.sin(x)
    w5, w6 = w3 * w4, w1 / w2
    w7 = w5 + w6
    assert w7.item() == pytest.approx(math.cos(0.7) * math.sin(0.7) + 0.75)
    names, nodes = [], [w7.grad_fn]
    for node in nodes:
        names.append(node.name)
        nodes.extend(target for target in node.targets if hasattr(target, "targets"))
    assert sorted(names) == ["add", "cos", "div", "mul", "sin"]
    w7.backward()
    assert x.grad.item() == pytest.approx(math.cos(2 * 0.7))
    assert (w1.grad.item(), w2.grad.item()) == (0.25, -3 / 16)


def test_nothing_warns_forward_or_back():
    x = Tensor(np.array([0.0, -1.0, 1e308, np.inf, np.nan]), requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = (x * 1e10 + x / 0 + x.log() + x.sqrt() + x.exp() + x.rsqrt() + 0.0**x) * x.mean() * x.std() * x.var()
        (y.sum() + y.logsumexp(0) + y.prod()).backward()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ck.exp([1.0]), TypeError, "exp: input must be a Tensor or numpy.ndarray, not list"),
        (lambda: ck.abs(None), TypeError, "abs: input must be a Tensor or numpy.ndarray, not NoneType"),
        (lambda: ck.log(np.ones(1, complex)), TypeError, "dtype must be float32, float64"),
        (lambda: ck.add(tensor([1.0]), "1"), TypeError, "add: a Tensor meets tensors, .* not str"),
        (lambda: ck.maximum(1.0, None), TypeError, "maximum: .* not NoneType"),
        (lambda: tensor([1.0]) * np.ones(1, np.float16), TypeError, "dtype must be float32, float64"),
        (lambda: tensor([1.0, 2]) - tensor([1.0] * 3), ValueError, r"sub: shapes \(2,\) and \(3,\) do not broadcast"),
        (lambda: tensor([1.0, 2]) < tensor([1.0] * 3), ValueError, r"lt: shapes \(2,\) and \(3,\) do not broadcast"),
        (lambda: ck.where(tensor([1]), 1.0, tensor([1.0])), TypeError, "where: condition has dtype int64"),
        (lambda: ck.where(np.ones(2, bool), tensor([1.0] * 3), 0), ValueError, r"where: shapes \(2,\) and \(3,\)"),
        (lambda: tensor([1.0]).clamp(), ValueError, "clamp: min and max are both None"),
        (lambda: tensor([1.0]).clamp(tensor([1.0])), TypeError, "clamp: min=.* must be a number"),
        (lambda: tensor([2]) ** -1, ValueError, "Integers to negative integer powers"),
    ],
)
def test_these_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
