"""Convolution with a bias of the output's full shape, and the articles' equations for its gradients."""

import itertools

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, THREADS, assert_exact, integers, is_channels_last, refuses
from gradients import assert_gradients

from convkit import functional as F
from convkit import nn, ops
from convkit._threads import num_threads
from convkit.autograd import Tensor


def correlated(image, kernel):
    """The valid cross-correlation of two matrices, element by element."""
    height, width = (a - b + 1 for a, b in zip(image.shape, kernel.shape, strict=True))
    out = np.zeros((height, width))
    for p, q in np.ndindex(height, width):
        for r, s in np.ndindex(*kernel.shape):
            out[p, q] += image[p + r, q + s] * kernel[r, s]
    return out


def fully_convolved(image, kernel):
    """The full convolution of two matrices: with the kernel rotated by 180 degrees, over a border of zeros."""
    (height, width), rotated = kernel.shape, np.rot90(kernel, 2)
    return correlated(np.pad(image, ((height - 1, height - 1), (width - 1, width - 1))), rotated)


@pytest.fixture
def layer():
    """Three maps of 5x6 from two of 7x9, with everything in float64, and the gradient of an error E."""
    rng = np.random.default_rng(0)
    conv = nn.Conv2d(2, 3, (3, 4), dtype=np.float64, untied_bias=True, map_size=(5, 6))
    x, grad = Tensor(rng.standard_normal((1, 2, 7, 9)), requires_grad=True), rng.standard_normal((1, 3, 5, 6))
    y = conv(x)
    y.backward(grad)
    return conv, x, y, grad[0]


def test_forward_equation(layer):
    """Y_i = B_i + sum over j of X_j * K_ij."""
    conv, x, y, _ = layer
    for i in range(3):
        answer = conv.bias.data[i] + sum(correlated(x.data[0, j], conv.weight.data[i, j]) for j in range(2))
        np.testing.assert_allclose(y.data[0, i], answer, atol=1e-12)


def test_gradient_of_kernels(layer):
    """dE/dK_ij = X_j * dE/dY_i."""
    conv, x, _, grad = layer
    for i, j in np.ndindex(3, 2):
        np.testing.assert_allclose(conv.weight.grad.data[i, j], correlated(x.data[0, j], grad[i]), atol=1e-12)


def test_gradient_of_biases(layer):
    """dE/dB_i = dE/dY_i."""
    conv, _, _, grad = layer
    np.testing.assert_array_equal(conv.bias.grad.data, grad)


def test_gradient_of_inputs(layer):
    """dE/dX_j = sum over i of dE/dY_i, fully convolved with K_ij: rotated by 180 degrees where one correlates."""
    conv, x, _, grad = layer
    for j in range(2):
        answer = sum(fully_convolved(grad[i], conv.weight.data[i, j]) for i in range(3))
        np.testing.assert_allclose(x.grad.data[0, j], answer, atol=1e-12)


@pytest.mark.parametrize(("channels", "outputs", "groups"), [(1, 1, 1), (3, 17, 1), (16, 16, 16), (4, 6, 2)])
def test_forward_and_backward_are_exact(channels, outputs, groups):
    rng = np.random.default_rng(0)
    x, w = integers(rng, (3, channels, 5, 6), 99), integers(rng, (outputs, channels // groups, 2, 3), 99)
    bias, g = integers(rng, (outputs, 4, 4)), integers(rng, (3, outputs, 4, 4))
    for dtype, threads, layout in itertools.product(DTYPES, THREADS, LAYOUTS):
        label = f"{dtype.__name__} threads={threads} {layout}"
        b = LAYOUTS[layout](bias.astype(dtype))
        with num_threads(threads):
            tied = ops.conv2d(x.astype(dtype), w.astype(dtype), groups=groups)
            untied = ops.conv2d(x.astype(dtype), w.astype(dtype), b, groups=groups)
            grad = ops.conv2d_backward_bias(LAYOUTS[layout](g.astype(dtype)), untied=True)
        assert_exact(untied, tied + bias, dtype, label)
        assert is_channels_last(untied)
        assert_exact(grad, g.sum(axis=0), dtype, label)


def test_gradients():
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape) for shape in ((2, 3, 5, 6), (4, 3, 2, 3), (4, 3, 4)))
    assert_gradients(lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 0)), x, w, b)


def test_the_layers_state_and_memory():
    layer = nn.Conv2d(3, 5, 3, padding="same", untied_bias=True, map_size=4)
    state = layer.state_dict()
    assert {name: value.shape for name, value in state.items()} == {"weight": (5, 3, 3, 3), "bias": (5, 4, 4)}
    assert np.abs(state["bias"]).max() <= 27**-0.5
    assert np.ptp(state["bias"]) > 0
    assert layer.bias.data.transpose(1, 2, 0).flags.c_contiguous
    other = nn.Conv2d(3, 5, 3, padding="same", untied_bias=True, map_size=(4, 4))
    other.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(other(x).data, layer(x).data)
    assert repr(layer).endswith("padding=same, untied_bias=True, map_size=(4, 4))")


def test_what_does_not_fit():
    for arguments, message in (
        ({"untied_bias": True}, "Conv2d: untied_bias=True needs map_size"),
        ({"untied_bias": True, "map_size": 0}, "Conv2d: map_size=0"),
        ({"untied_bias": True, "map_size": 4, "bias": False}, "Conv2d: untied_bias=True needs bias=True"),
        ({"map_size": 4}, "Conv2d: map_size=4 .*untied_bias=False"),
    ):
        refuses(ValueError, message, nn.Conv2d, 3, 5, 3, **arguments)
    layer = nn.Conv2d(3, 5, 3, untied_bias=True, map_size=4)
    wrong = np.ones((2, 3, 8, 7), np.float32)
    message = r"bias has shape \(5, 4, 4\).*\(5, 6, 5\).*Conv2d.* maps of 4 by 4"
    refuses(ValueError, message, layer, wrong)
    for shape in ((5, 6, 4), (1, 6, 5), (5, 1, 1)):
        bias = np.ones(shape, np.float32)
        refuses(ValueError, r"^conv2d: bias .*\(5, 6, 5\)", ops.conv2d, wrong, layer.weight.data, bias)
    refuses(TypeError, r"^conv2d: bias .*float64", ops.conv2d, wrong, layer.weight.data, np.ones((5, 6, 5)))
