"""Batch norms and rectifiers that convolutions compute as they read them: nobody sees that they do."""

import numpy as np
import pytest
from cases import assert_same_bits
from fusing import both
from gradients import assert_gradients

import convkit as ck
import convkit.functional as F
from convkit import nn
from convkit.ops import _affine

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((4, 16, 12, 12)).astype(np.float32)


@pytest.fixture
def passes(monkeypatch):
    """What batch norms, sums and rectifiers were computed in passes of their own: of which activation."""
    seen, affine = [], _affine.affine

    def counted(x, a, y=None, b=None, activation="", slope=0.0):
        seen.append(activation)
        return affine(x, a, y, b, activation, slope)

    monkeypatch.setattr(_affine, "affine", counted)
    return seen


def inverted_residual(stride=1, activation=nn.ReLU6):
    """MobileNet-V2's: widen, convolve each channel by itself, narrow."""
    ck.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, 48, 1, bias=False),
        nn.BatchNorm2d(48),
        activation(),
        nn.Conv2d(48, 48, 3, stride, padding=1, groups=48, bias=False),
        nn.BatchNorm2d(48),
        activation(),
        nn.Conv2d(48, 24, 1, bias=False),
    )


def residual(channels=32):
    """ResNet's."""
    ck.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
    )


def trained(make, look=None):
    """The output, the gradients and the running statistics of a model; `look` sees every layer's output."""
    model = make()
    x = ck.tensor(IMAGES, requires_grad=True)
    if look is not None:
        for layer in model:
            layer.register_forward_hook(look)
    y = model(x)
    (y * y).sum().backward()
    return [y.data, x.grad.data, *(p.grad.data for p in model.parameters()), *(b.data for b in model.buffers())]


MODELS = {
    "inverted residual": inverted_residual,
    "of stride 2": lambda: inverted_residual(stride=2),
    "leaky": lambda: inverted_residual(activation=nn.LeakyReLU),
    "residual": residual,
    "narrow": lambda: residual(16),
    "without activation": lambda: nn.Sequential(*[inverted_residual()[i] for i in (0, 1, 3, 4, 6)]),
}


@pytest.mark.parametrize("model", MODELS)
def test_same_bits_as_without(model):
    assert_same_bits(both(lambda: trained(MODELS[model])), model)


def test_nothing_between_is_in_memory(passes):
    trained(inverted_residual)
    assert passes == []
    with ck.no_grad():
        inverted_residual().eval()(IMAGES).data  # noqa: B018 (reading is what is tested)
    assert passes == []


def test_what_a_kernel_cannot_do_is_a_pass(passes):
    trained(lambda: inverted_residual(activation=nn.LeakyReLU))
    assert passes == ["leaky_relu", "leaky_relu"]
    passes.clear()
    trained(residual)
    assert passes == ["relu", ""]  # before Winograd's tiles; and the output, which is read


@pytest.mark.parametrize("model", [inverted_residual, residual])
@pytest.mark.parametrize("seen", [nn.Module, nn.ReLU, nn.ReLU6, nn.BatchNorm2d])
def test_hooks_that_read_change_nothing(model, seen):
    def look(module, args, output):
        if isinstance(module, seen):
            assert output.data.shape == output.shape

    assert_same_bits({"read": trained(model, look), "not read": trained(model)}, "hooks")


def test_a_hook_may_change_what_it_sees():
    def change(module, args, output):
        output.data[...] *= 0.5

    assert_same_bits(both(lambda: trained(inverted_residual, change)), "changed by hooks")


