"""The tape: gradients, what backward keeps and frees, and when anything is recorded."""

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
