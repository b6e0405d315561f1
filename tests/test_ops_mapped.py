"""Convolutions of what a batch norm and a rectifier make of their input, computed on the way, as if before."""

import itertools

import numpy as np
import pytest
import reference
from cases import DTYPES, LAYOUTS, SETTLED, assert_exact, assert_same_bits, reals
from forced import never_split

from convkit import float32_precision, num_threads
from convkit._dispatch import tile_shape
from convkit._shapes import conv2d as sizes_of
from convkit.ops._affine import Mapped
from convkit.ops._convolution import maps_input, plan
from convkit.ops.conv2d import convolved, weight_gradient

ACTIVATIONS = {"": lambda x: x, "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6)}


def layers(lanes):
    """(kernel that does it, input shape, weight shape, options): whole vectors and others, all edges."""
    wide = 2 * lanes + 3
    yield "conv2d", (3, wide, 5, 7), (lanes + 1, wide, 1, 1), {}
    yield "conv2d", (2, 20 * lanes, 5, 7), (3, 20 * lanes, 1, 1), {"padding": 1}
    yield "conv2d", (3, lanes, 11, 10), (2 * lanes, lanes, 3, 3), {"stride": 2, "padding": 1}
    yield "conv2d", (2, wide, 9, 12), (2 * lanes, wide, 2, 3), {"dilation": (1, 2), "padding": (0, 2)}
    yield "conv2d", (2, wide, 13, 14), (2 * lanes, wide, 1, 1), {"stride": 2}
    yield "narrow_conv2d", (2, lanes, 8, 11), (lanes, lanes, 2, 3), {"padding": 1}
    for shape, options in [
        ((2, wide, 9, 8), {"padding": 1}),
        ((3, wide, 12, 7), {"padding": (2, 0), "stride": (2, 1)}),
        ((2, lanes, 11, 13), {"padding": 2, "dilation": 2}),
        ((1, wide, 40, 31), {"padding": 1, "stride": 2}),
        ((3, wide, 2, 20), {"padding": (5, 1)}),
    ]:
        yield "depthwise_conv2d", shape, (shape[1], 1, 3, 3), {**options, "groups": shape[1]}


CASES = [(dtype, *layer) for dtype in DTYPES for layer in layers(tile_shape(np.dtype(dtype))[1])]


def geometry_of(shape, weight_shape, options):
    default = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    return sizes_of("conv2d", shape, weight_shape, **{**default, **options})


def mapped(x, map, activation):
    """The definition, in the dtype of `x`."""
    centre, scale, shift = map[:, None, :, None, None]
    return ACTIVATIONS[activation]((x - centre) * scale + shift)


def small_integers(rng, *shape):
    return rng.integers(-2, 3, shape).astype(np.float64)


@pytest.mark.parametrize(("dtype", "name", "shape", "weight_shape", "options"), CASES)
def test_against_the_definition(dtype, name, shape, weight_shape, options):
    """Of integers; every map moves zero, so padding that was mapped would show."""
    rng = np.random.default_rng(0)
    geometry = geometry_of(shape, weight_shape, options)
    with never_split():
        assert plan("forward", np.dtype(dtype), geometry).algorithm.kernel == name
        assert maps_input(np.dtype(dtype), geometry)
    x, w, g = (small_integers(rng, *s) for s in (shape, weight_shape, geometry.output_shape))
    map = np.stack([rng.integers(low, high, shape[1]) for low, high in [(-2, 3), (1, 3), (3, 5)]]).astype(np.float64)
    for activation in ACTIVATIONS:
        values = mapped(x, map, activation)
        answers = [
            reference.conv2d(values, w, **options),
            reference.conv2d_backward_weight(values, w.shape, g, **options),
        ]
        for layout, threads in itertools.product(("C order", "channels-last"), (1, 2)):
            typed = LAYOUTS[layout](x.astype(dtype))
            read = Mapped(typed, map.astype(dtype), activation)
            with num_threads(threads):
                results = [
                    convolved(geometry, read, w.astype(dtype), None),
                    weight_gradient(geometry, read, g.astype(dtype)),
                ]
            for result, answer in zip(results, answers, strict=True):
                assert_exact(result, answer, dtype, f"{name} {activation} {layout} threads={threads}")
            np.testing.assert_array_equal(typed, x)


@pytest.mark.parametrize(("dtype", "name", "shape", "weight_shape", "options"), CASES)
@pytest.mark.parametrize("value", [None, np.nan, np.inf, -np.inf])
def test_same_bits_as_a_pass_before(dtype, name, shape, weight_shape, options, value):
    """In any number of threads, and of what is not finite: where kernels that transform begin again."""
    rng = np.random.default_rng(1)
    geometry = geometry_of(shape, weight_shape, options)
    x, w, g = (LAYOUTS["channels-last"](reals(rng, s, dtype)) for s in (shape, weight_shape, geometry.output_shape))
    map = reals(rng, (3, shape[1]), dtype)
    if value is not None:
        x[0, 1, 1, 3] = x[-1, 0, 0, 0] = value
    for activation in ("", "relu6"):
        read = Mapped(x, map, activation)
        results = {"before": [convolved(geometry, read.value(), w, None), weight_gradient(geometry, read.value(), g)]}
        for threads in SETTLED if value is None else (1, 2):
            with num_threads(threads):
                results[threads] = [convolved(geometry, read, w, None), weight_gradient(geometry, read, g)]
        assert_same_bits(results, f"{name} {activation} {value}")
    if value is not None:
        assert np.isnan(results[1][0]).any() == bool(np.isnan(value))


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_in_every_precision(precision):
    rng = np.random.default_rng(2)
    geometry = geometry_of((2, 64, 16, 16), (64, 64, 3, 3), {"padding": 1})
    x, w, g = (reals(rng, s, np.float32) for s in geometry[:2] + geometry[-1:])
    read = Mapped(x, reals(rng, (3, 64), np.float32), "relu")
    with float32_precision(precision):
        results = {
            "before": [convolved(geometry, read.value(), w, None), weight_gradient(geometry, read.value(), g)],
            "on the way": [convolved(geometry, read, w, None), weight_gradient(geometry, read, g)],
        }
    assert_same_bits(results, precision)


def test_a_bias_is_added():
    rng = np.random.default_rng(3)
    geometry = geometry_of((2, 32, 8, 8), (20, 32, 1, 1), {})
    x, w, b = reals(rng, (2, 32, 8, 8), np.float32), reals(rng, (20, 32, 1, 1), np.float32), np.float32(range(20))
    read = Mapped(x, reals(rng, (3, 32), np.float32), "relu")
    np.testing.assert_array_equal(convolved(geometry, read, w, b), convolved(geometry, read.value(), w, b))


@pytest.mark.parametrize(
    ("shape", "weight_shape", "options"),
    [
        ((4, 3, 16, 16), (32, 3, 3, 3), {}),  # vectors are not full
        ((2, 64, 16, 16), (64, 32, 3, 3), {"groups": 2}),
        ((1, 64, 3, 3), (64, 64, 1, 1), {}),  # a matrix times a few vectors
        ((2, 64, 16, 16), (64, 64, 3, 3), {"padding": 1}),  # tiles read each pixel four times
        ((1, 512, 5, 600), (512, 1, 3, 3), {"groups": 512}),  # three lines do not fit the cache
    ],
)
def test_some_layers_leave_it_to_a_pass_before(shape, weight_shape, options):
    """And take what is to be mapped all the same."""
    rng = np.random.default_rng(4)
    geometry = geometry_of(shape, weight_shape, options)
    assert not maps_input(np.dtype(np.float32), geometry)
    x, w, g = (reals(rng, s, np.float32) for s in (shape, weight_shape, geometry.output_shape))
    read = Mapped(x, reals(rng, (3, shape[1]), np.float32), "relu")
    results = {
        "before": [convolved(geometry, read.value(), w, None), weight_gradient(geometry, read.value(), g)],
        "mapped": [convolved(geometry, read, w, None), weight_gradient(geometry, read, g)],
    }
    assert_same_bits(results, "left to a pass before")
