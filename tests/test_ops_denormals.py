"""Denormals: a kernel may take them for zero, but makes nothing else of them, and leaves the thread's mode alone.

Every op here is linear in one of its arguments (or, as the maximum, grows with it), so the answer for denormals is
the answer for integers times a power of two.
"""

import numpy as np
import pytest
import reference
from cases import ACTIVATIONS, DTYPES, PEAK, denormals, integers, keeps_denormals

from convkit import num_threads, ops


def max_pool2d(module, x):
    output = module.max_pool2d(x, 3, 2, 1)
    return output[0] if isinstance(output, tuple) else output


def max_pool2d_backward(module, g, x):
    if module is reference:
        return reference.max_pool2d_backward(g, x, 3, 2, 1)
    return ops.max_pool2d_backward(g, ops.max_pool2d(x, 3, 2, 1)[1], x.shape, 3, 2, 1)


SHAPE, WEIGHT, GRAD = (4, 8, 6, 8), (20, 8, 3, 3), (4, 20, 4, 6)
ZERO, QUARTER = np.zeros(8), np.full(8, 0.25)  # a mean and a variance that leave integers integers

# How to run an op, from `ops` or `reference`; the shape of what it is linear in; its other arguments' shapes.
LINEAR = {
    "conv2d": (lambda m, x, w: m.conv2d(x, w), SHAPE, WEIGHT),
    "conv2d of weights": (lambda m, w, x: m.conv2d(x, w), WEIGHT, SHAPE),
    "conv2d of bias": (lambda m, b: m.conv2d(np.zeros(SHAPE, b.dtype), np.zeros(WEIGHT, b.dtype), b), (20,)),
    "conv2d in groups": (lambda m, x, w: m.conv2d(x, w, padding=1, groups=8), SHAPE, (8, 1, 3, 3)),
    "conv2d_backward_input": (lambda m, g, w: m.conv2d_backward_input(SHAPE, w, g), GRAD, WEIGHT),
    "conv2d_backward_weight": (lambda m, x, g: m.conv2d_backward_weight(x, WEIGHT, g), SHAPE, GRAD),
    "conv2d_backward_weight of grad": (lambda m, g, x: m.conv2d_backward_weight(x, WEIGHT, g), GRAD, SHAPE),
    "conv2d_backward_bias": (lambda m, g: m.conv2d_backward_bias(g), GRAD),
    "linear": (lambda m, x, w: m.linear(x, w), (5, 33), (17, 33)),
    "linear_backward_input": (lambda m, g, w: m.linear_backward_input((5, 33), w, g), (5, 17), (17, 33)),
    "linear_backward_weight": (lambda m, x, g: m.linear_backward_weight(x, (17, 33), g), (5, 33), (5, 17)),
    "linear_backward_bias": (lambda m, g: m.linear_backward_bias(g), (5, 17)),
    "max_pool2d": (max_pool2d, SHAPE),
    "max_pool2d_backward": (max_pool2d_backward, (4, 8, 3, 4), SHAPE),
    "avg_pool2d": (lambda m, x: m.avg_pool2d(x, 2), SHAPE),
    "avg_pool2d_backward": (lambda m, g: m.avg_pool2d_backward(g, SHAPE, 2), (4, 8, 3, 4)),
    "lp_pool2d": (lambda m, x: m.lp_pool2d(x, 1, 2), SHAPE),
    "lp_pool2d_backward": (
        lambda m, g: m.lp_pool2d_backward(g, *(np.ones(shape, g.dtype) for shape in (SHAPE, g.shape)), 1, 2),
        (4, 8, 3, 4),
    ),
    "batch_norm_stats": (lambda m, x: m.batch_norm_stats(x[..., :4, :])[0], SHAPE),
    "batch_norm": (lambda m, x: m.batch_norm(x, *given(ZERO, QUARTER, like=x), eps=0), SHAPE),
    "batch_norm_backward": (
        lambda m, g, x: m.batch_norm_backward(g, x, *given(ZERO, QUARTER, like=x), eps=0, training=False)[0],
        SHAPE,
        SHAPE,
    ),
    "batch_norm_backward of weight": (
        lambda m, g, x: m.batch_norm_backward(g, x, *given(ZERO, QUARTER, like=x), eps=0)[1],
        SHAPE,
        SHAPE,
    ),
    "relu": (lambda m, x: m.relu(x), SHAPE),
    "relu_backward": (lambda m, g, y: m.relu_backward(g, y), SHAPE, SHAPE),
}
TERMS = 8 * 9 * 24 + 1  # more numbers than any of these sums has


