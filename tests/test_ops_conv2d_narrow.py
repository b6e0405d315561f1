"""Convolutions that do not fill vectors with a group's outputs: what the kernels for few of them compute."""

import numpy as np
import pytest
from test_ops_conv2d import DTYPES, LANES, Conv, check_exact

from convkit import ops


@pytest.mark.parametrize("outputs", range(1, 8))
@pytest.mark.parametrize("how", [{}, {"stride": 2}, {"dilation": 2}, {"stride": (2, 3), "dilation": (3, 2)}], ids=str)
def test_few_outputs(outputs, how):
    """Lanes are columns, forward; and of the gradient of an image of few channels."""
    check_exact(Conv((2, 9, 13, 14), (outputs, 9, 3, 4), padding=(1, 2), **how))
    check_exact(Conv((2, outputs, 13, 14), (9, outputs, 3, 4), padding=(1, 2), **how))


@pytest.mark.parametrize("width", LANES)
@pytest.mark.parametrize("channels", [8, 17, 33])
def test_columns_and_channels_from_the_vector(width, channels):
    check_exact(Conv((1, channels, 5, width), (3, channels, 3, 3), padding=1))
    check_exact(Conv((1, channels, 6, 2 * width), (1, channels, 2, 2)))


@pytest.mark.parametrize("outputs", [2, 3])
def test_few_outputs_of_more_channels_than_a_chain(outputs):
    check_exact(Conv((1, 800, 3, 7), (outputs, 800, 2, 2)))


@pytest.mark.parametrize("image", [(1, 1), (1, 40), (40, 1), (2, 300), (3, 3)], ids=str)
def test_few_outputs_of_small_and_long_images(image):
    check_exact(Conv((3, 8, *image), (2, 8, 3, 3), padding=1))
    check_exact(Conv((3, 8, *image), (2, 8, 3, 3), padding=3, stride=2))


@pytest.mark.parametrize("outputs", [9, 12, 16])
@pytest.mark.parametrize("kernel", [(1, 2), (3, 3), (2, 7), (5, 5)], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 16, 40])
def test_one_group_that_fills_most_of_a_vector(outputs, kernel, channels):
    """Taps of a line in runs of one, two and three."""
    check_exact(Conv((2, channels, 9, 11), (outputs, channels, *kernel), padding=(1, 1)))


