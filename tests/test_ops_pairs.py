"""Convolutions by pairs of bfloat16: every shape, whatever the rules would choose."""

import numpy as np
import pytest
import reference
from cases import LAYOUTS, SETTLED, THREADS, assert_exact, assert_same_bits, reals, rms
from forced import by_products, pairs_everywhere
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops_conv2d import PASSES, Conv, answers_of, cast, integer_arrays, output_shape

import convkit as ck
from convkit import _shapes, nn, ops
from convkit._threads import num_threads
from convkit.ops._affine import Mapped
from convkit.ops.conv2d import convolved

pytestmark = pytest.mark.skipif(
    ck.config()["isa"] != "avx512_bf16", reason="needs a processor with AVX512_BF16, and CONVKIT_ISA=avx512_bf16"
)

CORRELATIONS = {name: PASSES[name] for name in ("conv2d", "conv2d_backward_input")}
PROMISED = 5e-3


@pytest.fixture(autouse=True)
def pairs():
    with pairs_everywhere():
        yield


def check_exact(case, threads=(1, 3)):
    arrays = integer_arrays(case)
    answers = answers_of(case, arrays)
    typed = cast(arrays, np.float32)
    for count in threads:
        with num_threads(count):
            for name, run in CORRELATIONS.items():
                assert_exact(run(ops, *typed, case.options), answers[name], np.float32, f"{case} {name} {count}")


@pytest.mark.parametrize("k", [1, 15, 16, 17, 31, 33, 65])
@pytest.mark.parametrize("c", [1, 2, 3, 16, 31, 32, 33, 64, 70])
def test_channels(c, k):
    """Even and odd numbers of them; vectors and blocks of outputs, full and not."""
    check_exact(Conv((2, c, 5, 6), (k, c, 3, 2), padding=1))


@pytest.mark.parametrize("width", [1, 2, 7, 13, 14, 15, 28, 29, 50])
def test_widths(width):
    check_exact(Conv((1, 8, 3, width), (20, 8, 3, 3), padding=1))
    check_exact(Conv((1, 33, 2, width + 2), (8, 33, 1, 3)))
    check_exact(Conv((3, 16, 2, width), (20, 16, 1, 1)))
    check_exact(Conv((2, 6, width, 3), (20, 6, 3, 3), padding=1))


@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2), (3, 1)])
@pytest.mark.parametrize("padding", [0, 1, 2, 5, (0, 3), (4, 1)])
@pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
def test_stride_padding_dilation(stride, padding, dilation):
    check_exact(Conv((2, 3, 8, 9), (5, 3, 3, 2), stride=stride, padding=padding, dilation=dilation))


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("channels", [1, 5, 16])
def test_groups(groups, channels):
    check_exact(Conv((2, channels * groups, 6, 7), (18 * groups, channels, 3, 3), padding=1, groups=groups))


@pytest.mark.parametrize(
    "case",
    [
        Conv((1, 64, 3, 700), (32, 64, 3, 3), padding=1, stride=(1, 3)),
        Conv((1, 32, 90, 60), (16, 32, 3, 3), padding=1),
        Conv((1, 2100, 3, 4), (20, 2100, 1, 1)),
        Conv((2, 600, 4, 5), (40, 600, 3, 3), padding=1),
        Conv((1, 64, 7, 7), (600, 64, 3, 3), padding=1),
        Conv((33, 33, 3, 3), (17, 33, 3, 3), padding=1),
        Conv((1, 2, 512, 520), (16, 2, 1, 1)),
    ],
    ids=lambda case: f"{case.shape} {case.weight}",
)
def test_more_than_fits_one_piece(case):
    """Strips across and down; sums in several pieces; shares of the outputs; several images to a strip; 16 MB."""
    check_exact(case)


