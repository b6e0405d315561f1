"""Arrays of more than 2^31 elements, where an index of 32 bits would go wrong.

Inputs are zeros but for two patches, where element 2^31 lies and at the end, so what comes of each patch is known
from the patch alone. Zeros that are only read take no memory; results of 9 GB do.
"""

from pathlib import Path

import numpy as np
import pytest
import reference
from cases import integers

import convkit
from convkit import ops

# One after the other: there is memory for one at a time.
pytestmark = [pytest.mark.timeout(1200), pytest.mark.xdist_group("large")]

GIGABYTE = 10**9
BEYOND = 2**31
PATCH = 16
EDGE = 4  # zeros around a patch's numbers: more than a kernel reaches

# Channels, height and width, each of more than 2^31 elements together; the sizes are multiples of the patch's grid.
PLANE = (1, 46400, 46400)
DEEP = (64, 4096, 8208)


@pytest.fixture(autouse=True)
def _memory():
    """Results of 9 GB, with a quarter more behind them, and something left for others."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        pytest.skip("needs Linux's /proc to tell how much memory is free")
    available = next(int(line.split()[1]) for line in meminfo.read_text().splitlines() if "MemAvailable" in line)
    if available * 1024 < 16 * GIGABYTE:
        pytest.skip(f"needs 16 GB of free memory; there are {available * 1024 / GIGABYTE:.1f}")
    yield
    convkit.empty_cache()


def patches(channels, height, width):
    """(rows, cols) of the patches of an image, as slices."""
    row, col = divmod(BEYOND // channels, width)
    starts = (
        (min(row // EDGE * EDGE - EDGE, height - PATCH), col // EDGE * EDGE - EDGE),
        (height - PATCH, width - PATCH),
    )
    return [(slice(top, top + PATCH), slice(left, left + PATCH)) for top, left in starts]


def channels_last(channels, height, width):
    return np.zeros((1, height, width, channels), np.float32).transpose(0, 3, 1, 2)


def fill(image, wheres, scale=1):
    """Put small integers into each patch, at a distance from those of its edges that are not the image's."""
    rng = np.random.default_rng(0)
    for where in shrunk(wheres, scale):
        inner = tuple(
            slice(axis.start + EDGE // scale, axis.stop - (axis.stop < size) * EDGE // scale)
            for axis, size in zip(where, image.shape[2:], strict=True)
        )
        image[:, :, *inner] = integers(rng, image[:, :, *inner].shape)
    return image


def shrunk(wheres, scale):
    """Patches of an image that is so many times smaller."""
    return [tuple(slice(axis.start // scale, axis.stop // scale) for axis in where) for where in wheres]


def assert_patches(result, wheres, answers, scale=1):
    """Each patch is its answer, and whatever is not zero is in a patch."""
    found = 0
    for where, answer in zip(shrunk(wheres, scale), answers, strict=True):
        assert np.count_nonzero(answer) > 8
        assert np.array_equal(result[:, :, *where], answer)
        found += np.count_nonzero(answer)
    assert np.count_nonzero(result.view(np.int32)) == found  # NumPy counts integers fifteen times as fast


def half(grad_channels, shape, wheres):
    """The gradient of an output that is half as high and wide, and its patches."""
    grad = fill(channels_last(grad_channels, shape[1] // 2, shape[2] // 2), wheres, 2)
    return grad, [grad[:, :, *where] for where in shrunk(wheres, 2)]


def test_relu():
    wheres = patches(*PLANE)
    x = fill(channels_last(*PLANE), wheres)
    assert x.size > BEYOND
    assert_patches(ops.relu(x), wheres, [reference.relu(x[:, :, *where]) for where in wheres])


def test_max_pool2d():
    wheres, window = patches(*DEEP), (3, 2, 1)
    x = fill(channels_last(*DEEP), wheres)
    output, indices = ops.max_pool2d(x, *window)
    assert_patches(output, wheres, [reference.max_pool2d(x[:, :, *where], *window) for where in wheres], 2)
    grad, parts = half(DEEP[0], DEEP, wheres)
    answers = [
        reference.max_pool2d_backward(part, x[:, :, *where], *window) for part, where in zip(parts, wheres, strict=True)
    ]
    assert_patches(ops.max_pool2d_backward(grad, indices, x.shape, *window), wheres, answers)


def test_avg_pool2d():
    wheres = patches(*PLANE)
    x = fill(channels_last(*PLANE), wheres)
    assert_patches(ops.avg_pool2d(x, 2), wheres, [reference.avg_pool2d(x[:, :, *where], 2) for where in wheres], 2)
    grad, parts = half(1, PLANE, wheres)
    answers = [reference.avg_pool2d_backward(part, (1, 1, PATCH, PATCH), 2) for part in parts]
    assert_patches(ops.avg_pool2d_backward(grad, x.shape, 2), wheres, answers)


@pytest.mark.parametrize(("shape", "groups"), [(PLANE, 1), (DEEP, 1), (DEEP, 64)])
def test_convolution_of_large_images(shape, groups):
    """Forward and backward-weight read beyond element 2^31, backward-input writes there."""
    how = {"stride": 2, "padding": 1, "groups": groups}
    wheres = patches(*shape)
    x = fill(channels_last(*shape), wheres)
    assert x.size > BEYOND
    w = integers(np.random.default_rng(1), (groups, shape[0] // groups, 3, 3)).astype(np.float32)
    answers = [reference.conv2d(x[:, :, *where], w, **how) for where in wheres]
    assert_patches(ops.conv2d(x, w, **how), wheres, answers, 2)
    grad, parts = half(groups, shape, wheres)
    sums = [
        reference.conv2d_backward_weight(x[:, :, *where], w.shape, part, **how)
        for part, where in zip(parts, wheres, strict=True)
    ]
    assert np.array_equal(ops.conv2d_backward_weight(x, w.shape, grad, **how), sum(sums))
    one = (1, shape[0], PATCH, PATCH)
    answers = [reference.conv2d_backward_input(one, w, part, **how) for part in parts]
    assert_patches(ops.conv2d_backward_input(x.shape, w, grad, **how), wheres, answers)


def test_convolution_with_large_output():
    wheres = patches(*DEEP)
    x = fill(channels_last(1, *DEEP[1:]), wheres)
    w = integers(np.random.default_rng(1), (DEEP[0], 1, 3, 3)).astype(np.float32)
    answers = [reference.conv2d(x[:, :, *where], w, padding=1) for where in wheres]
    assert_patches(ops.conv2d(x, w, padding=1), wheres, answers)


def test_image_in_another_order():
    """It is reordered whole."""
    wheres = patches(*DEEP)
    x = fill(np.zeros((1, *DEEP), np.float32), wheres)
    w = integers(np.random.default_rng(1), (1, DEEP[0], 1, 1)).astype(np.float32)
    answers = [reference.conv2d(x[:, :, *where], w, stride=2) for where in wheres]
    assert_patches(ops.conv2d(x, w, stride=2), wheres, answers, 2)


def test_batch_norm():
    wheres = patches(*DEEP)
    x = fill(channels_last(*DEEP), wheres)
    mean, _ = ops.batch_norm_stats(x)
    sums = sum(x[:, :, *where].sum(axis=(0, 2, 3), dtype=np.float64) for where in wheres)
    np.testing.assert_allclose(mean, sums / (DEEP[1] * DEEP[2]), rtol=1e-6)
    zero, quarter = np.zeros(DEEP[0], np.float32), np.full(DEEP[0], 0.25, np.float32)
    output = ops.batch_norm(x, zero, quarter, eps=0)
    assert_patches(output, wheres, [2 * x[:, :, *where] for where in wheres])
