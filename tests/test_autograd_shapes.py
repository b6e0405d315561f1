"""Shapes, joining and indexing: values and gradients, views, memory order, and what they refuse."""

import numpy as np
import pytest
from gradients import assert_gradients

import convkit as ck
from convkit.autograd import Tensor, tensor


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def channels_last(*shape):
    images, channels, rows, cols = shape
    return normal(images, rows, cols, channels).transpose(0, 3, 1, 2)


# name: (the function, what NumPy makes of it)
CHANGES = {
    "reshape": (lambda x: ck.reshape(x, (4, -1)), lambda x: x.reshape(4, -1)),
    "reshape by numbers": (lambda x: ck.tensor(0.0) + x.reshape(6, 4), lambda x: x.reshape(6, 4)),
    "view": (lambda x: (x * 1).view(-1), lambda x: x.reshape(-1)),
    "flatten": (lambda x: ck.flatten(x, 1), lambda x: x.reshape(2, -1)),
    "transpose": (lambda x: ck.transpose(x, 0, -1), lambda x: x.swapaxes(0, -1)),
    "permute": (lambda x: ck.permute(x, (2, 0, -2)), lambda x: x.transpose(2, 0, 1)),
    "permute by numbers": (lambda x: (x * 1).permute(1, 0, 2), lambda x: x.transpose(1, 0, 2)),
    "T": (lambda x: (x * 1).T, lambda x: x.T),
    "unsqueeze": (lambda x: ck.unsqueeze(x, -1), lambda x: x[..., None]),
    "squeeze": (lambda x: ck.squeeze(ck.reshape(x, 1, 24, 1)), lambda x: x.reshape(24)),
    "squeeze one": (lambda x: ck.squeeze(ck.reshape(x, 1, 24, 1), -1), lambda x: x.reshape(1, 24)),
    "squeeze what is larger": (lambda x: ck.squeeze(x, (0, 1)), lambda x: x),
    "broadcast_to": (lambda x: ck.broadcast_to(x, (3, 2, 3, 4)), lambda x: np.broadcast_to(x, (3, 2, 3, 4))),
    "expand": (
        lambda x: ck.unsqueeze(x, 1).expand(5, -1, 2, 3, -1),
        lambda x: np.broadcast_to(x[:, None], (5, 2, 2, 3, 4)),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_of_shape(name):
    change, plain = CHANGES[name]
    x = normal(2, 3, 4)
    np.testing.assert_array_equal(change(Tensor(x)).data, plain(x))
    assert_gradients(change, x)


@pytest.mark.parametrize("shape", [(-1,), (2, -1), (2, 3, -1), (6, 20), (2, 3, 5, 4), (10, 3, 4)])
def test_images_are_reshaped_in_logical_order(shape):
    x = channels_last(2, 3, 4, 5)
    assert np.array_equal(ck.reshape(x, shape).data, np.ascontiguousarray(x).reshape(shape))
    assert_gradients(lambda x: x.reshape(shape), x)


def test_changes_of_shape_are_views_where_memory_allows():
    x = Tensor(normal(2, 3, 4))
    for view in (x.reshape(6, 4), x.permute(2, 1, 0), x.T, x.unsqueeze(0), x.squeeze(), x[0], x.expand(5, 2, 3, 4)):
        assert np.shares_memory(view.data, x.data)


def test_gradients_of_views_can_be_written_to():
    x = tensor(normal(2, 3), requires_grad=True)
    x.expand(4, 2, 3).sum().backward()
    x.grad.data += 1
    assert (x.grad.data == 5).all()
    y = tensor(normal(2, 3), requires_grad=True)
    y.T.backward(start := np.ones((3, 2)))
    y.grad.data += 1
    assert (start == 1).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.reshape(5), ValueError, r"reshape: shape \(2, 3\) has 6 elements, which do not fit \(5,\)"),
        (lambda x: x.reshape(-1, -1), ValueError, "reshape: .* do not fit"),
        (lambda x: x.reshape(4, -1), ValueError, "reshape: .* do not fit"),
        (lambda x: x[:0].reshape(0, -1), ValueError, "reshape: .* do not fit"),
        (lambda x: x.reshape(-2, 3), ValueError, "reshape: shape=-2 must be at least -1"),
        (lambda x: x.reshape(2.0, 3), TypeError, "reshape: shape=2.0 must be an integer"),
        (lambda x: x.transpose(0, 2), ValueError, "transpose: dim1=2 is not an axis"),
        (lambda x: x.permute(0), ValueError, r"permute: dims=\(0,\) must name each of 2 dimensions once"),
        (lambda x: x.permute(0, 0), ValueError, r"permute: dims=\(0, 0\) must name each"),
        (lambda x: x.squeeze(2), ValueError, "squeeze: dim=2"),
        (lambda x: x.unsqueeze(3), ValueError, "unsqueeze: dim=3"),
        (lambda x: x.expand(3), ValueError, r"expand: shape \(2, 3\) cannot become \(3,\)"),
        (lambda x: x.expand(-1, 2, 3), ValueError, "expand: .* cannot become"),
        (lambda x: ck.broadcast_to(x, (4, 3)), ValueError, "broadcast_to: .* only a size of 1 can grow"),
        (lambda x: ck.reshape([1.0], 1), TypeError, "reshape: input must be a Tensor or numpy.ndarray, not list"),
    ],
)
def test_changes_that_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(tensor(normal(2, 3)))


