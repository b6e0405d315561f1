"""Values that wait to be computed: nobody sees that they do."""

import copy
import itertools
import threading

import numpy as np
import pytest
from cases import assert_same_bits, refuses
from fusing import both
from gradients import apart, assert_gradients

import convkit as ck
import convkit.functional as F
from convkit import _dispatch, nn
from convkit.autograd import pending_gradients

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((4, 2, 8, 8)).astype(np.float32)


class Counted:
    """A kernel module whose calls are counted."""

    def __init__(self, name, module, calls):
        self.name, self.module, self.calls = name, module, calls

    def __getattr__(self, attribute):
        found = getattr(self.module, attribute)
        if not callable(found):
            return found

        def call(*arguments, **options):
            self.calls.append(f"{self.name}.{attribute}")
            return found(*arguments, **options)

        return call


@pytest.fixture
def calls(monkeypatch):
    """Names of the kernels that were called, in order, convolutions left out."""
    names, chosen = [], _dispatch._chosen

    def counted(name, char):
        module = chosen(name, char)
        return module if "conv" in name else Counted(name, module, names)

    monkeypatch.setattr(_dispatch, "_chosen", counted)
    return names


def network():
    ck.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())


def block(seed=0):
    """A convolution's result, and the batch norm of it with the activation, all waiting."""
    rng = np.random.default_rng(seed)
    w = ck.tensor(rng.standard_normal((5, 2, 3, 3)).astype(np.float32), requires_grad=True)
    weight = ck.tensor(rng.standard_normal(5).astype(np.float32), requires_grad=True)
    bias = ck.tensor(rng.standard_normal(5).astype(np.float32), requires_grad=True)
    x = F.conv2d(IMAGES, w, padding=1)
    z = F.batch_norm(x, None, None, weight, bias, training=True)
    return x, z, F.relu(z), (w, weight, bias)


# The switch.


def test_switch():
    assert ck.get_fusion()
    with ck.fusion(False):
        assert not ck.get_fusion()
        with ck.fusion(True):
            assert ck.get_fusion()
        assert not ck.get_fusion()
    ck.set_fusion(False)
    try:
        assert not ck.get_fusion()
    finally:
        ck.set_fusion(True)
    for call in (ck.set_fusion, lambda enabled: ck.fusion(enabled).__enter__()):
        refuses(TypeError, r"^(set_)?fusion: enabled=1 must be True or False", call, 1)


def test_switch_is_that_of_a_thread():
    seen = []
    with ck.fusion(False):
        other = threading.Thread(target=lambda: seen.append(ck.get_fusion()))
        other.start()
        other.join()
    assert seen == [True]


# What is computed, and when.


def test_a_block_in_training_reads_its_convolution_twice_each_way(calls):
    model = network()
    loss = model(IMAGES).sum()
    assert [name for name in calls if name.split(".")[0] not in ("layout", "passes")] == [
        "batch_norm.learn",
        "affine_max_pool2d.forward",
    ]
    calls.clear()
    loss.backward()
    assert [name for name in calls if name.split(".")[0] not in ("layout", "passes")] == ["batch_norm.pooled_backward"]


def test_without_fusion_each_operation_runs_by_itself(calls):
    with ck.fusion(False):
        network()(IMAGES).sum().backward()
    for name in ("affine.forward", "activation.forward", "max_pool2d.forward", "max_pool2d.backward",
                 "activation.backward", "batch_norm.backward"):  # fmt: skip
        assert name in calls
    assert "affine_max_pool2d.forward" not in calls


def test_values_are_computed_once_when_they_are_read(calls):
    _, _, y, _ = block()
    calls.clear()
    assert y.shape == (4, 5, 8, 8)
    assert (y.dtype, y.ndim, y.numel(), y.size(1)) == (np.float32, 4, 4 * 5 * 64, 5)
    assert y.requires_grad
    assert calls == []
    first = y.data
    assert calls == ["affine.forward"]
    assert y.data is first
    assert calls == ["affine.forward"]


def test_a_residual_block_is_one_pass(calls):
    x, z, _, _ = block()
    calls.clear()
    F.relu(z + x).data  # noqa: B018 (reading is what is tested)
    assert calls == ["affine.forward"]