sizes = st.integers(1, 3)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.tuples(sizes, sizes), st.tuples(sizes, sizes),
    st.tuples(sizes, sizes), st.tuples(sizes, sizes), st.tuples(st.integers(7, 12), st.integers(7, 20)),
)  # fmt: skip
def test_generated_shapes(images, channels, outputs, kernel, stride, padding, dilation, size):
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    check_exact(Conv((images, channels, *size), (outputs, channels, *kernel), **geometry), threads=(2,))


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (2, 0, 5, 5)], ids=str)
def test_nothing_to_sum(shape):
    x, w, b = np.ones(shape, np.float32), np.ones((4, shape[1], 1, 1), np.float32), np.arange(4, dtype=np.float32)
    output = ops.conv2d(x, w, b)
    assert output.shape == (shape[0], 4, *shape[2:])
    assert np.all(output == b.reshape(4, 1, 1))
    assert not ops.conv2d_backward_input(shape, w, output).any()


@pytest.mark.parametrize("vectors", [1, 16, 33, 300])
def test_linear(vectors):
    rng = np.random.default_rng(0)
    x, w, g = (rng.integers(-15, 16, s).astype(np.float64) for s in [(vectors, 71), (37, 71), (vectors, 37)])
    x32, w32, g32 = cast((x, w, g), np.float32)
    assert_exact(ops.linear(x32, w32), x @ w.T, np.float32, "linear")
    assert_exact(ops.linear_backward_input(x.shape, w32, g32), g @ w, np.float32, "linear_backward_input")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_in_every_order(layout):
    case = Conv((2, 41, 5, 6), (36, 41, 3, 3), padding=1)
    x, w, b, g = integer_arrays(case)
    x32, w32, b32, g32 = cast((x, w, b, g), np.float32)
    lain = LAYOUTS[layout](w32)
    assert_exact(ops.conv2d(x32, lain, b32, padding=1), reference.conv2d(x, w, b, padding=1), np.float32, layout)
    answer = reference.conv2d_backward_input(x.shape, w, g, padding=1)
    assert_exact(ops.conv2d_backward_input(x.shape, lain, g32, padding=1), answer, np.float32, layout)


def rounded(x):
    """The nearest bfloat16 values, ties to even, of finite numbers."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


LAYERS = [
    Conv((4, 64, 14, 14), (64, 64, 3, 3), padding=1, bias=False),
    Conv((2, 16, 14, 14), (32, 16, 5, 5), padding=2, bias=False),
    Conv((2, 2500, 9, 9), (48, 2500, 1, 1), bias=False),
    Conv((3, 41, 15, 15), (48, 41, 3, 3), stride=2, padding=1, bias=False),
]


@pytest.mark.parametrize("scale", [1, 1e-9, 1e15])
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: f"{case.shape} {case.weight}")
def test_error(case, scale):
    """What is promised; and beside the sums of the rounded numbers, no more than float32's."""
    rng = np.random.default_rng(0)
    x, w, g = (reals(rng, s, np.float32) * np.float32(scale) for s in (case.shape, case.weight, output_shape(case)))
    for name, run in CORRELATIONS.items():
        found = run(ops, x, w, None, g, case.options).astype(np.float64)
        for operands, limit in [((x, w, g), PROMISED), (map(rounded, (x, w, g)), 1e-6)]:
            wide_x, wide_w, wide_g = (a.astype(np.float64) for a in operands)
            assert rms(found, run(reference, wide_x, wide_w, None, wide_g, case.options)) < limit, name


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: f"{case.shape} {case.weight}")
def test_same_bits_on_any_number_of_threads(case):
    rng = np.random.default_rng(0)
    x, w, g = (reals(rng, s, np.float32) for s in (case.shape, case.weight, output_shape(case)))
    results = {}
    for threads in SETTLED:
        with num_threads(threads):
            results[threads] = [run(ops, x, w, None, g, case.options) for run in CORRELATIONS.values()]
    assert_same_bits(results, str(case))


