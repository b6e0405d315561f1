"""bfloat16 as storage: the ops of float32, with their results rounded once."""

import inspect
import pickle

import numpy as np
import pytest
from cases import LAYOUTS, is_channels_last, refuses, run_python, whole_buffer
from test_ops_errors import CALLS

import convkit
from convkit import ops
from convkit._threads import num_threads
from convkit.ops._bfloat16 import narrowed, widened

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
CHUNK = 16384  # numbers that a thread converts at a time

TAKE_ARRAYS = [name for name, call in CALLS.items() if any(isinstance(value, np.ndarray) for value in call.values())]


def is_float(value):
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def stored(rng, shape):
    return rng.standard_normal(shape).astype(BFLOAT16)


def call_of(op, rng):
    """Arguments of an op, with random bfloat16 in place of all float32; what must be positive is."""
    given = {name: stored(rng, value.shape) if is_float(value) else value for name, value in CALLS[op].items()}
    return {name: abs(value) if name in ("var", "output") else value for name, value in given.items()}


def as_float32(given):
    return {
        name: value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == BFLOAT16 else value
        for name, value in given.items()
    }


def all_of(result):
    return result if isinstance(result, tuple) else (result,)


def assert_rounded(actual, expected, label=""):
    """Equal to float32's results, rounded by another package; what is not float32 is the same."""
    for one, of in zip(all_of(actual), all_of(expected), strict=True):
        of = of.astype(BFLOAT16) if of.dtype == np.float32 else of
        assert one.dtype == of.dtype, label
        assert one.shape == of.shape, label
        assert np.array_equal(one.astype(np.float64), of.astype(np.float64), equal_nan=True), label


@pytest.mark.parametrize("op", [name for name in TAKE_ARRAYS if name != "batch_norm_stats"])
def test_every_op_is_that_of_float32_rounded_once(op):
    rng = np.random.default_rng(0)
    given = call_of(op, rng)
    before = {name: whole_buffer(value) for name, value in given.items() if isinstance(value, np.ndarray)}
    with np.errstate(invalid="ignore"):
        assert_rounded(getattr(ops, op)(**given), getattr(ops, op)(**as_float32(given)))
        assert_rounded(getattr(ops, op)(*given.values()), getattr(ops, op)(*as_float32(given).values()))
    assert {name: whole_buffer(given[name]) for name in before} == before


def test_every_op_with_arrays_is_among_these():
    """All but those that ask for shapes alone."""
    for name in set(ops.__all__) - set(TAKE_ARRAYS):
        assert not {"input", "grad_output"} & set(inspect.signature(getattr(ops, name)).parameters)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_sums_are_not_rounded_on_the_way(mode):
    """Of ops that NumPy helps with."""
    rng = np.random.default_rng(1)
    grad = stored(rng, (2, 3, 8, 9))
    args = (2, 3, 4, 4), (2, 3, 2, 2), mode
    assert_rounded(ops.pad_backward(grad, *args), ops.pad_backward(grad.astype(np.float32), *args))
    stack, one = stored(rng, (50, 2, 3)), stored(rng, (3, 4))
    grad = stored(rng, (50, 2, 4))
    assert_rounded(
        ops.matmul_backward_other(stack, (1, 3, 4), grad),
        ops.matmul_backward_other(stack.astype(np.float32), (1, 3, 4), grad.astype(np.float32)),
    )
    x, w, untied = stored(rng, (2, 3, 5, 5)), stored(rng, (4, 3, 3, 3)), stored(rng, (4, 3, 3))
    assert_rounded(ops.conv2d(x, w, untied), ops.conv2d(*(a.astype(np.float32) for a in (x, w, untied))))
    assert_rounded(ops.matmul(stack, one), ops.matmul(stack.astype(np.float32), one.astype(np.float32)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_order_of_memory(layout):
    rng = np.random.default_rng(2)
    x, w = stored(rng, (3, 5, 4, 6)), stored(rng, (7, 5, 3, 3))
    laid, laid_w = LAYOUTS[layout](x), LAYOUTS[layout](w)
    convolved = ops.conv2d(laid, laid_w, padding=1)
    assert_rounded(convolved, ops.conv2d(x.astype(np.float32), w.astype(np.float32), padding=1), layout)
    assert is_channels_last(convolved)
    assert_rounded(ops.relu(laid), ops.relu(x.astype(np.float32)), layout)
    assert_rounded(ops.max_pool2d(laid, 2), ops.max_pool2d(x.astype(np.float32), 2), layout)
    assert_rounded(ops.softmax(laid, 1), ops.softmax(x.astype(np.float32), 1), layout)
    alike = ops.relu(laid).strides, ops.relu(laid.astype(np.float32, order="K")).strides
    assert alike[0] == tuple(stride // 2 for stride in alike[1])


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)], ids=str)
def test_nothing(shape):
    x = np.zeros(shape, BFLOAT16)
    assert_rounded(ops.relu(x), np.zeros(shape, np.float32))
    assert_rounded(ops.max_pool2d(x, 2)[0], np.zeros((*shape[:2], 2, 2), np.float32))


def test_every_bfloat16_widens_exactly():
    every = np.arange(2**16, dtype=np.uint16).view(BFLOAT16)
    assert widened(every).view(np.uint32).tolist() == [i << 16 for i in range(2**16)]