def given(*vectors, like):
    return [vector.astype(like.dtype) for vector in vectors]


def others(name):
    return LINEAR[name][2:]


def numbers(name):
    rng = np.random.default_rng(0)
    return [integers(rng, shape) for shape in LINEAR[name][1:]]


def small(dtype):
    """A power of two, by which the largest product of two of the integers is denormal still."""
    return float(np.finfo(dtype).tiny) / 2 ** int(np.ceil(np.log2(PEAK**2)))


def run(name, arrays, dtype, threads):
    with num_threads(threads):
        return LINEAR[name][0](ops, *(array.astype(dtype) for array in arrays)).astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("threads", [1, 2])
def test_denormal_arguments_count_as_zero_or_themselves(name, dtype, threads):
    linear_in, *rest = numbers(name)
    answer = LINEAR[name][0](reference, linear_in, *rest)
    result = run(name, [linear_in * small(dtype), *rest], dtype, threads)
    assert np.all((result == 0) | (result == answer * small(dtype)))
    assert keeps_denormals(denormals(3, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in LINEAR if name.startswith(("conv2d", "linear")) and others(name)])
def test_products_that_are_denormal_count_as_zero_or_themselves(name, dtype):
    arrays = numbers(name)
    half = int(np.log2(small(dtype))) // 2
    factors = 2.0**half, 2.0 ** (int(np.log2(small(dtype))) - half)
    answer = LINEAR[name][0](reference, *arrays) * small(dtype)
    result = run(name, [array * factor for array, factor in zip(arrays, factors, strict=True)], dtype, 2)
    assert np.all(np.abs(result - answer) <= TERMS * np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LINEAR)
def test_denormals_among_other_numbers(name, dtype):
    linear_in, *rest = numbers(name)
    every_third = np.arange(linear_in.size).reshape(linear_in.shape) % 3 == 0
    answer = LINEAR[name][0](reference, np.where(every_third, 0, linear_in), *rest)
    result = run(name, [np.where(every_third, small(dtype), linear_in), *rest], dtype, 2)
    assert np.count_nonzero(answer) > 8 or answer.size < 9
    assert np.all(np.abs(result - answer) <= TERMS * np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_denormal_scores(name, dtype):
    x = denormals((3, 5), dtype)
    x[:, ::2] = 0
    answer = getattr(reference, name)(np.zeros(x.shape), 1)
    np.testing.assert_allclose(getattr(ops, name)(x, 1), answer, rtol=4 * np.finfo(dtype).eps)
    assert keeps_denormals(x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_denormals(name, dtype):
    """A denormal moves no result by more than the smallest normal number."""
    x, tiny = denormals((4, 33), dtype), np.finfo(dtype).tiny
    x[::2] *= -1
    near = {"rtol": 4 * np.finfo(dtype).eps, "atol": tiny}
    np.testing.assert_allclose(getattr(ops, name)(x), getattr(reference, name)(np.zeros(x.shape)), **near)
    assert keeps_denormals(x)
    value = np.linspace(0.1, 0.9, x.size).reshape(x.shape).astype(dtype)
    np.testing.assert_allclose(getattr(ops, f"{name}_backward")(x, value), np.zeros(x.shape), **near)
    assert keeps_denormals(x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LINEAR)
def test_a_caller_that_flushes_denormals_goes_on_flushing(name, dtype):
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush denormals")
    try:
        run(name, numbers(name), dtype, 2)
        flushes = not keeps_denormals(denormals(64, dtype))
    finally:
        torch.set_flush_denormal(False)
    assert flushes
