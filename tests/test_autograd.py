"""The tape and the tensors on it."""

import gc
import threading
import weakref

import numpy as np
import pytest
from gradients import assert_gradients

from convkit.autograd import (
    Tensor,
    enable_grad,
    is_grad_enabled,
    no_grad,
    record,
    record_joint,
    tensor,
)


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


# ------------------------------------------------------------------------------------------------------ gradients

EXPRESSIONS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / (y * y + 1),
    "pow": lambda x, y: (x * x + 0.5) ** y,
    "neg": lambda x, y: -x * y,
    "numbers": lambda x, y: (2 - x) * 3 / (1 + y * y) + 2.0 ** (1 / (2 + x * x)) - 1,
    "array on the left": lambda x, y: np.array([1.0, 2.0, 3.0]) * x - np.ones(1) / (y * y + 1),
    "used twice": lambda x, y: x * x * y + x - y * x,
    "diamond": lambda x, y: (x + y) * (x - y) + (x + y) ** 2,
    "sum": lambda x, y: (x * y).sum(),
    "sum over a dim": lambda x, y: (x * y).sum(0) * x,
    "sum over dims": lambda x, y: (x * y).sum((0, -1), keepdim=True) * x,
    "mean": lambda x, y: (x * y).mean() * x,
    "mean over a dim": lambda x, y: (x * y).mean(-1, keepdim=True) * x,
    "reshape": lambda x, y: (x * y).reshape(-1) * 2,
    "reshape to a tuple": lambda x, y: (x * y).reshape((3, 2, -1)).sum(1),
    "flatten": lambda x, y: (x * y * y).flatten(),
}


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), (2, 1)), ((1, 3), (2, 1)), ((2, 3), ())])
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_gradients(name, shapes):
    rng = np.random.default_rng(1)
    assert_gradients(EXPRESSIONS[name], *(rng.standard_normal(shape) for shape in shapes))


def test_gradient_of_a_power_at_zero():
    x, y = tensor([0.0, 0.0], requires_grad=True), tensor([0.0, 2.0], requires_grad=True)
    (x**y).sum().backward()
    assert x.grad.data.tolist() == [0, 0]
    assert y.grad.data.tolist() == [0, 0]


