"""C order into channels-last and back: the same elements, elsewhere."""

import itertools

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, THREADS, around, assert_exact, whole_buffer

from convkit._dispatch import tile_shape
from convkit._threads import num_threads
from convkit.autograd import Tensor
from convkit.ops._arrays import channels_first, nhwc

LANES = max(tile_shape(dtype)[1] for dtype in DTYPES)
CHANNELS = sorted({1, 2, 3, 4, 5, 513} | around(LANES) | around(LANES // 2))
IMAGES = [(1, 1), (2, 3), (1, LANES), (3, LANES - 1), (5, LANES + 1), (LANES, LANES)]


def counted(shape, dtype):
    """Every element differs from the others."""
    return np.arange(np.prod(shape)).astype(dtype).reshape(shape)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("image", [*IMAGES, (30, 35)], ids=str)
def test_there_and_back(image, channels):
    for dtype, threads in itertools.product(DTYPES, THREADS):
        x = counted((2, channels, *image), dtype)
        label = f"{x.shape} {dtype.__name__} threads={threads}"
        with num_threads(threads):
            last = nhwc(x)
            first = channels_first(last.transpose(0, 3, 1, 2))
        assert_exact(last, x.transpose(0, 2, 3, 1), dtype, label)
        assert last.flags.c_contiguous
        assert_exact(first, x, dtype, f"{label}, back")
        assert first.flags.c_contiguous


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [LANES, LANES + 1])
def test_large_images(channels, dtype):
    """Where vectors fill whole lines, these are stored past the caches."""
    x = counted((3, channels, 5, 2**24 // (15 * LANES * dtype().itemsize) + 1), dtype)
    last = nhwc(x)
    assert_exact(last, x.transpose(0, 2, 3, 1), dtype, f"{x.shape}")
    assert_exact(channels_first(last.transpose(0, 3, 1, 2)), x, dtype, f"{x.shape}, back")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_order_of_memory(layout, dtype):
    x = LAYOUTS[layout](counted((3, 5, 4, 6), dtype))
    before = whole_buffer(x)
    assert_exact(nhwc(x), x.transpose(0, 2, 3, 1), dtype, layout)
    assert_exact(channels_first(x), x, dtype, layout)
    assert whole_buffer(x) == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_slice_of_a_batch(dtype):
    """Images in C order, apart from each other."""
    x = counted((6, 3, 4, 5), dtype)[1::2]
    assert_exact(nhwc(x), x.transpose(0, 2, 3, 1), dtype, "every second")
    assert_exact(nhwc(x[:0]), np.empty((0, 4, 5, 3), dtype), dtype, "none")


@pytest.mark.parametrize("dtype", [*DTYPES, np.int64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dims", [*itertools.combinations(range(4), 2)], ids=str)
def test_flatten_is_in_logical_order(dims, layout, dtype):
    x = counted((3, 5, 4, 6), dtype)
    tensor = Tensor(LAYOUTS[layout](x))
    flat = x.reshape((*x.shape[: dims[0]], -1, *x.shape[dims[1] + 1 :]))
    assert_exact(tensor.flatten(*dims).data, flat, dtype, layout)


def test_flatten_copies_nothing_that_lies_in_order():
    x = LAYOUTS["channels-last"](counted((3, 5, 4, 6), np.float32))
    assert np.shares_memory(Tensor(x).flatten(2).data, x)
    assert np.shares_memory(Tensor(x[:, :1]).flatten(2).data, x)
    images = counted((6, 5, 4, 6), np.float32)
    assert np.shares_memory(Tensor(images[::2]).flatten(1).data, images)
