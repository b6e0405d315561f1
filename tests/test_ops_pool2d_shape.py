"""The size rule of pooling, told without pooling: what `pool2d_output_shape` says, the poolings give."""

import numpy as np
import pytest
from cases import refuses

from convkit import ops

X = np.ones((2, 3, 11, 12), np.float32)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
@pytest.mark.parametrize("padding", [0, 1, (1, 0)])
@pytest.mark.parametrize("stride", [None, 1, 3, (2, 5)])
@pytest.mark.parametrize("kernel_size", [2, 3, (3, 2)])
def test_max_pool2d(kernel_size, stride, padding, dilation, ceil_mode):
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    assert ops.pool2d_output_shape(X.shape, *window) == ops.max_pool2d(X, *window)[0].shape


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_other_poolings(ceil_mode):
    shape = ops.pool2d_output_shape(X.shape, 3, 2, ceil_mode=ceil_mode)
    assert shape == ops.avg_pool2d(X, 3, 2, ceil_mode=ceil_mode).shape
    assert shape == ops.lp_pool2d(X, 2, 3, 2, ceil_mode).shape
    if not ceil_mode:
        assert shape == ops.weighted_pool2d(X, np.ones((3, 3), np.float32), 2).shape


def test_what_does_not_fit():
    refuses(ValueError, r"^pool2d_output_shape: .*kernel.* 5 .* 4 ", ops.pool2d_output_shape, (1, 1, 4, 4), 5)
    refuses(ValueError, r"^pool2d_output_shape: input_shape=\(1, 1, 4\)", ops.pool2d_output_shape, (1, 1, 4), 2)
