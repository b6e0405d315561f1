"""Products of matrices: to the bit on integers, against loops; broadcasting, threads, the tape, and what is refused."""

import itertools

import numpy as np
import pytest
from cases import DTYPES, SETTLED, assert_exact, assert_same_bits, integers, reals
from gradients import assert_gradients

import convkit as ck
from convkit import ops
from convkit._threads import num_threads
from convkit.autograd import Tensor, tensor


def plain(a, b):
    """One product after the other, from the definition."""
    left, right = (a if a.ndim > 1 else a[None]), (b if b.ndim > 1 else b[:, None])
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left, right = (np.broadcast_to(x, stack + x.shape[-2:]) for x in (left, right))
    out = np.zeros((*stack, left.shape[-2], right.shape[-1]))
    for at in np.ndindex(*out.shape):
        *place, row, column = at
        out[at] = sum(x * y for x, y in zip(left[(*place, row)], right[(*place, slice(None), column)], strict=True))
    return out.reshape(stack + a.shape[-2:-1] * (a.ndim > 1) + b.shape[-1:] * (b.ndim > 1))


SHAPES = [
    ((3,), (3,)),
    ((3,), (3, 2)),
    ((3,), (4, 3, 2)),
    ((2, 3), (3,)),
    ((4, 2, 3), (3,)),
    ((1, 1), (1, 1)),
    ((5, 3), (3, 17)),
    ((2, 5, 3), (3, 4)),
    ((2, 5, 3), (2, 3, 4)),
    ((5, 3), (2, 3, 4)),
    ((2, 1, 2, 3), (3, 3, 4)),
    ((2, 0, 3), (3, 4)),
    ((2, 3), (3, 0)),
    ((2, 0), (0, 3)),
    ((0, 2, 3), (0, 3, 4)),
    ((0, 2, 3), (1, 3, 4)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul(shapes):
    rng = np.random.default_rng(0)
    a, b = (integers(rng, shape) for shape in shapes)
    answer = plain(a, b)
    for dtype, order in itertools.product(DTYPES, "CF"):
        left, right = (np.asarray(x.astype(dtype), order=order) for x in (a, b))
        assert_exact(ops.matmul(left, right), answer, dtype, f"matmul {shapes} {dtype.__name__} {order}")


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_gradients(shapes):
    rng = np.random.default_rng(1)
    assert_gradients(lambda x, y: x @ y, *(rng.standard_normal(shape) for shape in shapes))


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(2)
    a, b = reals(rng, (3, 65, 70), np.float32), reals(rng, (3, 70, 33), np.float32)
    results = {}
    for threads in SETTLED:
        with num_threads(threads):
            out = ops.matmul(a, b)
            results[threads] = (
                out,
                ops.matmul_backward_input(a.shape, b, out),
                ops.matmul_backward_other(a, b.shape, out),
                ops.matmul_backward_other(a, b.shape[1:], out),
            )
    assert_same_bits(results, "matmul")


def test_matmul_agrees_with_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 1, 4, 5)), rng.standard_normal((3, 5, 6))
    ours = [Tensor(x, requires_grad=True) for x in (a, b)]
    theirs = [torch.tensor(x, requires_grad=True) for x in (a, b)]
    found, expected = ck.matmul(*ours), torch.matmul(*theirs)
    np.testing.assert_allclose(found.data, expected.detach().numpy(), rtol=1e-12)
    found.sum().backward()
    expected.sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad.data, other.grad.numpy(), rtol=1e-12)


def test_arrays_on_the_left_and_integers():
    x = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (np.float32([1, 10]) @ x).sum().backward()
    assert x.grad.data.tolist() == [[1, 1], [10, 10]]
    assert (tensor([[1, 2]]) @ tensor([3, 4])).data.tolist() == [11]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.matmul(np.ones((2, 3)), np.ones((2, 3))), ValueError, r"matmul: input \(2, 3\) has 3 columns but"),
        (lambda: ops.matmul(np.ones(()), np.ones(2)), ValueError, "matmul: .* must have at least 1 axis"),
        (
            lambda: ops.matmul(np.ones((2, 1, 3)), np.ones((3, 3, 1))),
            ValueError,
            r"matmul: shapes \(2,\) and \(3,\) do not broadcast",
        ),
        (lambda: ops.matmul(np.ones(2), np.ones(2, np.float32)), TypeError, "matmul: other has dtype float32 but"),
        (lambda: ops.matmul([1.0], np.ones(1)), TypeError, "matmul: input must be a numpy.ndarray, not list"),
        (lambda: tensor([1.0]) @ 2.0, TypeError, "matmul: input must be a Tensor or numpy.ndarray, not float"),
        (lambda: tensor([[1]]) @ tensor([1, 2]), ValueError, "matmul: .* has 2 rows"),
        (lambda: tensor([1]) @ tensor([1.0]), TypeError, "matmul: input has dtype int64"),
        (
            lambda: ops.matmul_backward_input((2, 3), np.ones((3, 4)), np.ones((2, 3))),
            ValueError,
            r"matmul_backward_input: grad_output has shape \(2, 3\)",
        ),
        (
            lambda: ops.matmul_backward_other(np.ones((2, 3)), (3, 4), np.ones((2, 4), np.float32)),
            TypeError,
            "matmul_backward_other: grad_output has dtype float32",
        ),
    ],
)
def test_these_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