# ---------------------------------------------------------------------------------------------------------- joining


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat_and_stack(dim):
    shapes = [(2, 3, 4)] * 3
    parts = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    np.testing.assert_array_equal(ck.stack(parts, dim).data, np.stack(parts, dim))
    assert_gradients(lambda *parts: ck.stack(parts, dim), *parts)
    parts[1] = np.concatenate([parts[1], parts[2]], dim)
    parts[2] = parts[2].take(np.arange(0), dim)
    np.testing.assert_array_equal(ck.cat(parts, dim).data, np.concatenate(parts, dim))
    assert_gradients(lambda *parts: ck.cat(parts, dim), *parts)


def test_cat_keeps_images_channels_last_and_passes_over_constants():
    x, y = Tensor(channels_last(2, 3, 4, 5), requires_grad=True), channels_last(2, 2, 4, 5).astype(np.float32)
    joined = ck.cat((x, y), 1)
    assert joined.dtype == np.float64
    assert joined.data.transpose(0, 2, 3, 1).flags.c_contiguous
    joined.sum().backward()
    assert x.grad.shape == x.shape
    assert ck.cat([np.array([1]), np.array([2])]).data.tolist() == [1, 2]
    assert ck.cat([np.array([1]), np.float32([2])]).dtype == np.float32  # as PyTorch has it


def test_a_tensor_may_come_twice():
    x = tensor([1.0, 2.0], requires_grad=True)
    (ck.cat([x, x]) * np.float32([1, 2, 3, 4])).sum().backward()
    assert x.grad.data.tolist() == [4, 6]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ck.cat([]), ValueError, "cat: tensors must hold at least one"),
        (lambda: ck.stack(tensor([1.0])), TypeError, "stack: tensors must be a tuple or list of tensors, not Tensor"),
        (lambda: ck.cat([tensor([1.0]), [2.0]]), TypeError, "cat: input must be a Tensor or numpy.ndarray, not list"),
        (
            lambda: ck.cat([np.ones((2, 3)), np.ones((3, 4))], 1),
            ValueError,
            r"cat: tensors\[1\] has shape \(3, 4\) but tensors\[0\] has \(2, 3\): they may differ along dim=1 alone",
        ),
        (lambda: ck.cat([np.ones(2), np.ones((2, 1))]), ValueError, r"cat: tensors\[1\] has shape \(2, 1\)"),
        (lambda: ck.cat([np.ones(2)], 1), ValueError, "cat: dim=1 is not an axis"),
        (lambda: ck.cat([np.ones(())]), ValueError, "cat: dim=0 is not an axis"),
        (lambda: ck.stack([np.ones(2), np.ones(3)]), ValueError, r"stack: tensors\[1\] has shape \(3,\)"),
        (lambda: ck.stack([np.ones(2)], 2), ValueError, "stack: dim=2"),
    ],
)
def test_joining_that_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --------------------------------------------------------------------------------------------------------- indexing

ROWS, COLUMNS = np.array([0, 2, 0, 0]), np.array([1, 1, 3, 1])
INDICES = {
    "integer": 1,
    "from the end": (-1, -2),
    "element": (1, 2, 3),
    "slices": (slice(1, None), slice(None, None, 2)),
    "backwards": (slice(None), slice(None, None, -1)),
    "ellipsis": (..., 0),
    "new dimensions": (None, 1, ..., None),
    "nothing": slice(0, 0),
    "everything": (),
    "rows": ROWS,
    "list": [0, 0, 1],
    "empty list": [],
    "pairs": (slice(None), ROWS, COLUMNS),
    "apart": (ROWS % 2, slice(None), COLUMNS),
    "outer": (ROWS[:, None] % 2, ROWS[None] % 3),
    "integer and rows": (0, ROWS),
    "mask": normal(2, 3, 4) > 0,
    "mask of rows": np.array([False, True]),
    "mask and column": (np.array([[True, False, True], [False, True, True]]), 2),
}


@pytest.mark.parametrize("name", INDICES)
def test_indexing(name):
    index = INDICES[name]
    index = index % 2 if name == "rows" else index
    x = normal(2, 3, 4)
    plain = np.array(index, int) if isinstance(index, list) else index
    np.testing.assert_array_equal(Tensor(x)[index].data, x[plain])
    assert_gradients(lambda x: x[index], x)
    if isinstance(index, np.ndarray):
        np.testing.assert_array_equal(Tensor(x)[Tensor(index)].data, x[index])


def test_gradients_of_what_is_chosen_twice_add_up():
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x[tensor([0, 2, 0, 0])] * np.float32([1, 2, 4, 8])).sum().backward()
    assert x.grad.data.tolist() == [13, 0, 2]


def test_the_gradient_lies_in_memory_as_the_tensor_does():
    x = Tensor(channels_last(2, 4, 5, 3), requires_grad=True)
    x[:, 1:3].sum().backward()
    assert x.grad.data.strides == x.data.strides


def test_tensors_are_iterated_over_by_rows():
    x = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, second = x
    (first * second).sum().backward()
    assert x.grad.data.tolist() == [[3, 4], [1, 2]]
    with pytest.raises(TypeError, match="unsized"):
        list(tensor(1.0))


@pytest.mark.parametrize("index", [3, (0, 3), np.array([5]), "a", 1.5, np.array([1.5]), (0, 0, 0), np.array([True])])
def test_indices_that_are_refused(index):
    with pytest.raises(IndexError):
        tensor(normal(3, 3))[index]
