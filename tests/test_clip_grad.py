"""Clipped gradients against their equations and against PyTorch."""

import math

import numpy as np
import pytest

from convkit.autograd import Tensor
from convkit.nn.utils import clip_grad_norm_, clip_grad_value_

SHAPES = [(3, 4), (2, 3, 5, 2), (), (0,)]


def parameters(dtype=np.float64, spoiled=None):
    """Parameters with gradients, one that lies in another order, and one without."""
    rng = np.random.default_rng(0)
    result = [Tensor(np.zeros(shape, dtype), requires_grad=True) for shape in SHAPES]
    for parameter in result:
        parameter.grad = Tensor(np.asarray(rng.standard_normal(parameter.shape), dtype))
    result[1].grad = Tensor(np.asfortranarray(result[1].grad.data))
    if spoiled is not None:
        result[0].grad.data[1, 1] = spoiled
    return [*result, Tensor(np.zeros(3, dtype), requires_grad=True)]


def gradients(params):
    return np.concatenate([p.grad.data.ravel() for p in params if p.grad is not None]).astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm_type", [1, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0, 0.5, 1e4])
def test_norm(dtype, norm_type, max_norm):
    params = parameters(dtype)
    before = gradients(params)
    expected = np.abs(before).max() if norm_type == math.inf else (np.abs(before) ** norm_type).sum() ** (1 / norm_type)
    norm = clip_grad_norm_(params, max_norm, norm_type)
    assert (norm.shape, norm.dtype) == ((), dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(norm.item(), expected, rtol=tolerance)
    scale = min(max_norm / (expected + 1e-6), 1)
    np.testing.assert_allclose(gradients(params), before * scale, rtol=tolerance)


@pytest.mark.parametrize("spoiled", [None, math.nan, math.inf])
@pytest.mark.parametrize("norm_type", [1, 2, math.inf])
def test_norm_is_that_of_pytorch(norm_type, spoiled):
    torch = pytest.importorskip("torch")
    ours = parameters(spoiled=spoiled)
    theirs = [torch.zeros(p.shape, dtype=torch.float64, requires_grad=True) for p in ours]
    for our, their in zip(ours, theirs, strict=True):
        their.grad = None if our.grad is None else torch.tensor(our.grad.data)
    # PyTorch refuses the largest of nothing.
    kept = [their for their in theirs if their.numel()]
    expected = torch.nn.utils.clip_grad_norm_(kept, 0.7, norm_type)
    np.testing.assert_allclose(clip_grad_norm_(ours, 0.7, norm_type).item(), expected.item(), rtol=1e-12)
    their_gradients = np.concatenate([p.grad.numpy().ravel() for p in kept if p.grad is not None])
    np.testing.assert_allclose(gradients(ours), their_gradients, rtol=1e-12)


def test_large_gradients_in_float32_have_a_finite_norm():
    x = Tensor(np.zeros(4, np.float32), requires_grad=True)
    x.grad = Tensor(np.full(4, 1e30, np.float32))
    np.testing.assert_allclose(clip_grad_norm_(x, 1.0).item(), 2e30, rtol=1e-6)
    np.testing.assert_allclose(x.grad.data, 0.5, rtol=1e-6)


@pytest.mark.parametrize("spoiled", [math.nan, math.inf])
def test_error_if_nonfinite(spoiled):
    params = parameters(spoiled=spoiled)
    before = gradients(params)
    with pytest.raises(RuntimeError, match=f"the norm of all gradients is {spoiled}"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(gradients(params), before)


def test_value():
    params = parameters()
    before = gradients(params)
    clip_grad_value_(iter(params), 0.4)
    np.testing.assert_array_equal(gradients(params), np.clip(before, -0.4, 0.4))
    assert np.abs(before).max() > 0.4


def test_nothing_to_clip():
    x = Tensor(np.zeros(3), requires_grad=True)
    assert clip_grad_norm_([x], 1.0).item() == 0
    assert clip_grad_norm_([], 1.0, math.inf).item() == 0
    clip_grad_value_(x, 1.0)
    assert x.grad is None


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (lambda p: clip_grad_norm_(p, -1), "max_norm=-1 must be at least 0"),
        (lambda p: clip_grad_norm_(p, math.nan), "max_norm=nan"),
        (lambda p: clip_grad_norm_(p, 1, 0), "norm_type=0 must be above 0"),
        (lambda p: clip_grad_value_(p, -0.5), "clip_value=-0.5 must be at least 0"),
    ],
)
def test_clipping_refuses(clip, message):
    params = parameters()
    before = gradients(params)
    with pytest.raises(ValueError, match=message):
        clip(params)
    np.testing.assert_array_equal(gradients(params), before)
