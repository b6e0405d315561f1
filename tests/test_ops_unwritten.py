"""The weights' gradient of a batch norm's gradient that is not in memory: rows of it are made as they are read."""

import itertools

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, SETTLED, assert_same_bits, reals
from forced import narrow_gradients

import convkit as ck
import convkit.functional as F
from convkit import _shapes, num_threads
from convkit._dispatch import tile_shape
from convkit.ops import _affine
from convkit.ops._convolution import makes_rows, plan
from convkit.ops.batch_norm import batch_norm_map, input_weight_and_bias_gradients
from convkit.ops.conv2d import weight_gradient

# (images, channels, height, width), kernel, options
LAYERS = [
    ((3, 1, 12, 12), (5, 5), {"padding": 2}),
    ((2, 1, 9, 14), (3, 3), {}),
    ((2, 3, 12, 10), (3, 3), {"padding": 1}),
    ((2, 3, 21, 23), (3, 5), {"padding": (1, 2), "stride": 2}),
    ((2, 3, 13, 11), (3, 3), {"padding": 1, "stride": 2}),
    ((1, 2, 8, 8), (2, 3), {"dilation": (2, 1), "padding": (1, 2)}),
    ((5, 1, 3, 2), (1, 1), {}),
    ((1, 1, 5, 800), (3, 3), {"padding": 1}),  # units across: each has whole rows made
]
POOLS = [(2, 2, 0), (3, 2, 1), (2, 3, 0), (1, 1, 0)]  # also with overlap, and with gaps


def geometry_of(shape, kernel, options, outputs):
    options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}
    return _shapes.conv2d("conv2d", shape, (outputs, shape[1] // options["groups"], *kernel), **options)


def gradients_of(rng, shape, dtype, training):
    """(name, function) of gradients of a batch norm's input of this shape: each call makes a new one."""
    y, g = (LAYOUTS["channels-last"](reals(rng, shape, dtype)) for _ in range(2))
    mean, var, weight, bias = (np.abs(reals(rng, shape[1], dtype)) for _ in range(4))
    map, of = batch_norm_map(y, mean, var, weight, bias, 1e-5), (y, mean, var, weight, 1e-5, training)
    yield "batch norm", lambda: input_weight_and_bias_gradients(g, *of)[0]
    for name in ("relu", "relu6", "leaky_relu"):
        yield name, lambda f=name: _affine.batch_norm_backward_activated(g, map, f, 0.1, *of)[0]
    for name, window in itertools.product(("", "relu"), POOLS):
        if min(shape[2:]) < window[0]:
            continue
        pool = _shapes.pool2d("max_pool2d", shape, *window, 1, False)
        g, pooled = _affine.affine_max_pool2d(y, map, name, pool)
        yield f"{name} {window}", lambda g=g, p=pooled: _affine.batch_norm_backward_pooled(g, p, *of)[0]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "kernel", "options"), LAYERS, ids=str)