@pytest.mark.parametrize("outputs", [5, 32, 33])
@pytest.mark.parametrize("how", [{}, {"stride": 2}, {"stride": (3, 4)}, {"dilation": 2}], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_weights_of_very_few_channels(outputs, how, channels):
    """A gradient that is read where it lies, or staged; planes of the stride; lines shorter than a run of taps."""
    check_exact(Conv((3, channels, 17, 15), (outputs, channels, 3, 3), padding=1, **how))
    check_exact(Conv((3, channels, 5, 5), (outputs, channels, 3, 3), **how))


@pytest.mark.parametrize("outputs", [9, 16, 17, 40])
@pytest.mark.parametrize("how", [{}, {"stride": 2}, {"stride": (2, 1)}, {"dilation": 2}, {"dilation": (3, 1)}], ids=str)
@pytest.mark.parametrize("image", [(28, 28), (6, 9), (5, 40), (2, 3), (11, 1)], ids=str)
def test_windows_of_one_channel(outputs, how, image):
    """Products that read their pixels by themselves; all sums of a 5x5 filter in registers."""
    check_exact(Conv((3, 1, *image), (outputs, 1, 5, 5), padding=6, **how))
    check_exact(Conv((2, 1, *image), (outputs, 1, 4, 7), padding=6, **how))


@pytest.mark.parametrize("outputs", [9, 16, 17, 40])
@pytest.mark.parametrize(
    "how",
    [{}, {"stride": 2}, {"stride": (2, 1)}, {"stride": 3}, {"dilation": 2}, {"stride": 2, "dilation": 2}],
    ids=str,
)
@pytest.mark.parametrize("image", [(28, 28), (6, 9), (5, 40), (2, 3), (11, 1)], ids=str)
def test_windows_of_three_channels(outputs, how, image):
    """All sums of a 3x3 filter in registers, with a row's numbers side by side, and taken apart by the stride."""
    check_exact(Conv((3, 3, *image), (outputs, 3, 3, 3), padding=4, **how))
    check_exact(Conv((2, 6, *image), (2 * outputs, 3, 3, 3), padding=4, groups=2, **how))


@pytest.mark.parametrize("each", [(2, 9), (3, 20), (1, 70), (9, 3), (16, 16), (12, 300)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_groups_whose_channels_go_in_pieces(each, stride):
    """More channels than a group's share of a vector, and, of one group, more than a chain of sums holds."""
    outputs, channels = each
    shape = (3 * outputs, channels, 3, 3)
    check_exact(Conv((2, 3 * channels, 6, 7), shape, padding=1, stride=stride, groups=3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("each", "stride"), [((4, 4), 1), ((8, 8), 2), ((16, 40), 1)], ids=str)
def test_large_results_of_groups_have_the_bits_of_their_parts(each, stride, dtype):
    """Whole vectors of large results are stored past the caches; those of each image alone are not."""
    outputs, channels = each
    groups = 48 // outputs
    rng = np.random.default_rng(outputs)
    how = {"stride": stride, "padding": 1, "groups": groups}
    shape = (6, groups * channels, 128 * stride, 126)
    w = rng.standard_normal((48, channels, 3, 3)).astype(dtype)
    x = rng.standard_normal(shape).astype(dtype)
    whole = ops.conv2d(x, w, **how)
    assert np.array_equal(whole, np.concatenate([ops.conv2d(x[i : i + 1], w, **how) for i in range(len(x))]))
    gradient = ops.conv2d_backward_input(shape, w, whole, **how)
    for i in range(len(x)):
        part = ops.conv2d_backward_input((1, *shape[1:]), w, whole[i : i + 1], **how)
        assert np.array_equal(gradient[i : i + 1], part)


def test_lines_too_long_for_one_ring():
    check_exact(Conv((1, 40, 4, 1500), (40, 20, 3, 3), padding=1, groups=2))
    check_exact(Conv((1, 64, 4, 1200), (3, 64, 3, 3), padding=1))
    check_exact(Conv((1, 2, 3, 2000), (16, 2, 3, 3), padding=1))


@pytest.mark.parametrize("outputs", [1, 2, 3, 5, 6, 8, 12])
@pytest.mark.parametrize("how", [{}, {"stride": (2, 1)}, {"stride": (3, 2)}, {"dilation": (2, 1)}], ids=str)
def test_few_outputs_of_few_channels(outputs, how):
    """Pixels share vectors, and the last vector of a line shares lanes with the one before."""
    check_exact(Conv((2, 1, 19, 33), (outputs, 1, 5, 5), padding=2, **how))
    check_exact(Conv((3, 2, 16, 35), (outputs, 2, 4, 3), padding=(0, 1), **how))
    check_exact(Conv((1, 3, 70, 31), (outputs, 3, 2, 2), padding=(3, 4), **how))


@pytest.mark.parametrize("width", [16, 17, 100, 3000])
def test_lines_of_few_outputs(width):
    """One vector, and so many that their sums are too long for one chain, or their lines for the first cache."""
    check_exact(Conv((1, 1, 30, width), (1, 1, 3, 3), padding=1))
    check_exact(Conv((2, 1, 40, width), (6, 1, 2, 5), padding=(0, 2)))


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize("rows", range(2, 9))
def test_gradients_of_small_images_without_padding(channels, rows):
    """Added window by window: one vector of taps or several, full or not, four columns at a time, two or one."""
    check_exact(Conv((9, channels, 11, 13), (17, channels, rows, 5)))
    check_exact(Conv((8, channels, rows, 9), (8, channels, rows, 3), stride=(1, 2)))


@pytest.mark.parametrize("kernel", [(2, 4), (3, 3), (7, 2), (9, 3), (16, 1), (17, 1)], ids=str)
@pytest.mark.parametrize("channels", [2, 3, 4, 5, 6, 11])
def test_weights_of_tall_filters(channels, kernel):
    """Taps of a column are taken as channels: more of them than a panel else has."""
    check_exact(Conv((2, channels, kernel[0] + 1, 11), (9, channels, *kernel), stride=(1, 2)))
