"""Tensors: their values, and what operators make of them."""

import numpy as np
import pytest

from convkit.autograd import Tensor, record, tensor


def leaf(*shape, dtype=np.float64, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


def double(x):
    """An operation of our own."""
    return record("double", 2 * x.data, (x, lambda grad: 2 * grad))


# --------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, np.float32),
        ([1, 2], np.int64),
        ([[1.0, 2]], np.float32),
        (True, np.bool_),
        (np.zeros(2), np.float64),
        (np.float64(1), np.float64),
        (Tensor(np.zeros(2)), np.float64),
        (np.zeros(2, np.uint8), np.uint8),
        (np.zeros(2, ">f4"), np.float32),
        (np.zeros(2, ">i2"), np.int16),
    ],
)
def test_dtype_comes_from_the_data(data, dtype):
    x = tensor(data)
    assert x.dtype == dtype
    assert x.dtype.isnative
    assert np.array_equal(x.data, np.asarray(data))


@pytest.mark.parametrize("data", [1j, "text", None, np.zeros(1, np.float16), np.zeros(1, "M8[s]"), [1, "a"]])
def test_other_dtypes_are_refused(data):
    with pytest.raises(TypeError, match="dtype must be float32, float64"):
        Tensor(data)


def test_dtype_is_converted_when_asked():
    assert tensor([1, 2], dtype=np.float64).dtype == np.float64
    assert tensor(np.zeros(1, np.float16), dtype=np.float32).dtype == np.float32


def test_tensor_copies_and_the_class_does_not():
    array = np.zeros(3)
    shared, copied = Tensor(array), tensor(array)
    array[0] = 1
    assert shared.data is array
    assert copied.data[0] == 0
    learned = shared.requires_grad_()
    assert Tensor(learned).data is array
    assert not np.shares_memory(tensor(learned).data, array)
    assert not Tensor(learned).requires_grad


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_integers_have_no_gradient(dtype):
    with pytest.raises(TypeError, match="only float32 and float64 have gradients"):
        Tensor(np.zeros(2, dtype), requires_grad=True)
    with pytest.raises(TypeError, match="only float32 and float64 have gradients"):
        Tensor(np.zeros(2, dtype)).requires_grad_()


def test_shape_and_size():
    x = Tensor(np.zeros((2, 3, 4)))
    assert (x.shape, x.size(), x.size(-1), x.ndim, x.numel(), len(x)) == ((2, 3, 4), (2, 3, 4), 4, 3, 24, 2)


def test_one_element_becomes_a_number():
    assert Tensor([[2.5]]).item() == 2.5
    assert (float(Tensor(2.5)), int(Tensor(2)), bool(Tensor([0.0]))) == (2.5, 2, False)
    with pytest.raises(ValueError, match=r"item: .* shape \(2,\)"):
        Tensor([1.0, 2.0]).item()
    with pytest.raises(ValueError, match="one element"):
        bool(Tensor([1.0, 2.0]) == 1)


def test_numpy_takes_only_what_has_no_gradient():
    x = leaf(3)
    for convert in (Tensor.numpy, np.asarray):
        with pytest.raises(RuntimeError, match="detach"):
            convert(x)
        assert convert(x.detach()) is not None
    assert x.detach().numpy() is x.data
    assert np.asarray(x.detach(), np.float32).dtype == np.float32


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (Tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (Tensor([1, 2]), "tensor([1, 2])"),
        (Tensor(1.0, requires_grad=True), "tensor(1., requires_grad=True)"),
        (Tensor(np.ones(1)), "tensor([1.], dtype=float64)"),
        (Tensor(1.0, requires_grad=True) + 1, "tensor(2., grad_fn=<add>)"),
        (Tensor([[1.0], [2.0]]), "tensor([[1.],\n        [2.]])"),
    ],
)
def test_repr(x, text):
    assert repr(x) == text


OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@pytest.mark.parametrize("b", ["float32", "float64", "int64", "uint8", 2, 2.5], ids=str)
@pytest.mark.parametrize("a", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_agree_with_pytorch_in_value_and_dtype(operator, a, b):
    torch = pytest.importorskip("torch")
    apply = OPERATORS[operator]
    left = np.array([[1], [2], [3]]).astype(a)
    right = np.array([3, 2, 1]).astype(b) if isinstance(b, str) else b
    ours = [Tensor(x) if isinstance(x, np.ndarray) else x for x in (left, right)]
    theirs = [torch.tensor(x) if isinstance(x, np.ndarray) else x for x in (left, right)]
    for ours_pair, theirs_pair in ((ours, theirs), (ours[::-1], theirs[::-1])):
        found, expected = apply(*ours_pair), apply(*theirs_pair).numpy()
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found.data, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("left", "right", "dtype"),
    [
        ("float32", 2, "float32"),
        ("float32", 2.5, "float32"),
        ("float32", "int64", "float32"),
        ("float64", 2.5, "float64"),
        ("float64", "float32", "float64"),
        ("int64", 2.5, "float32"),
        ("int64", 2, "int64"),
        ("uint8", 2, "uint8"),
    ],
)
def test_numbers_adapt_to_tensors_and_integers_to_floats(left, right, dtype):
    a = Tensor(np.array([3], left))
    b = Tensor(np.array([2], right)) if isinstance(right, str) else right
    value = 2 if isinstance(right, str) else right
    for found, expected in ((a + b, 3 + value), (b * a, 3 * value)):
        assert found.dtype == dtype
        assert found.item() == expected
    assert (a / b).dtype == (dtype if "float" in dtype else "float32")


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_array_or_numpy_scalar_on_the_left_gives_a_tensor(operator):
    apply, values = OPERATORS[operator], np.array([1.0, 2.0])
    for left in (values, np.float64(2)):
        result = apply(left, Tensor(values))
        assert type(result) is Tensor
        assert np.array_equal(result.data, apply(left, values))


def test_operators_refuse_what_is_no_number():
    with pytest.raises(TypeError, match="not str"):
        Tensor([1.0]) + "1"
    with pytest.raises(TypeError, match="not list"):
        [1] * Tensor([1.0])
    assert (Tensor([1.0]) == "1") is False
    assert (Tensor([1.0]) != None) is True  # noqa: E711


def test_results_keep_the_memory_order_of_their_operands():
    x = Tensor(np.zeros((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2), requires_grad=True)
    scale = Tensor(np.ones((3, 1, 1), np.float32), requires_grad=True)
    for result in (x + x, 2 * x, x * scale, -x, x**2, x / 3):
        assert result.data.strides == x.data.strides
    (x * scale).backward(np.ones_like(x.data))
    assert x.grad.data.strides == x.data.strides


# ------------------------------------------------------------------------------------------- reductions and shapes


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [None, 0, -1, (0, 2)])
def test_reductions_agree_with_numpy(dim, keepdim):
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    np.testing.assert_allclose(Tensor(x).sum(dim, keepdim).data, x.sum(axis=dim, keepdims=keepdim))
    np.testing.assert_allclose(Tensor(x).mean(dim, keepdim).data, x.mean(axis=dim, keepdims=keepdim))


def test_mean_needs_floats():
    with pytest.raises(TypeError, match="mean: needs float32 or float64, this is int64"):
        Tensor([1, 2]).mean()


@pytest.mark.parametrize(
    ("shape", "arguments", "flat"),
    [
        ((2, 3, 4), (), (24,)),
        ((2, 3, 4), (1,), (2, 12)),
        ((2, 3, 4), (0, 1), (6, 4)),
        ((), (), (1,)),
        ((0, 3), (1,), (0, 3)),
    ],
)
def test_flatten(shape, arguments, flat):
    x = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)
    found = Tensor(x).flatten(*arguments)
    assert found.shape == flat
    assert np.array_equal(found.data.ravel(), x.ravel())


def test_flatten_follows_the_logical_order():
    x = np.arange(24.0).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2)
    assert np.array_equal(Tensor(x).flatten().data, x.ravel())


@pytest.mark.parametrize(
    ("arguments", "message"), [((3,), "start_dim=3"), ((0, -4), "end_dim=-4"), ((2, 1), "comes after")]
)
def test_flatten_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Tensor(np.zeros((2, 3, 4))).flatten(*arguments)