@pytest.mark.parametrize("channels", [7, 32, 45])
@pytest.mark.parametrize("value", [None, np.inf, np.nan])
def test_input_that_is_mapped_on_the_way(channels, value):
    rng = np.random.default_rng(0)
    x, w = reals(rng, (2, channels, 9, 9), np.float32), reals(rng, (20, channels, 3, 3), np.float32)
    if value is not None:
        x[1, 3, 4, 4] = value
    read = Mapped(x, reals(rng, (3, channels), np.float32), "relu")
    geometry = _shapes.conv2d("conv2d", x.shape, w.shape, 1, 1, 1, 1)
    for threads in THREADS:
        with num_threads(threads):
            equal(convolved(geometry, read, w, None), ops.conv2d(read.value(), w, padding=1))


# ---------------------------------------------------------------------------------------------------------------------
# What is not finite is computed as in float32

EDGES = {"Inf": np.inf, "NaN": np.nan, "the largest number": np.finfo(np.float32).max, "a sum that overflows": 3e38}


def equal(a, b):
    np.testing.assert_array_equal(a.view(np.uint32) * ~np.isnan(a), b.view(np.uint32) * ~np.isnan(b))
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))


@pytest.mark.parametrize("shape", [(3, 33, 6, 7), (18, 8, 3, 3), (5, 40, 4, 4)], ids=str)
@pytest.mark.parametrize("edge", EDGES)
def test_edges_of_one_image(edge, shape):
    """That image comes out as in float32, and no other image knows of it."""
    rng = np.random.default_rng(0)
    kernel_size = (1, 1) if shape[2:] == (4, 4) else (3, 3)
    x, w = reals(rng, shape, np.float32), reals(rng, (17, shape[1], *kernel_size), np.float32)
    marred = x.copy()
    marred[1, shape[1] // 2, 1:3, 1] = EDGES[edge]
    how = {"padding": kernel_size[0] // 2}
    with by_products():
        plain = ops.conv2d(marred, w, **how)
        plain_gradient = ops.conv2d_backward_input(plain.shape, w.swapaxes(0, 1), marred, **how)
    clean, result = ops.conv2d(x, w, **how), ops.conv2d(marred, w, **how)
    gradient = ops.conv2d_backward_input(plain.shape, w.swapaxes(0, 1), marred, **how)
    assert not np.isfinite(plain[1]).all()
    equal(result[1], plain[1])
    equal(np.delete(result, 1, 0), np.delete(clean, 1, 0))
    equal(gradient[1], plain_gradient[1])


@pytest.mark.parametrize("edge", EDGES)
def test_edges_of_weights(edge):
    rng = np.random.default_rng(0)
    x, w, g = (reals(rng, s, np.float32) for s in [(2, 33, 6, 7), (17, 33, 3, 3), (2, 17, 6, 7)])
    w[3, 4, 1, 1] = EDGES[edge]
    with by_products():
        plain = ops.conv2d(x, w, padding=1), ops.conv2d_backward_input(x.shape, w, g, padding=1)
    equal(ops.conv2d(x, w, padding=1), plain[0])
    equal(ops.conv2d_backward_input(x.shape, w, g, padding=1), plain[1])


def test_an_infinity_that_a_rectifier_would_hide():
    """The largest number rounds to an Inf, half of which a sum would never get rid of."""
    model = nn.Sequential(nn.Conv2d(2, 16, 1, bias=False), nn.ReLU()).eval()
    model[0].weight.data[:] = np.reshape([-0.5, 1], (1, 2, 1, 1))
    x = np.ones((2, 2, 3, 3), np.float32)
    x[0, 0], x[0, 1] = np.finfo(np.float32).max, 3e38
    with ck.float32_precision("medium"), ck.no_grad():
        found = np.asarray(ck.compile(model, x)(x))
    np.testing.assert_array_equal(found[0], np.broadcast_to(x[0, 1] - x[0, 0] / 2, found[0].shape))
    np.testing.assert_array_equal(found[1], 0.5)


def test_denormals_count_as_zero():
    x, w = np.full((1, 32, 4, 4), 1e-40, np.float32), np.full((16, 32, 3, 3), 1e30, np.float32)
    assert not ops.conv2d(x, w).any()
    assert not ops.conv2d(w[:1], x.reshape(1, 32, 4, 4)[..., :1, :1].repeat(16, 0)).any()