def test_training_takes_less_memory():
    def in_use():
        ck.empty_cache()
        images = np.zeros((16, 8, 64, 64), np.float32)
        weight = ck.tensor(np.ones((32, 8, 1, 1), np.float32), requires_grad=True)
        before = ck.memory_stats()["in_use"]
        y = F.max_pool2d(F.relu(F.batch_norm(F.conv2d(images, weight), None, None, training=True)), 2)
        return y, ck.memory_stats()["in_use"] - before

    used = {name: bytes for name, (_, bytes) in both(in_use).items()}
    image = 16 * 32 * 64 * 64 * 4
    # The convolution's output, and of a quarter of its size the maxima, what they were before, and bytes of places.
    assert used["fusion=True"] <= 1.6 * image
    assert used["fusion=False"] >= 2 * image


# What is seen.


def test_reading_shows_the_values_of_every_step():
    def run():
        tensors = block()[:3]
        return [tensor.data for tensor in tensors]

    assert_same_bits(both(run), "steps")


@pytest.mark.parametrize(
    "read",
    [lambda t: t.detach().numpy(), repr, lambda t: np.asarray(t.detach()), lambda t: t[0].data, lambda t: len(t),
     lambda t: t.clone().data, lambda t: (t * 2).data, lambda t: t.sum().item(), lambda t: (t > 0).data,
     lambda t: t.reshape(-1).data, lambda t: t.double().data, lambda t: ck.cat([t, t]).data, lambda t: F.elu(t).data,
     lambda t: F.pad(t, (1, 1)).data, lambda t: F.dropout(t, 0.0).data, lambda t: copy.copy(t).data],
)  # fmt: skip
def test_whoever_reads_sees_the_values(read):
    results = both(lambda: [np.asarray(read(tensor)) for tensor in block()[:3]])
    assert_same_bits(results, "read")


def test_branches_hooks_and_reading_in_between_change_nothing():
    def run(look):
        x, z, y, leaves = block()
        pooled = F.max_pool2d(y, 2)
        for tensor in look(x, z, y):
            assert tensor.data.shape == tensor.shape
        loss = (pooled * 2).sum()
        for tensor in look(x, z, y):
            loss = loss + (tensor * tensor).sum()
        loss = (
            loss
            + F.max_pool2d(y, 3, 1).mean()
            + F.relu(z).mean()
            + F.conv2d(y, np.ones((1, 5, 1, 1), np.float32)).mean()
        )
        loss.backward()
        return [loss.data, *(leaf.grad.data for leaf in leaves)]

    for chosen in itertools.product((False, True), repeat=3):

        def look(*tensors, chosen=chosen):
            return [tensor for tensor, wanted in zip(tensors, chosen, strict=True) if wanted]

        fused, unfused = both(lambda look=look: run(look)).values()
        for actual, answer in zip(fused, unfused, strict=True):
            np.testing.assert_allclose(actual, answer, rtol=2e-5, atol=2e-5)


def test_hooks_see_every_layer():
    def run():
        model, seen = network(), []
        for layer in model:
            layer.register_forward_hook(lambda module, args, output: seen.append(output.data.copy()))
        output = model(IMAGES)
        output.sum().backward()
        return [*seen, *(parameter.grad.data for parameter in model.parameters())]

    assert_same_bits(both(run), "hooks")


def test_a_hook_may_change_what_it_sees():
    def change(module, args, output):
        output.data[...] *= 2

    def changed():
        model = network()
        for layer in (model[0], model[1], model[2]):
            layer.register_forward_hook(change)
        return [model(IMAGES).data]

    assert_same_bits(both(changed), "changed by hooks")


# What is changed before it is read.


def test_later_changes_do_not_reach_values_that_wait():
    def run():
        x, z, y, (_, weight, bias) = block()
        x.data[...] = 7  # copies are changed, or arrays that have been read
        z.data[...] = 8
        weight.data[...] = 9
        bias.data[...] = 10
        return [x.data, z.data, y.data, F.max_pool2d(y, 2).data]

    assert_same_bits(both(run), "changed")


def test_running_statistics_are_moved_at_the_call_and_read_at_the_call():
    def run():
        mean, var = ck.tensor(np.zeros(5, np.float32)), ck.tensor(np.ones(5, np.float32))
        x = block()[0]
        y = F.relu(F.batch_norm(x, mean, var))
        F.batch_norm(x, mean, var, training=True)
        moved = mean.data.copy(), var.data.copy()
        mean.data[...] = 100
        return [y.data, *moved]

    assert_same_bits(both(run), "running statistics")


def test_arrays_of_the_user_are_read_at_the_call():
    """They may change at any time, so nothing waits for them."""

    def run():
        array = IMAGES.copy()
        mean, var = np.zeros(2, np.float32), np.ones(2, np.float32)
        y = F.relu(F.batch_norm(ck.Tensor(array), mean, var))
        array[...] = 0
        return [y.data]

    assert_same_bits(both(run), "array")