def test_same_bits_as_of_one_in_memory(shape, kernel, options, dtype, training):
    rng = np.random.default_rng(0)
    lanes = tile_shape(np.dtype(dtype))[1]
    for outputs in (lanes, 3 * lanes):
        geometry = geometry_of(shape, kernel, options, outputs)
        x = LAYOUTS["channels-last"](reals(rng, shape, dtype))
        for name, gradient in gradients_of(rng, geometry.output_shape, dtype, training):
            with narrow_gradients():
                results = {"in memory": [weight_gradient(geometry, x, gradient().value())]}
                assert makes_rows(np.dtype(dtype), geometry)
                for threads in SETTLED:
                    with num_threads(threads):
                        results[threads] = [weight_gradient(geometry, x, gradient())]
            assert_same_bits(results, f"{name} {outputs}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite(value):
    rng = np.random.default_rng(1)
    geometry = geometry_of((2, 1, 9, 9), (3, 3), {"padding": 1}, tile_shape(np.dtype(np.float32))[1])
    x = reals(rng, geometry.input_shape, np.float32)
    x[0, 0, 3, 4] = value
    for name, gradient in gradients_of(rng, geometry.output_shape, np.float32, True):
        with narrow_gradients():
            results = {"in memory": [weight_gradient(geometry, x, gradient().value())]}
            results["rows"] = [weight_gradient(geometry, x, gradient())]
        assert_same_bits(results, name)


def test_of_a_mapped_input():
    """Both ends of the pass are computed on the way."""
    rng = np.random.default_rng(2)
    lanes = tile_shape(np.dtype(np.float32))[1]
    geometry = geometry_of((2, lanes, 8, 11), (2, 3), {"padding": 1}, lanes)
    x = _affine.Mapped(reals(rng, geometry.input_shape, np.float32), reals(rng, (3, lanes), np.float32), "relu")
    with narrow_gradients():
        planned = plan("backward_weight", np.dtype(np.float32), geometry)
        assert planned.makes_rows
        assert planned.maps_input
        for name, gradient in gradients_of(rng, geometry.output_shape, np.float32, True):
            results = {"in memory": [weight_gradient(geometry, x, gradient().value())]}
            results["rows"] = [weight_gradient(geometry, x, gradient())]
            assert_same_bits(results, name)


@pytest.mark.parametrize(
    ("weight_shape", "options"),
    [
        ((tile_shape(np.dtype(np.float32))[1] + 1, 1, 3, 3), {}),  # vectors are not full
        ((64, 2, 3, 3), {"groups": 2}),
        ((256, 256, 3, 3), {}),  # the kernel for these reads the gradient from memory
    ],
)
def test_some_layers_have_it_written(weight_shape, options):
    rng = np.random.default_rng(5)
    shape = (2, weight_shape[1] * options.get("groups", 1), 8, 8)
    geometry = geometry_of(shape, (3, 3), options, weight_shape[0])
    assert not makes_rows(np.dtype(np.float32), geometry)
    x = LAYOUTS["channels-last"](reals(rng, shape, np.float32))
    for name, gradient in gradients_of(rng, geometry.output_shape, np.float32, True):
        results = {"in memory": [weight_gradient(geometry, x, gradient().value())]}
        results["late"] = [weight_gradient(geometry, x, gradient())]
        assert_same_bits(results, name)


# On the tape.


@pytest.fixture
def written(monkeypatch):
    """Shapes of the gradients that were written."""
    shapes, value = [], _affine.UnwrittenGradient.value

    def noted(gradient):
        shapes.append(gradient.shape)
        return value(gradient)

    monkeypatch.setattr(_affine.UnwrittenGradient, "value", noted)
    return shapes


def step(of_input, fused=True, uses=1):
    """Gradients of a first layer's parameters, and of its input if so asked."""
    rng = np.random.default_rng(3)
    lanes = tile_shape(np.dtype(np.float32))[1]
    x = ck.tensor(reals(rng, (4, 1, 12, 12), np.float32), requires_grad=of_input)
    w, b = (ck.tensor(reals(rng, s, np.float32), requires_grad=True) for s in ((lanes, 1, 3, 3), (lanes,)))
    with ck.fusion(fused):
        y = F.conv2d(x, w, b, padding=1)
        loss = F.max_pool2d(F.relu(F.batch_norm(y, None, None, training=True)), 2).sum()
        for _ in range(uses - 1):
            loss = loss + (y * y).sum()
        loss.backward()
    return [t.grad.numpy() for t in ([x] if of_input else []) + [w, b]]


def test_a_first_layer_has_no_gradient_in_memory(written):
    results = {"rows": step(of_input=False)}
    assert written == []
    results["without fusion"] = step(of_input=False, fused=False)
    assert len(written) == 1
    results["of the input too"] = step(of_input=True)[1:]
    assert len(written) == 2
    assert_same_bits(results, "parameters")


def test_gradients_that_meet_are_written(written):
    found, expected = step(of_input=False, uses=2), step(of_input=False, fused=False, uses=2)
    assert len(written) == 2
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_retained_graph_gives_the_same_gradient_twice(written):
    rng = np.random.default_rng(4)
    lanes = tile_shape(np.dtype(np.float32))[1]
    w = ck.tensor(reals(rng, (lanes, 1, 3, 3), np.float32), requires_grad=True)
    loss = F.batch_norm(F.conv2d(reals(rng, (2, 1, 8, 8), np.float32), w), None, None, training=True)
    loss = (loss * loss * loss).sum()
    loss.backward(retain_graph=True)
    first = w.grad.numpy().copy()
    w.grad = None
    loss.backward()
    assert written == []
    np.testing.assert_array_equal(w.grad.numpy(), first)
