"""The weight gradient by Winograd: the kernel itself, for shapes that the op would give to another one too."""

import itertools

import numpy as np
import pytest
import reference
from cases import (
    DTYPES,
    SETTLED,
    THREADS,
    assert_exact,
    assert_same_bits,
    integers,
    keeps_denormals,
    reals,
    refuse_unless_telling,
    rms,
)
from forced import compute
from hypothesis import given, settings
from hypothesis import strategies as st

from convkit import ops


def channels_last(images, dtype):
    return np.ascontiguousarray(np.moveaxis(images, 1, -1), dtype)


def gradient(images, grads, padding, dtype, threads=1, taps=(3, 3), groups=1, taps_first=True):
    """By the kernel; `taps_first` says how the result lies in memory."""
    channels, outputs = images.shape[1] // groups, grads.shape[1]
    result = np.full((outputs, channels, *taps), np.nan, dtype)
    if taps_first:
        result = np.full((*taps, channels, outputs), np.nan, dtype).transpose(3, 2, 0, 1)
    arrays, how = (channels_last(images, dtype), channels_last(grads, dtype), result), {"groups": groups}
    compute("winograd_conv2d_backward_weight", "backward_weight", *arrays, padding=padding, threads=threads, **how)
    return result


def output_size(size, padding, taps):
    return size + 2 * padding - taps + 1


def check_exact(count, channels, outputs, height, width, padding=(1, 1), taps=(3, 3), groups=1, **how):
    rng = np.random.default_rng(channels * 100 + width)
    grad_shape = (count, outputs, *map(output_size, (height, width), padding, taps))
    # Transformed patches and gradients are four times as large as what they are made of.
    terms = 16 * count * grad_shape[2] * grad_shape[3]
    images, grads = integers(rng, (count, channels, height, width), terms), integers(rng, grad_shape, terms)
    weight_shape, options = (outputs, channels // groups, *taps), {"padding": padding, "groups": groups}
    answer = reference.conv2d_backward_weight(images, weight_shape, grads, **options)
    magnitude = reference.conv2d_backward_weight(np.abs(images), weight_shape, np.abs(grads), **options)
    label = f"{images.shape} {grads.shape} {options} taps={taps}"
    refuse_unless_telling(answer, 16 * magnitude, label)
    for dtype, threads in itertools.product(DTYPES, THREADS):
        result = gradient(images, grads, padding, dtype, threads, taps, groups, **how)
        assert_exact(result, answer, dtype, f"{label} {np.dtype(dtype)} threads={threads}")


@pytest.mark.parametrize("channels", [1, 15, 16, 17, 63, 64, 65, 130])
@pytest.mark.parametrize("outputs", [1, 7, 16, 33, 64, 100])
def test_channels_and_outputs(channels, outputs):
    check_exact(1, channels, outputs, 4, 5)


@pytest.mark.parametrize("taps", [(3, 5), (5, 3), (5, 5), (4, 4), (4, 5)], ids=str)
@pytest.mark.parametrize("channels", [1, 4, 15, 16, 17, 40])
def test_more_taps(taps, channels):
    check_exact(2, channels, 18, 7, 8, (2, 2), taps)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 40), (40, 3), (15, 17), (8, 130), (1, 300)], ids=str)
@pytest.mark.parametrize("padding", [(1, 1), (2, 1), (1, 0), (4, 3)], ids=str)
def test_sizes_and_padding(size, padding):
    if min(map(output_size, size, padding, (3, 3))) > 0:
        check_exact(2, 5, 6, *size, padding)


def test_many_images_in_several_chunks():
    check_exact(40, 3, 18, 8, 7)


@pytest.mark.parametrize("taps", [(3, 3), (5, 5)], ids=str)
@pytest.mark.parametrize("taps_first", [True, False])
@pytest.mark.parametrize(("groups", "channels", "outputs"), [(2, 5, 16), (3, 16, 17), (20, 1, 2), (2, 70, 66)], ids=str)
def test_groups(groups, channels, outputs, taps_first, taps):
    """`channels` and `outputs` of each."""
    check_exact(9, groups * channels, groups * outputs, 7, 8, taps=taps, groups=groups, taps_first=taps_first)


