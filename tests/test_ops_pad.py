"""Padding: against NumPy's, its gradient, memory order, and what is refused."""

import numpy as np
import pytest
from gradients import assert_gradients

from convkit import functional as F
from convkit import ops

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def numpy_widths(pad, ndim):
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    return [(0, 0)] * (ndim - len(pairs)) + pairs[::-1]


@pytest.mark.parametrize("pad", [(1, 2), (2, 0, 1, 3), (0, 0, 3, 3), (1, 1, 1, 1, 1, 1), ()])
@pytest.mark.parametrize("mode", MODES)
def test_pad(mode, pad):
    x = normal(2, 3, 4, 5)
    expected = np.pad(x, numpy_widths(pad, 4), mode=MODES[mode])
    for dtype in (np.float32, np.float64):
        found = ops.pad(x.astype(dtype), pad, mode)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected.astype(dtype))
    assert_gradients(lambda x: F.pad(x, pad, mode), x)


@pytest.mark.parametrize("mode", MODES)
def test_pad_agrees_with_pytorch(mode):
    torch = pytest.importorskip("torch")
    x = normal(2, 3, 4, 5)
    theirs = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.pad(theirs, (1, 4, 3, 0), mode)
    np.testing.assert_array_equal(ops.pad(x, (1, 4, 3, 0), mode), expected.detach().numpy())
    start = np.random.default_rng(1).standard_normal(expected.shape)
    expected.backward(torch.tensor(start))
    found = ops.pad_backward(start, x.shape, (1, 4, 3, 0), mode)
    np.testing.assert_allclose(found, theirs.grad.numpy(), rtol=1e-12)


def test_negative_numbers_take_off():
    x = normal(3, 5)
    np.testing.assert_array_equal(ops.pad(x, (-1, -2)), x[:, 1:-2])
    np.testing.assert_array_equal(ops.pad(x, (-1, 2, 1, -1), value=7)[1:, :-2], x[:-1, 1:])
    assert ops.pad(x, (-3, -2)).shape == (3, 0)
    assert_gradients(lambda x: F.pad(x, (-1, 2, 1, -1)), x)


def test_a_value_and_nothing_at_all():
    found = ops.pad(np.zeros((0, 2)), (0, 1, 2, 0), value=-1.5)
    assert found.tolist() == [[-1.5] * 3] * 2
    assert ops.pad_backward(found, (0, 2), (0, 1, 2, 0)).shape == (0, 2)


@pytest.mark.parametrize("mode", MODES)
def test_images_stay_channels_last(mode):
    x = normal(2, 4, 5, 3).transpose(0, 3, 1, 2)
    found = ops.pad(x, (1, 1, 1, 1), mode)
    assert found.transpose(0, 2, 3, 1).flags.c_contiguous
    gradient = ops.pad_backward(found, x.shape, (1, 1, 1, 1), mode)
    assert gradient.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((1,),), ValueError, r"pad=\(1,\) must have two integers for each axis from the last, at most 4"),
        (((1,) * 6,), ValueError, "at most 4 for input"),
        ((1,), TypeError, "pad=1 must be a tuple of integers"),
        (((1.0, 1),), TypeError, "pad=1.0 must be an integer"),
        (((-2, -2),), ValueError, r"pad=\(-2, -2\) takes more off an axis of input \(2, 3\) than it has"),
        (((3, 0), "reflect"), ValueError, r"pad=\(3, 0\) must be at most 2 for an axis of size 3 with mode='reflect'"),
        (((0, 4), "circular"), ValueError, "must be at most 3 for an axis of size 3"),
        (((-1, 0), "circular"), ValueError, "pad=-1 must be at least 0"),
        (((), "mirror"), ValueError, "mode='mirror' must be 'constant', 'reflect', 'replicate' or 'circular'"),
        (((1, 1), "replicate", 1.0), ValueError, "value=1.0 is for mode='constant', but mode='replicate'"),
        (((1, 1), "constant", "0"), TypeError, "value='0' must be a number"),
        (((2**31 - 1,) * 4,), ValueError, "makes an array of more than"),
    ],
)
def test_these_are_refused(arguments, error, message):
    with pytest.raises(error, match=f"pad: .*{message}"):
        ops.pad(np.ones((2, 3)), *arguments)


def test_what_cannot_be_repeated_is_refused():
    for mode in ("reflect", "replicate", "circular"):
        with pytest.raises(ValueError, match=r"pad: pad=\(1, 1\) must be at most 0 for an axis of size 0"):
            ops.pad(np.ones((2, 0)), (1, 1), mode)
    with pytest.raises(ValueError, match=r"pad_backward: grad_output has shape \(2, 3\)"):
        ops.pad_backward(np.ones((2, 3)), (2, 3), (1, 1))