def test_a_tensor_and_its_views_share_memory_once_they_are_seen():
    x, _, y, _ = block()
    before = y.data.copy()
    flat = x.reshape(4, -1)
    flat.data[...] = 3
    detached = x.detach()
    detached.data[...] = 5
    assert np.all(x.data == 5)
    np.testing.assert_array_equal(y.data, before)


def test_memory_is_shared_after_a_copy_was_made():
    x, z, _, _ = block()
    assert x.data is x.data
    alias = x.detach()
    alias.data[0, 0, 0, 0] = 123
    assert x.data[0, 0, 0, 0] == 123
    assert np.isfinite(z.data).all()


# Gradients.


def chain_of(training, activation, pool, residual):
    def chain(x, v, weight, bias):
        mean, var = np.zeros(3), np.ones(3)
        y = F.conv2d(x, v, padding=1)
        z = F.batch_norm(y, mean, var, weight, bias, training)
        z = activation(z + y if residual else z)
        return F.max_pool2d(z, pool) if pool else z

    return chain


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [F.relu, F.leaky_relu, F.relu6, lambda x: x])
@pytest.mark.parametrize("pool", [None, 2])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_gradients_against_differences(training, activation, pool, residual, large, monkeypatch):
    """Of small arrays too by the kernels that large ones are left to."""
    if large:
        monkeypatch.setattr(pending_gradients, "LEAST", 0)
    rng = np.random.default_rng(3)
    inputs = apart(rng, (2, 1, 4, 6)), rng.standard_normal((3, 1, 3, 3)), rng.standard_normal(3), rng.standard_normal(3)
    assert_gradients(chain_of(training, activation, pool, residual), *inputs, tolerance=2e-6)


def test_gradients_against_pytorch():
    torch = pytest.importorskip("torch")
    _, _, y, leaves = block()
    F.max_pool2d(y, 3, 2, 1).backward(np.ones((4, 5, 4, 4), np.float32))
    theirs = [torch.tensor(leaf.data, requires_grad=True) for leaf in leaves]
    t = torch.nn.functional.conv2d(torch.tensor(IMAGES), theirs[0], padding=1)
    t = torch.nn.functional.batch_norm(t, None, None, theirs[1], theirs[2], training=True)
    torch.nn.functional.max_pool2d(torch.relu(t), 3, 2, 1).sum().backward()
    for leaf, their in zip(leaves, theirs, strict=True):
        np.testing.assert_allclose(leaf.grad.data, their.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_leaves_that_nobody_has_seen_get_gradients_of_their_own():
    one = np.ones((1, 2, 1, 1), np.float32)
    a, b = (F.conv2d(IMAGES, one).requires_grad_() for _ in range(2))
    F.relu(a + b).sum().backward()
    assert not np.may_share_memory(a.grad.data, b.grad.data)
    np.testing.assert_array_equal(a.grad.data, b.grad.data)
    np.testing.assert_array_equal(a.grad.data, a.data > 0)


def test_gradients_that_meet_are_summed_on_the_way(calls):
    """Large ones, of one order in memory; every activation has its own rule."""
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)

    def run(activation):
        w = ck.tensor(np.float32([[1, -2, 1], [0.5, 1, -3]]).reshape(2, 3, 1, 1), requires_grad=True)
        x = F.conv2d(images, w)
        y = activation(x + F.batch_norm(x, None, None, training=True))
        z = F.conv2d(y, np.ones((2, 2, 3, 3), np.float32), padding=1)
        (F.conv2d(z + y, np.ones((1, 2, 3, 3), np.float32)) ** 2).mean().backward()
        return [w.grad.data]

    for activation in (F.relu, F.relu6, F.leaky_relu):
        calls.clear()
        assert_same_bits(both(lambda activation=activation: run(activation)), "summed")
        assert "affine.backward_of_sum" in calls


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_that_meet_are_added_whatever_their_sign(fused):
    """In one pass over memory, where they are large."""
    rng = np.random.default_rng(0)
    x, grad = (rng.integers(-3, 4, (2, 16, 32, 32)).astype(np.float32) for _ in range(2))
    leaf = ck.Tensor(x, requires_grad=True)
    with ck.fusion(fused):
        (leaf * 2 + F.relu(leaf)).backward(grad)
    assert np.array_equal(leaf.grad.data, 2 * grad + grad * (x > 0))