def test_a_result_in_another_order():
    check_exact(2, 17, 20, 6, 7, taps_first=False)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_generated_shapes(data):
    size = st.integers(1, 12)
    padding, taps = (data.draw(st.tuples(size, size)) for size in (st.integers(2, 3), st.sampled_from((3, 5))))
    check_exact(data.draw(st.integers(1, 5)), *(data.draw(st.integers(1, 70)) for _ in range(2)),
                data.draw(size), data.draw(size), padding, taps)  # fmt: skip


@pytest.mark.parametrize("shape", [(4, 64, 56, 64, 3), (8, 128, 14, 128, 3), (16, 256, 7, 64, 3), (64, 16, 14, 32, 5)])
def test_error_is_that_of_a_plain_sum_or_less(shape):
    count, channels, size, outputs, taps = shape
    rng = np.random.default_rng(0)
    images, grads = (reals(rng, (count, maps, size, size), np.float32) for maps in (channels, outputs))
    weight_shape, padding = (outputs, channels, taps, taps), taps // 2
    answer = ops.conv2d_backward_weight(images.astype(float), weight_shape, grads.astype(float), padding=padding)
    direct = np.empty((taps, taps, channels, outputs), np.float32).transpose(3, 2, 0, 1)
    arrays = channels_last(images, np.float32), channels_last(grads, np.float32), direct
    compute("conv2d_backward_weight", "backward_weight", *arrays, padding=(padding, padding))
    result = gradient(images, grads, (padding, padding), np.float32, 1, (taps, taps))
    assert rms(result, answer) <= rms(direct, answer)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(dtype):
    rng = np.random.default_rng(1)
    images, grads = reals(rng, (6, 70, 13, 11), dtype), reals(rng, (6, 40, 13, 11), dtype)
    results = {threads: [gradient(images, grads, (1, 1), dtype, threads)] for threads in SETTLED}
    assert_same_bits(results, "winograd_conv2d_backward_weight")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("where", ["images", "grads"])
def test_says_when_a_result_is_not_finite(value, where):
    """What a transform spread over a tile's taps must not be taken for the answer."""
    arrays = {"images": np.ones((1, 3, 6, 6)), "grads": np.ones((1, 4, 6, 6))}
    arrays[where][0, 1, 0, 0] = value
    arrays = [channels_last(a, np.float32) for a in arrays.values()]
    results = [np.empty((3, 3, 3, 4), np.float32).transpose(3, 2, 0, 1) for _ in range(2)]
    for name, result in zip(("winograd_conv2d_backward_weight", "conv2d_backward_weight"), results, strict=True):
        compute(name, "backward_weight", *arrays, result, padding=(1, 1))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_op_has_what_is_not_finite_only_where_it_belongs(value):
    images, grads = np.ones((2, 8, 6, 6), np.float32), np.ones((2, 40, 6, 6), np.float32)
    images[1, 5, 2, 3] = value
    images[0, 2, 0, 0] = 3e38  # finite, but not when it is added to a neighbour
    images[0, 2, 0, 1] = 3e38
    grads[0, :, :2, :2] = 0
    weight_shape = (40, 8, 3, 3)
    assert ops.conv2d_plan(images.shape, weight_shape, padding=1, gradient="weight").name == "winograd F(3x3, 2x2)"
    answer = reference.conv2d_backward_weight(images.astype(float), weight_shape, grads.astype(float), padding=1)
    result = ops.conv2d_backward_weight(images, weight_shape, grads, padding=1)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(answer))
    spoiled = ~np.isfinite(answer) | (np.abs(answer) > 1e38)
    np.testing.assert_allclose(result[~spoiled], answer[~spoiled], rtol=1e-5)


def test_denormals_are_flushed_and_the_mode_restored():
    tiny = np.full((1, 4, 6, 6), np.float32(1e-42))
    result = gradient(tiny, np.ones((1, 5, 6, 6), np.float32), (1, 1), np.float32)
    assert not result.any()
    assert keeps_denormals(tiny.astype(np.float32))