def test_rounding():
    """All that is cut off: less than a half, a half, more; with every kind of number above it."""
    upper = np.arange(2**16, dtype=np.uint32)[:, None]
    lower = np.uint32([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    x = (upper << 16 | lower).ravel().view(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = x.astype(BFLOAT16)
    actual = narrowed(x, BFLOAT16)
    numbers = ~np.isnan(x)
    assert np.array_equal(actual.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])
    assert np.isnan(actual[~numbers].astype(np.float32)).all()
    assert np.isinf(actual[numbers].astype(np.float32)).sum() > np.isinf(x).sum()  # some overflow


def test_nan_and_infinity():
    x = np.array([-np.inf, -1, -0.0, np.nan, 2, np.inf], BFLOAT16)
    assert ops.relu(x).astype(np.float32).tolist()[4:] == [2, np.inf]
    assert np.isnan(ops.relu(x)[3].astype(np.float32))
    pooled, indices = ops.max_pool2d(x.reshape(1, 1, 2, 3), (1, 3))
    assert np.isnan(pooled[0, 0, 1, 0].astype(np.float32)) or indices[0, 0, 1, 0] == 2
    ones = np.ones((1, 1, 1, 1), BFLOAT16)
    through = ops.conv2d(x.reshape(1, 1, 2, 3), ones).ravel().astype(np.float32)
    assert np.array_equal(through, x.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("size", [1, 15, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 20 * CHUNK + 3])
def test_conversion_of_any_size_on_any_number_of_threads(size):
    x = stored(np.random.default_rng(3), size)
    y = x.astype(np.float32) * np.float32(1.001)
    for threads in (1, 2, 3):
        with num_threads(threads):
            assert np.array_equal(widened(x), x.astype(np.float32))
            assert np.array_equal(narrowed(y, BFLOAT16), y.astype(BFLOAT16))


# ---------------------------------------------------------------------------------------------------------------------
# Batch norm


def test_statistics_are_float32():
    x = stored(np.random.default_rng(4), (4, 3, 5, 5))
    for actual, expected in zip(ops.batch_norm_stats(x), ops.batch_norm_stats(x.astype(np.float32)), strict=True):
        assert actual.dtype == np.float32
        assert np.array_equal(actual, expected)


@pytest.mark.parametrize("dtype", [BFLOAT16, np.float32], ids=str)
def test_vectors_of_batch_norm_may_be_float32(dtype):
    rng = np.random.default_rng(5)
    x, grad = stored(rng, (4, 3, 5, 5)), stored(rng, (4, 3, 5, 5))
    mean, var = ops.batch_norm_stats(x)
    weight, bias = (rng.standard_normal(3).astype(dtype) for _ in range(2))
    wide = x.astype(np.float32), mean, var, weight.astype(np.float32)
    assert_rounded(ops.batch_norm(x, mean, var, weight, bias), ops.batch_norm(*wide, bias.astype(np.float32)))
    of_input, *of_channels = ops.batch_norm_backward(grad, x, mean, var, weight)
    expected, *of_wide = ops.batch_norm_backward(grad.astype(np.float32), *wide)
    assert_rounded(of_input, expected)
    for actual, expected in zip(of_channels, of_wide, strict=True):
        assert actual.dtype == dtype
        assert np.array_equal(actual, expected.astype(dtype))


def test_images_of_batch_norm_may_not_be_float32():
    x = np.ones((2, 3), np.float32)
    v = np.ones(3, BFLOAT16)
    refuses(TypeError, "batch_norm: mean has dtype bfloat16 but input has float32", ops.batch_norm, x, v, v)
    x, v = x.astype(BFLOAT16), np.ones(3)
    refuses(TypeError, "batch_norm: mean has dtype float64 but input has bfloat16", ops.batch_norm, x, v, v)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused, and what does not change


@pytest.mark.parametrize("other", [np.float32, np.float64])
@pytest.mark.parametrize("op", [name for name in TAKE_ARRAYS if sum(map(is_float, CALLS[name].values())) > 1])
def test_dtypes_may_not_be_mixed(op, other):
    given = call_of(op, np.random.default_rng(6))
    first, second, *_ = (name for name, value in given.items() if getattr(value, "dtype", None) == BFLOAT16)
    for name in (first, second):
        if op == "batch_norm" and name == "mean" and other == np.float32:
            continue  # it may be
        mixed = {**given, name: given[name].astype(other)}
        refuses(TypeError, rf"^{op}: {second} has dtype \w+ but {first} has \w+: they", getattr(ops, op), **mixed)


def test_errors_are_those_of_the_op():
    x, w = np.ones((1, 3, 5, 5), BFLOAT16), np.ones((2, 4, 3, 3), BFLOAT16)
    with pytest.raises(ValueError, match="conv2d: input has 3 channels but weight") as caught:
        ops.conv2d(x, w)
    assert caught.value.__context__ is None
    refuses(ValueError, r"conv2d: stride=0 must be at least 1", ops.conv2d, x, w[:, :3], stride=0)
    refuses(TypeError, r"relu: input has dtype float16", ops.relu, np.ones(3, np.float16))


def test_tensors_are_not_bfloat16():
    refuses(TypeError, r"^Tensor: dtype must be .* got bfloat16: .*convkit\.ops$", convkit.tensor, np.ones(3, BFLOAT16))


def test_ops_are_found_by_their_names():
    for name in ops.__all__:
        op = getattr(ops, name)
        assert op.__name__ == name
        assert pickle.loads(pickle.dumps(op)) is op


def test_the_package_is_not_imported():
    code = "import sys, numpy, convkit; convkit.ops.relu(numpy.ones(3)); print('ml_dtypes' in sys.modules)"
    assert run_python("-c", code).strip() == "False"
