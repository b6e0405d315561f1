"""What the articles say of convolutional networks, word for word: sizes, counts, worked examples and equations."""

import numpy as np
import pytest

from convkit import functional as F
from convkit import nn, ops
from convkit.autograd import Tensor

PATCH = np.array([[2, 4, 3], [1, 5, 6], [8, 2, 9]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pooling_a_patch(dtype):
    """Its maximum is 9 and its mean 4.44, as a window of 3x3 and as the whole image."""
    x = PATCH.astype(dtype)[np.newaxis, np.newaxis]
    assert ops.max_pool2d(x, 3)[0].item() == F.max_pool2d(x, 3).item() == nn.MaxPool2d(3)(x).item() == 9
    assert ops.adaptive_max_pool2d(x, 1)[0].item() == nn.AdaptiveMaxPool2d(1)(x).item() == 9
    for average in (ops.avg_pool2d(x, 3), F.avg_pool2d(x, 3), nn.AvgPool2d(3)(x), nn.AdaptiveAvgPool2d(1)(x)):
        assert round(average.item(), 2) == 4.44
    assert nn.LPPool2d(2, 3)(x).item() == pytest.approx(240**0.5, rel=1e-6)
    near = ops.distance_weights(3, dtype)
    assert near[1, 1] > near[0, 1] == near[1, 0] > near[0, 0]
    assert nn.WeightedPool2d(near, dtype=dtype)(x).item() == pytest.approx((PATCH * near).sum(), rel=1e-6)


def test_six_filters_over_an_image_of_32_by_32_in_colour():
    """A filter of 5x5x3 fits at 28x28 positions; six of them give 28x28x6 maps, and a sequence goes on from there."""
    image = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    first, second = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 10, 5)
    maps = first(image)
    assert maps.shape == (1, 6, 28, 28)
    assert second(F.relu(maps)).shape == (1, 10, 24, 24)
    assert first.weight.shape == (6, 3, 5, 5)


def test_shared_weights_are_few():
    """456 numbers, where a fully connected layer between the same neurons has over fourteen million."""
    inputs, outputs = 32 * 32 * 3, 28 * 28 * 6
    convolution = nn.Conv2d(3, 6, 5)
    assert sum(parameter.numel() for parameter in convolution.parameters()) == 6 * (5 * 5 * 3 + 1) == 456
    assert inputs * outputs + outputs == 14_455_392
    small = nn.Linear(4 * 4 * 3, 2 * 2 * 6)
    assert sum(parameter.numel() for parameter in small.parameters()) == (4 * 4 * 3 + 1) * 2 * 2 * 6


@pytest.mark.parametrize("shift", [(0, 1), (3, 0), (2, 5)])
def test_a_shifted_image_gives_shifted_maps(shift):
    image = np.zeros((1, 3, 32, 32), np.float32)
    image[:, :, 8:20, 8:20] = np.random.default_rng(0).standard_normal((3, 12, 12))
    layer = nn.Conv2d(3, 6, 5)
    maps = layer(image).data
    moved = layer(np.roll(image, shift, (2, 3))).data
    np.testing.assert_array_equal(moved, np.roll(maps, shift, (2, 3)))
    assert np.ptp(maps) > 1


def test_a_neuron_sees_its_own_field_alone():
    """Local connectivity: of output (10, 20) only the 5x5 pixels below it have a gradient."""
    image = Tensor(np.ones((1, 3, 32, 32), np.float32), requires_grad=True)
    gradient = np.zeros((1, 6, 28, 28), np.float32)
    gradient[0, :, 10, 20] = 1
    nn.Conv2d(3, 6, 5)(image).backward(gradient)
    seen = np.argwhere(image.grad.data[0].any(axis=0))
    assert (seen.min(axis=0).tolist(), seen.max(axis=0).tolist(), len(seen)) == ([10, 20], [14, 24], 25)


@pytest.mark.parametrize(
    ("width", "height", "kernel", "padding", "stride"), [(32, 32, 5, 0, 1), (227, 227, 11, 0, 4), (7, 9, 3, 1, 2)]
)
def test_output_size(width, height, kernel, padding, stride):
    """(W - K + 2P)/S + 1, and so for the height; the number of filters is that of the channels."""
    shape = ops.conv2d_output_shape((1, 3, height, width), (8, 3, kernel, kernel), stride, padding)
    expected = [(size - kernel + 2 * padding) // stride + 1 for size in (height, width)]
    assert shape == (1, 8, *expected)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_padding_by_name(kernel):
    """'valid' takes no pixel beyond the edge and loses K - 1; 'same' keeps the size."""
    size = (1, 3, 32, 30), (8, 3, kernel, kernel)
    assert ops.conv2d_output_shape(*size, padding="valid") == (1, 8, 33 - kernel, 31 - kernel)
    assert ops.conv2d_output_shape(*size, padding="same") == (1, 8, 32, 30)
