"""What the tests of the ops share: inputs with exact answers, arrays in every memory order, comparisons."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

DTYPES = (np.float32, np.float64)
THREADS = (1, 2, 3)
SETTLED = (1, 2, 3, 7)  # thread counts whose results must agree to the bit

EXACT = 2**24  # float32 holds every integer up to here
PEAK = 15

# Every function of one element.
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardsigmoid", "hardswish", "softplus", "gelu"
)  # fmt: skip

# The RMS error relative to float64 that a plain float32 sum stays under; the same of float64, doubled because
# the answer is rounded too.
RMS = {np.float32: 1e-6, np.float64: 2e-6 * np.finfo(np.float64).eps / np.finfo(np.float32).eps}


def around(size, multiples=(1, 2)):
    """The sizes where a tile of this size begins, ends and repeats."""
    return {n for m in multiples for n in (m * size - 1, m * size, m * size + 1) if n > 0}


def integers(rng, shape, terms=1):
    """Small integers, without zeros, but thinned out where a sum of `terms` products would leave `EXACT`."""
    values = rng.integers(1, PEAK + 1, shape) * rng.choice([-1, 1], shape)
    mean_product = ((1 + PEAK) / 2) ** 2
    density = min(1.0, np.sqrt(EXACT / 2 / (mean_product * max(terms, 1))))
    return np.where(rng.random(shape) < density, values, 0).astype(np.float64)


def reals(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def refuse_unless_telling(answer, magnitude, label):
    """`magnitude` is the answer for the absolute values, so it bounds every partial sum in every order."""
    assert np.all(magnitude < EXACT), f"{label}: these inputs do not make every float32 sum exact"
    reached = np.count_nonzero(magnitude)
    telling = 2 * np.count_nonzero(answer) >= reached or reached < 8  # a few sums may all cancel
    assert telling, f"{label}: an answer that is mostly zero shows nothing"


def assert_exact(actual, answer, dtype, label):
    assert isinstance(actual, np.ndarray), f"{label}: {type(actual)}"
    assert actual.dtype == dtype, f"{label}: dtype {actual.dtype}, expected {np.dtype(dtype)}"
    assert actual.shape == answer.shape, f"{label}: shape {actual.shape}, expected {answer.shape}"
    wrong = np.argwhere(~((actual == answer) | (np.isnan(actual) & np.isnan(answer))))
    if len(wrong):
        first = tuple(int(i) for i in wrong[0])
        pytest.fail(
            f"{label}: {len(wrong)} of {answer.size} differ, first at {first}: "
            f"got {actual[first]!r}, expected {answer[first]!r}"
        )


def rms(actual, answer):
    scale = np.sqrt(np.mean(np.square(answer)))
    return np.sqrt(np.mean(np.square(actual - answer))) / scale


def assert_rms(actual, answer, dtype, label, limit=None):
    assert actual.dtype == dtype, f"{label}: dtype {actual.dtype}, expected {np.dtype(dtype)}"
    assert actual.shape == answer.shape, f"{label}: shape {actual.shape}, expected {answer.shape}"
    limit = RMS[dtype] if limit is None else limit
    error = rms(actual.astype(np.float64), answer)
    assert error <= limit, f"{label}: RMS error {error:.3g} of the answer's RMS, promised {limit:.3g}"


def assert_same_bits(results, label):
    """`results` maps a description to the arrays of one run."""
    (first, expected), *others = results.items()
    for other, arrays in others:
        for i, (a, b) in enumerate(zip(expected, arrays, strict=True)):
            assert a.tobytes() == b.tobytes(), f"{label}: result {i} of {other} is not that of {first}"


def denormals(shape, dtype):
    """A quarter of the smallest normal number, written as bits: a thread that flushes denormals cannot compute it."""
    bits = 1 << (np.finfo(dtype).nmant - 2)
    return np.full(shape, bits, f"u{np.dtype(dtype).itemsize}").view(dtype)


def keeps_denormals(array):
    """Whether this thread computes with an array's denormals. As values they might compare equal to zero."""
    return (array * array.dtype.type(1)).tobytes() == array.tobytes()


def is_channels_last(array):
    return np.moveaxis(array, 1, -1).flags.c_contiguous


def _framed(array, step):
    """The array inside a larger one, as every |step|-th element of it, so that it has neighbours."""
    shape = tuple(2 + abs(step) * max(n, 1) for n in array.shape)
    frame = np.full(shape, 99, array.dtype)
    end = tuple(slice(1, 1 + abs(step) * n, abs(step)) for n in array.shape)
    view = frame[end]
    if step < 0:
        view = view[(slice(None, None, -1),) * array.ndim]
    view[...] = array
    return view


def _misaligned(array):
    buffer = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = buffer.view(array.dtype) if array.nbytes == 0 else np.frombuffer(buffer, array.dtype)
    view = view.reshape(array.shape)
    view[...] = array
    return view


def _read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


# The same values in memory in every way that NumPy can lay them.
LAYOUTS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "channels-last": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1),
    "last axes swapped": lambda a: np.swapaxes(np.ascontiguousarray(np.swapaxes(a, -1, -2)), -1, -2),
    "batch last": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0),
    "sliced": lambda a: _framed(a, 1),
    "every second": lambda a: _framed(a, 2),
    "reversed": lambda a: _framed(a, -1),
    "upside down": lambda a: np.flip(np.ascontiguousarray(np.flip(a, -2)), -2),
    "every second, reversed": lambda a: _framed(a, -2),
    "read-only": _read_only,
    "misaligned": _misaligned,
}


def whole_buffer(array):
    """The bytes of the allocation that an array is a view of: the array and its neighbours."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.tobytes()


def refuses(exception, pattern, call, *args, **kwargs):
    """The call raises, and its message names the function, the argument and the value."""
    __tracebackhide__ = True
    with pytest.raises(exception) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert type(caught.value) is exception, f"{type(caught.value).__name__}: {message}"
    assert re.search(pattern, message), f"{message!r} does not match {pattern!r}"


def run_python(*arguments, timeout=60, **environment):
    """Run this Python in a process of its own and give back what it printed; a hang is a failure.

    An environment value of None removes the variable.
    """
    env = {**os.environ, **environment}
    env = {name: value for name, value in env.items() if value is not None}
    try:
        done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as hang:
        pytest.fail(f"no end after {timeout} s: {arguments}\n{hang.stdout}\n{hang.stderr}")
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
