"""Convolutions of few channels, in whole columns from bfloat16 parts on AMX tiles: every shape, every precision."""

import numpy as np
import pytest
import reference
from cases import SETTLED, assert_exact, assert_same_bits, reals, rms
from forced import by_products, split_columns_everywhere
from test_ops_amx import EDGES, PRECISE, PRECISIONS, PROMISED, equal
from test_ops_conv2d import Conv, cast, integer_arrays

import convkit as ck
from convkit import nn, ops
from convkit._threads import num_threads

pytestmark = pytest.mark.skipif(
    ck.config()["isa"] != "amx", reason="needs a processor with AMX, or a build with CONVKIT_EMULATE_AMX"
)


@pytest.fixture(autouse=True)
def columns():
    with split_columns_everywhere():
        yield


def check_exact(case):
    x, w, b, _ = integer_arrays(case)
    answer = reference.conv2d(x, w, b, **case.options)
    x32, w32, b32 = cast((x, w, b), np.float32)
    assert ops.conv2d_plan(x.shape, w.shape, **case.options).name == "split shallow"
    for precision, threads in [("highest", 1), ("highest", 3), ("high", 2), ("medium", 1)]:
        with ck.float32_precision(precision), num_threads(threads):
            assert_exact(ops.conv2d(x32, w32, b32, **case.options), answer, np.float32, f"{case} {precision}")


@pytest.mark.parametrize(
    ("channels", "rows"),
    [(1, 2), (1, 3), (1, 5), (1, 11), (1, 32), (2, 3), (3, 3), (3, 7), (3, 10), (4, 8), (5, 6), (15, 2), (16, 2)],
)
def test_every_column(channels, rows):
    """Numbers of a column that divide 32, and that do not; one step of products, and several."""
    for cols in (1, 2, 3, 7):
        check_exact(Conv((2, channels, rows + 3, 21), (5, channels, rows, cols), padding=(1, cols // 2)))


@pytest.mark.parametrize("lanes", [1, 6, 15, 16, 17, 31, 32, 33, 48, 64, 70])
def test_lanes(lanes):
    check_exact(Conv((2, 3, 6, 7), (lanes, 3, 3, 3), padding=1))


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17, 28, 31, 32, 33, 64, 100, 256, 257, 700])
def test_positions(width):
    """Tiles and blocks of columns that end with a row, and before; strips of rows that are cut."""
    check_exact(Conv((1, 1, 4, width), (16, 1, 5, 5), padding=2))
    check_exact(Conv((1, 3, 3, 2 * width + 1), (8, 3, 3, 3), stride=2, padding=1))


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 9, 40, 600])
def test_rows(height):
    """Lines that are made from the one before, and the first of a strip, which is not."""
    check_exact(Conv((2, 2, height, 40), (7, 2, 5, 3), padding=(2, 1)))


@pytest.mark.parametrize("stride", [1, 2, 3, 5, (1, 2), (3, 1), (2, 4)])
@pytest.mark.parametrize("padding", [0, 1, 3, (0, 5), (4, 0)])
def test_stride_and_padding(stride, padding):
    check_exact(Conv((2, 3, 9, 11), (5, 3, 4, 3), stride=stride, padding=padding))