def branches(read_first):
    """Two convolutions and a sum of one activation; and its values, read before them or behind them."""
    rng = np.random.default_rng(1)
    shapes = (32, 16, 1, 1), (32, 1, 3, 3), (32, 32, 3, 3)
    a, b, c = (ck.tensor(rng.standard_normal(s).astype(np.float32), requires_grad=True) for s in shapes)
    scale = ck.tensor(np.linspace(-1, 1, 32, dtype=np.float32), requires_grad=True)
    y = F.relu(F.batch_norm(F.conv2d(IMAGES, a), None, None, scale, training=True))
    values = [y.data.copy()] if read_first else []
    u, v = F.conv2d(y, b, padding=1, groups=32), F.conv2d(y, c, padding=1)
    values = values or [y.data.copy()]
    loss = ((u + v) * y).mean()
    loss.backward()
    return [*values, loss.data, *(leaf.grad.data for leaf in (a, b, c, scale))]


def test_branches():
    for read_first in (False, True):
        assert_same_bits(both(lambda read_first=read_first: branches(read_first)), f"read first: {read_first}")


def test_a_gradient_twice():
    model = inverted_residual()
    loss = model(IMAGES).mean()
    loss.backward(retain_graph=True)
    once = [p.grad.data.copy() for p in model.parameters()]
    loss.backward()
    for p, first in zip(model.parameters(), once, strict=True):
        np.testing.assert_array_equal(p.grad.data, 2 * first)


def test_later_changes_do_not_reach_what_waits():
    def run():
        ck.manual_seed(0)
        scale = ck.tensor(np.linspace(-1, 1, 32, dtype=np.float32), requires_grad=True)
        w = ck.tensor(np.ones((8, 32, 1, 1), np.float32), requires_grad=True)
        x = F.conv2d(IMAGES, np.ones((32, 16, 1, 1), np.float32))
        y = F.relu(F.batch_norm(x, None, None, scale, training=True))
        z = F.conv2d(y, w)
        x.data[...] = 7
        scale.data[...] = 8
        z.sum().backward()
        return [z.data, w.grad.data]

    assert_same_bits(both(run), "changed")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [F.relu, F.relu6, F.leaky_relu, lambda x: x])
@pytest.mark.parametrize(("weight", "groups"), [((3, 16, 1, 1), 1), ((16, 1, 3, 3), 16), ((32, 16, 3, 3), 1)])
def test_gradients_against_differences(training, activation, weight, groups):
    def chain(x, v, w, scale, shift):
        y = F.batch_norm(F.conv2d(x, v), np.zeros(16), np.ones(16), scale, shift, training)
        return F.conv2d(activation(y), w, padding=weight[-1] // 2, groups=groups)

    rng = np.random.default_rng(2)
    shapes = (2, 3, 8, 9), (16, 3, 1, 1), weight, (16,), (16,)
    assert_gradients(chain, *(rng.standard_normal(shape) for shape in shapes), tolerance=2e-6)


def test_gradients_against_pytorch():
    torch = pytest.importorskip("torch")
    from convkit.bench.torch_network import as_torch

    model = inverted_residual()
    twin = as_torch(model)
    g = np.random.default_rng(3).standard_normal((4, 24, 12, 12)).astype(np.float32)
    x, their_x = ck.tensor(IMAGES, requires_grad=True), torch.tensor(IMAGES, requires_grad=True)
    model(x).backward(g)
    twin(their_x).backward(torch.tensor(g))
    ours = [x.grad, *(p.grad for p in model.parameters())]
    for mine, theirs in zip(ours, [their_x.grad, *(p.grad for p in twin.parameters())], strict=True):
        wrong = np.linalg.norm(mine.data - theirs.numpy())
        assert wrong <= 3e-3 * np.linalg.norm(theirs.numpy())


def test_training_takes_less_memory():
    def in_use():
        ck.empty_cache()
        images, model = np.zeros((8, 16, 48, 48), np.float32), inverted_residual()
        before = ck.memory_stats()["in_use"]
        y = model(images)
        return y, ck.memory_stats()["in_use"] - before

    used = {name: count for name, (_, count) in both(in_use).items()}
    inside = 8 * 48 * 48 * 48 * 4
    assert used["fusion=True"] <= 2.75 * inside  # two that were convolved, and an output of half their channels
    assert used["fusion=False"] >= 4 * inside