def test_retained_graph_gives_the_same_gradient_twice():
    _, _, y, leaves = block()
    loss = F.max_pool2d(y, 2).sum()
    loss.backward(retain_graph=True)
    once = [leaf.grad.data.copy() for leaf in leaves]
    loss.backward()
    for leaf, first in zip(leaves, once, strict=True):
        np.testing.assert_array_equal(leaf.grad.data, 2 * first)
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        loss.backward()


def test_only_what_requires_a_gradient_gets_one():
    for wanted in itertools.product((False, True), repeat=3):
        _, _, _, leaves = block()
        for leaf, requires in zip(leaves, wanted, strict=True):
            leaf.requires_grad = requires
        y = F.relu(F.batch_norm(F.conv2d(IMAGES, leaves[0]), None, None, *leaves[1:], training=True))
        y = F.max_pool2d(y, 2)
        assert y.requires_grad == any(wanted)
        if any(wanted):
            y.sum().backward()
        assert tuple(leaf.grad is not None for leaf in leaves) == wanted


def convolution_and_norm(training, uses=1, untied=False):
    """The gradient of a bias before a batch norm, and the sum that it is by definition."""
    rng = np.random.default_rng(0)
    x, w = (ck.tensor(rng.standard_normal(s)) for s in [(3, 2, 6, 5), (4, 2, 3, 3)])
    bias = ck.tensor(rng.standard_normal((4, 6, 5) if untied else 4), requires_grad=True)
    scale = rng.random(4) + 0.5
    output = F.conv2d(x, w, bias, padding=1)
    normed = F.batch_norm(output, np.zeros(4), np.ones(4), scale, training=training)
    loss = (normed * rng.standard_normal(normed.shape)).sum()
    for _ in range(uses - 1):
        loss = loss + (output * rng.standard_normal(output.shape)).sum()
    loss.backward()

    def again(values):
        with ck.no_grad():
            output = F.conv2d(x, w, values, padding=1)
            return F.batch_norm(output, np.zeros(4), np.ones(4), scale, training=training), output

    return bias, again


def test_a_bias_that_a_batch_norm_takes_along_has_a_gradient_of_zeros(calls):
    bias, again = convolution_and_norm(training=True)
    assert not bias.grad.numpy().any()
    assert not [name for name in calls if name.startswith("channel_sum.")]
    assert np.allclose(again(bias)[0].numpy(), again(bias + 5)[0].numpy())


@pytest.mark.parametrize(
    "how", [{"training": False}, {"training": True, "uses": 2}, {"training": True, "untied": True}], ids=str
)
def test_every_other_bias_has_the_gradient_that_it_had(how):
    """With running statistics, with another way to the loss, and of every position its own."""
    with ck.fusion(False):
        expected = convolution_and_norm(**how)[0].grad.numpy()
    gradient = convolution_and_norm(**how)[0].grad.numpy()
    assert np.abs(gradient).max() > 0.1
    assert np.allclose(gradient, expected, rtol=1e-12)


def test_no_grad_waits_too_and_records_nothing(calls):
    with ck.no_grad():
        y = F.max_pool2d(block()[2], 2)
    assert not y.requires_grad
    assert calls.count("affine_max_pool2d.forward") == 1


def test_every_operation_has_its_node():
    _, _, y, _ = block()
    node, names = F.max_pool2d(y, 2).grad_fn, []
    while isinstance(node, ck.autograd.Node):
        names.append(node.name)
        node = node.targets[0]
    assert names == ["max_pool2d", "relu", "batch_norm", "conv2d"]


def test_a_gradient_may_start_in_the_middle():
    def run():
        _, z, y, leaves = block()
        F.max_pool2d(y, 2)
        z.backward(np.ones(z.shape, np.float32))
        return [leaf.grad.data for leaf in leaves]

    assert_same_bits(both(run), "from batch norm")


@pytest.mark.parametrize(("name", "size", "steps"), [("resnet20", (8, 8), 3), ("mobilenet_v2", (32, 32), 2)])
def test_networks_train_to_the_same_numbers(name, size, steps):
    """Fused and unfused, step by step: pooled sums may differ in the last bit of a double."""

    def run():
        ck.manual_seed(0)
        model = getattr(ck.models, name)(num_classes=3, image_size=size)
        optimizer = ck.optim.SGD(model.parameters(), lr=0.05)
        images = np.random.default_rng(0).standard_normal((4, 3, *size)).astype(np.float32)
        losses = []
        for _ in range(steps):
            loss = F.cross_entropy(model(images), np.array([0, 1, 2, 0]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.data)
        return losses

    assert_same_bits(both(run), name)
