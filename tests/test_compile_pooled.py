"""Compiled convolutions that are pooled band by band: the bits of one after the other, on any number of threads."""

import numpy as np
import pytest
from cases import SETTLED, reals

import convkit as ck
from convkit import functional, nn
from convkit._threads import num_threads
from convkit.inference.arena import place_values

CONVOLUTIONS = {
    "one channel": ((1, 33, 29), nn.Conv2d(1, 16, 5, padding=2)),
    "3x3": ((20, 30, 31), nn.Conv2d(20, 40, 3, padding=1)),
    "5x5": ((16, 21, 22), nn.Conv2d(16, 32, 5, padding=2)),
    "strided": ((3, 61, 40), nn.Conv2d(3, 48, 7, stride=2, padding=3)),
    "dilated": ((8, 40, 33), nn.Conv2d(8, 24, 3, dilation=(2, 3), padding=3)),
    "grouped": ((32, 27, 30), nn.Conv2d(32, 64, 3, groups=4, padding=(2, 0))),
    "depthwise": ((40, 50, 33), nn.Conv2d(40, 40, 3, groups=40, padding=1)),
    "1x1": ((64, 28, 29), nn.Conv2d(64, 48, 1)),
    "few outputs": ((24, 30, 33), nn.Conv2d(24, 3, 3, padding=1)),
    "few channels and outputs": ((2, 70, 66), nn.Conv2d(2, 5, 3, padding=1)),
}
POOLINGS = {
    "2": nn.MaxPool2d(2),
    "3 by 2": nn.MaxPool2d(3, stride=2, padding=1),
    "far apart": nn.MaxPool2d((2, 3), stride=(5, 4)),
    "dilated": nn.MaxPool2d(3, stride=1, padding=1, dilation=2),
    "ceil_mode": nn.MaxPool2d(4, stride=3, padding=2, ceil_mode=True),
    "all rows": nn.MaxPool2d((20, 1), stride=1),
}


def compiled_pair(convolution, pooling, x):
    """The convolution with its pooling, and without."""
    first = nn.Sequential(convolution, nn.ReLU6())
    return ck.compile(nn.Sequential(first, pooling), x), ck.compile(first, x)


def check(convolution, pooling, x, precision="highest"):
    with ck.float32_precision(precision):
        together, alone = compiled_pair(convolution, pooling, x)
    for images in (1, len(x)):
        with num_threads(1):
            expected = pooling(ck.tensor(alone(x[:images]))).data
        for threads in SETTLED:
            with num_threads(threads):
                np.testing.assert_array_equal(together(x[:images]), expected, strict=True)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_the_bits_of_one_after_the_other(convolution, pooling):
    shape, layer = CONVOLUTIONS[convolution]
    check(layer, POOLINGS[pooling], reals(np.random.default_rng(0), (3, *shape), np.float32))


@pytest.mark.parametrize("precision", ["high", "medium"])
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_in_other_precisions(convolution, precision):
    shape, layer = CONVOLUTIONS[convolution]
    check(layer, POOLINGS["3 by 2"], reals(np.random.default_rng(0), (3, *shape), np.float32), precision)


def test_in_double_precision():
    layer = nn.Conv2d(16, 24, 3, padding=1, dtype=np.float64)
    check(layer, POOLINGS["3 by 2"], reals(np.random.default_rng(0), (3, 16, 29, 31), np.float64))


@pytest.mark.parametrize("pooling", ["2", "3 by 2"])
def test_images_larger_than_a_cache(pooling):
    x = reals(np.random.default_rng(0), (2, 3, 120, 130), np.float32)
    check(nn.Conv2d(3, 32, 3, padding=1), POOLINGS[pooling], x)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_not_finite(value):
    """An algorithm that transforms images leaves a whole one to the products, whichever band has the number."""
    x = reals(np.random.default_rng(0), (3, 20, 30, 31), np.float32)
    x[1, 3, 5, 6] = value
    check(CONVOLUTIONS["3x3"][1], POOLINGS["3 by 2"], x)


def test_a_window_that_has_all_rows():
    check(nn.Conv2d(1, 200, 3), nn.MaxPool2d(30), reals(np.random.default_rng(0), (2, 1, 32, 32), np.float32))


class Branch(nn.Module):
    """A convolution whose output is pooled, and read by others."""

    def __init__(self, forward):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.rest = forward

    def forward(self, x):
        return self.rest(x, functional.relu(self.conv(x)))


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda x, y: functional.max_pool2d(y, 2), [True]),
        (lambda x, y: functional.max_pool2d(functional.max_pool2d(y, 2), 2), [True]),
        (lambda x, y: functional.avg_pool2d(y, 2), [False]),
        (lambda x, y: functional.adaptive_max_pool2d(y, 3), [False]),
        (lambda x, y: functional.max_pool2d(x + y, 2), [False]),
        (lambda x, y: functional.max_pool2d(y, 2).mean((2, 3)) + y.mean((2, 3)), [False]),
        (lambda x, y: functional.max_pool2d(functional.sigmoid(y), 2), [False]),
        (lambda x, y: y, [False]),
    ],
)
def test_who_is_pooled(forward, expected):
    x = reals(np.random.default_rng(0), (1, 3, 12, 12), np.float32)
    graph = ck.compile(Branch(forward), x).graph
    assert [graph.is_pooled(node) for node in graph.nodes if node.op == "conv2d"] == expected


def test_what_is_still_read_is_not_pooled_over():
    """One band may be pooled while the next one is still convolved."""
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
    x = reals(np.random.default_rng(0), (1, 3, 12, 12), np.float32)
    model = nn.Sequential(nn.Sigmoid(), first, nn.MaxPool2d(2), second, nn.MaxPool2d(2), nn.Sigmoid())
    graph = ck.compile(model, x).graph
    places = place_values(graph, 1).places
    taken = {
        node.output: range(offset := places[node.output].offset, offset + np.prod(node.shape)) for node in graph.nodes
    }
    for node, pooling in zip(graph.nodes, graph.nodes[1:], strict=False):
        if node.op == "conv2d":
            assert graph.is_pooled(node)
            assert not set(taken[node.inputs[0]]) & set(taken[pooling.output])