def test_a_gradient_has_the_dtype_of_its_tensor():
    x, y = leaf(3, dtype=np.float32), leaf(3, dtype=np.float64)
    (x * y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


def test_gradients_add_up_from_call_to_call():
    x = leaf(3)
    for count in (1, 2, 3):
        (2 * x).sum().backward()
        assert np.array_equal(x.grad.data, np.full(3, 2.0 * count))


def test_gradients_share_no_memory():
    x, y, start = leaf(3), leaf(3), np.ones(3)
    (x + y).backward(start)
    x.grad.data[0] = 7
    assert (y.grad.data[0], start[0]) == (1, 1)


def test_gradients_can_be_written_to():
    x = leaf(2, 3)
    x.sum().backward()
    x.grad.data *= 2
    assert np.array_equal(x.grad.data, np.full((2, 3), 2.0))


def test_a_leaf_starts_from_itself():
    x = leaf(1)
    x.backward()
    assert x.grad.item() == 1


def test_a_gradient_is_complete_before_it_is_passed_on():
    calls = []

    def traced(name, x):
        return record(name, x.data, (x, lambda grad: (calls.append((name, float(grad))), grad)[1]))

    x = tensor(1.0, requires_grad=True)
    a = traced("a", x)
    b = traced("b", traced("c", a))
    (a + b + a * 3).backward()
    assert calls == [("b", 1), ("c", 1), ("a", 5)]
    assert x.grad.item() == 5


def test_nothing_is_computed_that_nobody_asked_for():
    def refuse(grad):
        raise AssertionError("this gradient is not needed")

    x, frozen = leaf(2), Tensor(np.ones(2))
    result = record("op", x.data, (x, lambda grad: grad), (frozen, refuse), (np.ones(2), refuse), (None, refuse))
    result.sum().backward()
    assert frozen.grad is None
    assert record("op", frozen.data, (frozen, refuse)).is_leaf


def test_joint_gradients_reach_those_who_need_them():
    x, frozen, y = leaf(2), Tensor(np.ones(2)), leaf(2)
    result = record_joint("op", x.data, (x, frozen, None, y), lambda grad: (grad, grad, grad, 3 * grad))
    result.sum().backward()
    assert (x.grad.data.tolist(), frozen.grad, y.grad.data.tolist()) == ([1, 1], None, [3, 3])
    assert record_joint("op", frozen.data, (frozen, None), lambda grad: (grad, grad)).is_leaf


def test_a_gradient_of_the_wrong_shape_is_refused():
    for wrong in (np.zeros(2), np.zeros(()), np.zeros((3, 2))):
        result = record("broken", np.zeros(3), (leaf(3), lambda grad, wrong=wrong: wrong))
        with pytest.raises(RuntimeError, match="broken made a gradient"):
            result.backward(np.ones(3))


# -------------------------------------------------------------------------------------------------------- backward


def test_backward_twice_is_refused():
    x = leaf(3)
    loss = (x * x).sum()
    loss.backward()
    before = x.grad.data.copy()
    with pytest.raises(RuntimeError, match=r"sum .* freed by an earlier backward; .* retain_graph=True"):
        loss.backward()
    assert np.array_equal(x.grad.data, before)


def test_a_shared_part_that_was_freed_changes_no_gradient():
    x, y = leaf(3), leaf(3)
    shared = x * x
    shared.sum().backward()
    x.grad = None
    with pytest.raises(RuntimeError, match="mul kept for its gradient was freed"):
        (shared + y).sum().backward()
    assert x.grad is None
    assert y.grad is None


def test_retain_graph():
    x = leaf(3)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    once = x.grad.data.copy()
    loss.backward()
    assert np.array_equal(x.grad.data, 2 * once)


def test_backward_says_what_it_misses():
    with pytest.raises(RuntimeError, match="requires no gradient"):
        Tensor(1.0).backward()
    with no_grad():
        hidden = leaf(1) * 2
    with pytest.raises(RuntimeError, match="no_grad"):
        hidden.backward()
    with pytest.raises(ValueError, match=r"shape \(3,\); pass gradient"):
        leaf(3).backward()
    with pytest.raises(ValueError, match=r"gradient has shape \(2,\), the tensor has \(3,\)"):
        leaf(3).backward(np.ones(2))


def test_a_failing_gradient_changes_nothing():
    def fail(grad):
        raise KeyboardInterrupt

    x, y = leaf(3), leaf(3)
    with pytest.raises(KeyboardInterrupt):
        (x * record("op", y.data, (y, fail))).sum().backward()
    assert x.grad is None


def test_long_chains_need_no_recursion():
    x = tensor(1.0, requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1


def test_long_chains_are_let_go_without_recursion():
    y = tensor(1.0, requires_grad=True)
    for _ in range(50_000):
        y = y + 1
    node = weakref.ref(y.data)
    del y
    assert node() is None


def test_memory_is_freed_on_the_way():
    x = leaf(3)
    y = x * 2
    loss = (y * y).sum()
    array = weakref.ref(y.data)
    del y
    assert array() is not None, "the square needs it"
    loss.backward()
    assert array() is None


def test_what_no_gradient_needs_is_freed_at_once():
    x = leaf(3)
    y = double(x)
    array = weakref.ref(y.data)
    z = double(y)
    del y
    assert array() is None
    z.sum().backward()
    assert np.array_equal(x.grad.data, np.full(3, 4.0))


def test_the_tape_makes_no_cycles():
    gc.collect()
    gc.disable()
    try:
        x = leaf(3)
        loss = ((x * 2).reshape(3, 1).mean() ** 2).sum()
        kept = weakref.ref(loss)
        del loss
        assert kept() is None
    finally:
        gc.enable()


def test_grad_and_requires_grad_check_what_they_are_given():
    x = leaf(3)
    with pytest.raises(TypeError, match="must be a Tensor or None"):
        x.grad = np.ones(3)
    for wrong in (Tensor(np.ones(2)), Tensor(np.ones(3, np.float32))):
        with pytest.raises(ValueError, match="does not fit"):
            x.grad = wrong
    with pytest.raises(RuntimeError, match="use detach"):
        (x * 2).requires_grad = False


def test_detach_shares_memory_and_stops_gradients():
    x = leaf(3)
    detached = (y := x * 2).detach()
    assert detached.data is y.data
    assert not detached.requires_grad
    (detached * x).sum().backward()
    assert np.array_equal(x.grad.data, y.data)


# ------------------------------------------------------------------------------------------------- recording or not


def test_no_grad_and_enable_grad_nest():
    x = leaf(1)
    switch = no_grad()
    with switch:
        assert not is_grad_enabled()
        assert (x * 2).is_leaf
        with enable_grad():
            assert (x * 2).requires_grad
            with switch:
                assert not is_grad_enabled()
            assert is_grad_enabled()
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_an_exception_restores_the_mode():
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert is_grad_enabled()


def test_the_switches_are_decorators():
    @no_grad()
    def predict(depth):
        """Predict."""
        return (is_grad_enabled(), *(predict(depth - 1) if depth else ()))

    assert predict(2) == (False, False, False)
    assert predict.__doc__ == "Predict."
    assert is_grad_enabled()


def test_the_mode_belongs_to_a_thread():
    found = []
    with no_grad():
        thread = threading.Thread(target=lambda: found.append(is_grad_enabled()))
        thread.start()
        thread.join()
    assert found == [True]


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