@pytest.mark.parametrize("dilation", [(2, 1), (3, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_rows_of_taps_apart(dilation, stride):
    check_exact(Conv((2, 3, 12, 9), (5, 3, 3, 3), stride=stride, padding=2, dilation=dilation))
    check_exact(Conv((2, 3, 12, 9), (5, 3, 3, 1), stride=(1, stride), dilation=(dilation[0], 2)))


@pytest.mark.parametrize("layout", [(2, 3, 1, 0), (0, 2, 3, 1)], ids=["(R, S, C, K)", "(K, R, S, C)"])
def test_weights_in_every_order(layout):
    x, w, b, _ = integer_arrays(Conv((2, 3, 8, 9), (20, 3, 5, 4)))
    lain = np.ascontiguousarray(w.astype(np.float32).transpose(layout)).transpose(np.argsort(layout))
    x32, b32 = cast((x, b), np.float32)
    assert_exact(ops.conv2d(x32, lain, b32), reference.conv2d(x, w, b), np.float32, str(layout))


def test_past_the_caches():
    check_exact(Conv((1, 1, 512, 520), (16, 1, 2, 2)))


@pytest.mark.parametrize("scale", [1, 1e-9, 1e15])
@pytest.mark.parametrize(
    "case",
    [
        Conv((2, 1, 28, 28), (16, 1, 5, 5), padding=2),
        Conv((2, 3, 40, 40), (32, 3, 7, 7), stride=2, padding=3),
        Conv((2, 3, 16, 16), (16, 3, 3, 3)),
    ],
    ids=lambda case: f"{case.shape} {case.weight}",
)
def test_error(case, scale):
    rng = np.random.default_rng(0)
    x, w = (reals(rng, s, np.float32) * np.float32(scale) for s in (case.shape, case.weight))
    answer = reference.conv2d(x.astype(np.float64), w.astype(np.float64), None, **case.options)
    with by_products():
        plain = rms(ops.conv2d(x, w, **case.options).astype(np.float64), answer)
    for precision in PRECISIONS:
        with ck.float32_precision(precision):
            error = rms(ops.conv2d(x, w, **case.options).astype(np.float64), answer)
        promised = PROMISED.get(precision, plain)
        assert error <= promised, f"{precision}: {error:.3g}, promised {promised:.3g}"


@pytest.mark.parametrize("of_weights", [False, True])
@pytest.mark.parametrize("edge", EDGES)
def test_edges(edge, of_weights):
    """What has no parts comes out as in float32; no other image knows of it."""
    rng = np.random.default_rng(0)
    x, w = reals(rng, (3, 3, 9, 40), np.float32), reals(rng, (17, 3, 3, 3), np.float32)
    marred_x, marred_w = x.copy(), w.copy()
    (marred_w[3] if of_weights else marred_x[1])[1, 2, 1] = EDGES[edge]
    with by_products():
        plain = ops.conv2d(marred_x, marred_w, padding=1)
    for precision in PRECISIONS if edge in ("Inf", "NaN", "the largest number") else PRECISE:
        with ck.float32_precision(precision):
            result = ops.conv2d(marred_x, marred_w, padding=1)
            clean = ops.conv2d(x, w, padding=1)
        equal(result[1], plain[1])
        if not of_weights:
            equal(np.delete(result, 1, 0), np.delete(clean, 1, 0))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_bits_for_any_number_of_threads(precision):
    rng = np.random.default_rng(0)
    x, w = reals(rng, (3, 3, 61, 70), np.float32), reals(rng, (40, 3, 5, 5), np.float32)
    x[2, 1, 4, 4] = np.nan
    results = {}
    for threads in SETTLED:
        with num_threads(threads), ck.float32_precision(precision):
            results[threads] = [ops.conv2d(x, w, padding=2), ops.conv2d(x, w, stride=2)]
    assert_same_bits(results, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_packed_for_a_compiled_network(precision):
    """The bits of a call are those of a program, for any number of images."""
    model = nn.Sequential(nn.Conv2d(3, 20, 5, stride=2, padding=2), nn.ReLU())
    x = reals(np.random.default_rng(0), (9, 3, 24, 31), np.float32)
    with ck.float32_precision(precision):
        compiled = ck.compile(model, x)
        weight, bias = (model[0].weight.data, model[0].bias.data)
        expected = np.maximum(ops.conv2d(x, weight, bias, stride=2, padding=2), 0)
    for images in (1, 2, 9):
        equal(np.ascontiguousarray(compiled(x[:images])), np.ascontiguousarray(expected[:images]))
