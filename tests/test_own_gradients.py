"""Gradients that may be written over: nobody sees that they are."""

import itertools

import numpy as np
import pytest
from cases import assert_same_bits
from gradients import apart, assert_gradients

import convkit as ck
import convkit.functional as F
from convkit import nn
from convkit.autograd import OwnGradient, pending_gradients
from convkit.functional import conv

RECTIFIERS = {"relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu}


@pytest.fixture(autouse=True)
def _small_arrays_too(monkeypatch):
    """Sums of small arrays by the kernels that large ones are left to."""
    monkeypatch.setattr(pending_gradients, "LEAST", 0)


def norm(x, training=True):
    """A batch norm that neither scales nor shifts."""
    channels = x.shape[1]
    return F.batch_norm(x, np.zeros(channels, x.dtype), np.ones(channels, x.dtype), training=training)


def depthwise(z, w):
    """A convolution of each channel by itself, with the first filters that there are."""
    return F.conv2d(z, w.reshape(-1, 1, 3, 3)[: z.shape[1]], padding=1, groups=z.shape[1])


# What lies before the last convolution, whose gradient of its input may be written over: of `x`, which a convolution
# gave, and of `y`, another's. Each uses what it is given once, twice, or for two things at a time.
CHAINS = {
    "batch norm": lambda x, y, act: norm(x),
    "batch norm of running averages": lambda x, y, act: norm(x, False),
    "activation": lambda x, y, act: act(x),
    "batch norm, activation": lambda x, y, act: act(norm(x)),
    "activation, activation": lambda x, y, act: act(act(x)),
    "activation of a sum": lambda x, y, act: act(x + y),
    "a residual block": lambda x, y, act: act(norm(x) + y),
    "a residual block of batch norms": lambda x, y, act: act(norm(x) + norm(y)),
    "a sum": lambda x, y, act: norm(x) + y,
    "a sum of batch norms": lambda x, y, act: norm(x) + norm(y),
    "a sum with itself": lambda x, y, act: norm(x) + norm(x),
    "a sum of one and the same": lambda x, y, act: x + x,
    "a sum of activations": lambda x, y, act: act(x) + act(norm(x)),
    "a difference": lambda x, y, act: norm(x) - y,
    "a view": lambda x, y, act: norm(x).reshape(x.shape),
    "both side by side": lambda x, y, act: ck.cat([norm(x), act(y)], 1),
}
LASTS = {
    "once": lambda z, w: F.conv2d(z, w, padding=1),
    "twice": lambda z, w: F.conv2d(z, w, padding=1) + F.conv2d(z, w, padding=1),
    "with a bypass": lambda z, w: depthwise(z, w) + z,
    "thrice": lambda z, w: F.conv2d(z, w, padding=1) + F.conv2d(z, w).sum() + F.conv2d(z, w, stride=2).sum(),
    "and read": lambda z, w: F.conv2d(z, w, padding=1) + (z * z).sum(),
    "transposed": lambda z, w: F.conv_transpose2d(z, w.transpose(0, 1), padding=1),
}


def network(chain, last, act):
    """The function of images and weights."""

    def function(images, v, w):
        x, y = F.conv2d(images, v, padding=1), F.conv2d(images, v * 2, padding=1)
        z = CHAINS[chain](x, y, RECTIFIERS[act])
        return LASTS[last](z, w if w.shape[1] == z.shape[1] else ck.cat([w, w], 1))

    return function


@pytest.mark.parametrize("act", RECTIFIERS)
@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("chain", CHAINS)
def test_the_same_bits_as_in_arrays_of_their_own(chain, last, act, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in [(2, 3, 9, 8), (5, 3, 3, 3), (5, 5, 3, 3)]]
    results = {}
    for name, made in (("own", OwnGradient), ("apart", lambda array: array)):
        monkeypatch.setattr(conv, "OwnGradient", made)
        leaves = [ck.Tensor(array.copy(), requires_grad=True) for array in arrays]
        output = network(chain, last, act)(*leaves)
        grad = np.random.default_rng(1).standard_normal(output.shape).astype(np.float32)
        for again in (1, 2):  # all that was kept is as it was
            output.backward(grad, retain_graph=True)
            results[f"{name}, {again}"] = [leaf.grad.data / again for leaf in leaves]
            for leaf, array in zip(leaves, arrays, strict=True):
                np.testing.assert_array_equal(leaf.data, array)
    assert_same_bits(results, f"{chain}, {last}, {act}")


@pytest.mark.parametrize("act", RECTIFIERS)
@pytest.mark.parametrize("chain", ["batch norm", "batch norm, activation", "a residual block", "a sum of batch norms"])
@pytest.mark.parametrize("last", ["once", "twice", "with a bypass"])
def test_gradients_against_differences(chain, last, act):
    rng = np.random.default_rng(3)
    arrays = apart(rng, (2, 2, 4, 5)), rng.standard_normal((3, 2, 3, 3)), rng.standard_normal((3, 3, 3, 3))
    assert_gradients(network(chain, last, act), *arrays, tolerance=2e-6)


@pytest.mark.parametrize("act", RECTIFIERS)
@pytest.mark.parametrize("chain", ["batch norm", "activation", "batch norm, activation"])
def test_what_may_be_written_over_is(chain, act, monkeypatch):
    """The gradient that comes back to the convolution before lies where that of the one behind lay."""
    seen = []

    def made(array):
        seen.append(array)
        return OwnGradient(array)

    monkeypatch.setattr(conv, "OwnGradient", made)
    images = ck.Tensor(np.random.default_rng(0).standard_normal((2, 3, 9, 8)).astype(np.float32))
    v = ck.tensor(np.ones((5, 3, 3, 3), np.float32), requires_grad=True)
    x = F.conv2d(images, v, padding=1)
    found = []
    weight_gradient = conv.weight_gradient
    monkeypatch.setattr(
        conv, "weight_gradient", lambda geometry, x, grad: found.append(grad) or weight_gradient(geometry, x, grad)
    )
    z = CHAINS[chain](x, x, RECTIFIERS[act])
    F.conv2d(z, np.ones((2, 5, 3, 3), np.float32)).sum().backward()
    assert len(seen) == len(found) == 1
    assert np.shares_memory(seen[0], found[0])


def test_a_users_gradient_is_not_written_over():
    x = F.conv2d(np.ones((1, 2, 5, 5), np.float32), ck.tensor(np.ones((3, 2, 1, 1), np.float32), requires_grad=True))
    for output in (norm(x), F.relu(norm(x)), F.relu(x), F.relu(norm(x) + x)):
        grad = np.random.default_rng(0).standard_normal(output.shape).astype(np.float32)
        before = grad.copy()
        output.backward(grad, retain_graph=True)
        np.testing.assert_array_equal(grad, before)


def test_leaves_that_share_a_sum_get_gradients_of_their_own():
    one = np.ones((2, 2, 1, 1), np.float32)
    images = np.random.default_rng(0).standard_normal((1, 2, 5, 5)).astype(np.float32)
    a, b = (F.conv2d(images, one).requires_grad_() for _ in range(2))
    F.conv2d(a + b, one).sum().backward()
    assert not np.may_share_memory(a.grad.data, b.grad.data)
    np.testing.assert_array_equal(a.grad.data, b.grad.data)


def test_training_is_the_same_to_the_bit(monkeypatch):
    """Blocks of every kind in a row, for a few steps."""
    images = np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)
    results = {}
    for (name, made), threads in itertools.product((("own", OwnGradient), ("apart", lambda array: array)), (1, 3)):
        monkeypatch.setattr(conv, "OwnGradient", made)
        ck.manual_seed(0)
        models = [ck.models.resnet20(image_size=16), ck.models.mobilenet_v2(10, image_size=16)]
        states = []
        with ck.num_threads(threads):
            for model in models:
                optimizer, loss = ck.optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss()
                for _ in range(2):
                    optimizer.zero_grad()
                    loss(model(ck.Tensor(images)), np.arange(4)).backward()
                    optimizer.step()
                states += [value.copy() for value in model.state_dict().values()]
        results[f"{name}, {threads} threads"] = states
    assert_same_bits(results, "networks")
