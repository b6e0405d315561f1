"""Convolutions from bfloat16 parts on AMX tiles: every shape, whatever the rules would choose, in every precision."""

import itertools

import numpy as np
import pytest
import reference
from cases import SETTLED, assert_exact, assert_same_bits, reals, rms
from forced import by_products, split_everywhere
from test_ops_conv2d import PASSES, Conv, answers_of, cast, integer_arrays, output_shape

import convkit as ck
from convkit import ops
from convkit._dispatch import kernel
from convkit._threads import num_threads

pytestmark = pytest.mark.skipif(
    ck.config()["isa"] != "amx", reason="needs a processor with AMX, or a build with CONVKIT_EMULATE_AMX"
)

FLOAT32 = np.dtype(np.float32)
PRECISIONS = ("highest", "high", "medium")
PROMISED = {"high": 1e-5, "medium": 5e-3}


@pytest.fixture(autouse=True)
def split():
    with split_everywhere():
        yield


# ---------------------------------------------------------------------------------------------------------------------
# The instruction


def flushed(x):
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)


def tile_product(sums, a, b):
    """TDPBF16PS by Intel's manual: float32 a (16, 32) and b (32, 16) have the values of bfloat16."""
    with np.errstate(all="ignore"):
        chains = np.zeros((2, 16, 16), np.float32)
        for k in range(32):
            # Exact in float64: 16 bits of product; the sum is rounded twice, which 53 bits make the same as once.
            product = flushed(a[:, k, None]).astype(np.float64) * flushed(b[None, k])
            chains[k % 2] = flushed((chains[k % 2] + product).astype(np.float32))
        return flushed(flushed(sums) + flushed(chains[0] + chains[1]))


def rounded(x):
    """The nearest bfloat16 values, ties to even, of numbers in their range."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def multiply_add(sums, a, b):
    sums = sums.copy()
    upper = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in (a, b)]
    pairs = upper[1].reshape(16, 2, 16).transpose(0, 2, 1).reshape(16, 32)
    kernel("amx_tile", FLOAT32).multiply_add(sums, upper[0], np.ascontiguousarray(pairs))
    return sums


@pytest.mark.parametrize("scale", [1, 2.0**60, 2.0**-62, 2.0**-64, 2.0**-70])
def test_product_of_tiles(scale):
    """Over the whole range: products that overflow, and that are flushed to zero."""
    rng = np.random.default_rng(0)
    for spread in (0, 3, 20):
        a, b = (
            rounded(rng.standard_normal(s) * np.exp2(rng.uniform(-spread, spread, s))) for s in [(16, 32), (32, 16)]
        )
        sums = reals(rng, (16, 16), np.float32) * np.float32(scale) ** 2
        a, b = (x * np.float32(scale) for x in (a, b))
        np.testing.assert_array_equal(multiply_add(sums, a, b), tile_product(sums, a, b))


def test_product_of_tiles_with_denormals_and_infinities():
    rng = np.random.default_rng(0)
    a, b, sums = (
        rounded(reals(rng, (16, 32), np.float32)),
        rounded(reals(rng, (32, 16), np.float32)),
        np.zeros((16, 16)),
    )
    a[3, 4], a[5, 6], b[7, 8], b[9, 10] = np.inf, np.float32(2.0**-130), np.nan, -np.inf
    a[7] = 2.0**-130
    sums = sums.astype(np.float32)
    sums[7] = 2.0**-140
    result = multiply_add(sums, a, b)
    np.testing.assert_array_equal(result, tile_product(sums, a, b))
    assert np.isnan(result[:, 8]).all()
    assert not result[7, [0, 1, 2, 3]].any()


# ---------------------------------------------------------------------------------------------------------------------
# Integers are exact, in every precision whose parts hold them


def check_exact(case):
    arrays = integer_arrays(case)
    answers = answers_of(case, arrays)
    typed = cast(arrays, np.float32)
    for precision, threads in [("highest", 1), ("highest", 3), ("high", 2), ("medium", 1)]:
        with ck.float32_precision(precision), num_threads(threads):
            for name, run in PASSES.items():
                assert_exact(run(ops, *typed, case.options), answers[name], np.float32, f"{case} {name} {precision}")


@pytest.mark.parametrize("k", [1, 15, 16, 17, 31, 33, 65])
@pytest.mark.parametrize("c", [1, 3, 16, 31, 32, 33, 64, 70])
def test_channels(c, k):
    """Whole blocks of channels, and channels without gaps; tiles and pairs of tiles of outputs."""
    check_exact(Conv((2, c, 5, 6), (k, c, 3, 2), padding=1))


@pytest.mark.parametrize("width", [1, 2, 7, 15, 16, 17, 31, 32, 33, 50])
def test_positions(width):
    """Tiles across the ends of rows, with padding to share and without."""
    check_exact(Conv((1, 8, 3, width), (20, 8, 3, 3), padding=1))
    check_exact(Conv((1, 32, 2, width + 2), (8, 32, 1, 3)))
    check_exact(Conv((3, 16, 2, width), (20, 16, 1, 1)))


@pytest.mark.parametrize("images", [1, 5, 15, 16, 17, 33])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 7), (7, 4)], ids=str)
def test_small_images_side_by_side(images, size):
    check_exact(Conv((images, 33, *size), (17, 33, 3, 3), padding=1))
    check_exact(Conv((images, 3, *size), (5, 3, 2, 1), padding=1))


@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2), (3, 1)])
@pytest.mark.parametrize("padding", [0, 1, 2, 5, (0, 3), (4, 1)])
@pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
def test_stride_padding_dilation(stride, padding, dilation):
    check_exact(Conv((2, 3, 8, 9), (5, 3, 3, 2), stride=stride, padding=padding, dilation=dilation))


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("images", [1, 18])
def test_strides_of_whole_blocks(stride, images):
    check_exact(Conv((images, 32, 9, 7), (32, 32, 3, 3), stride=stride, padding=1))
    check_exact(Conv((images, 64, 6, 5), (16, 64, 1, 1), stride=stride))


@pytest.mark.parametrize("groups", [2, 3])
def test_groups(groups):
    check_exact(Conv((2, 20 * groups, 6, 7), (18 * groups, 20, 3, 3), padding=1, groups=groups))


@pytest.mark.parametrize(
    "case",
    [
        Conv((1, 64, 3, 700), (32, 64, 3, 3), padding=1, stride=(1, 3)),
        Conv((1, 32, 90, 60), (16, 32, 3, 3), padding=1),
        Conv((1, 2100, 3, 4), (20, 2100, 1, 1)),
        Conv((2, 600, 4, 5), (40, 600, 3, 3), padding=1),
        Conv((2, 40, 4, 5), (600, 40, 3, 3), padding=1),
        Conv((200, 1, 2, 3), (3, 1, 2, 2)),
        Conv((1, 1, 512, 520), (16, 1, 1, 1)),
    ],
    ids=lambda case: f"{case.shape} {case.weight}",
)
def test_more_than_fits_one_piece(case):
    """Rows cut across; several strips; chunks of channels; shares of a gradient; images that share a mark; 16 MB."""
    check_exact(case)


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (2, 0, 5, 5)], ids=str)
def test_nothing_to_sum(shape):
    weight = (4, shape[1], 1, 1)
    x, w, b = np.ones(shape, np.float32), np.ones(weight, np.float32), np.arange(4, dtype=np.float32)
    output = ops.conv2d(x, w, b)
    assert output.shape == (shape[0], 4, *shape[2:])
    assert np.all(output == b.reshape(4, 1, 1))
    assert not ops.conv2d_backward_input(shape, w, output).any()
    assert not ops.conv2d_backward_weight(x, weight, output).any()


@pytest.mark.parametrize("vectors", [1, 16, 33])
def test_linear(vectors):
    rng = np.random.default_rng(0)
    x, w, g = (rng.integers(-15, 16, s).astype(np.float64) for s in [(vectors, 70), (37, 70), (vectors, 37)])
    for precision in PRECISIONS:
        with ck.float32_precision(precision):
            x32, w32, g32 = cast((x, w, g), np.float32)
            assert_exact(ops.linear(x32, w32), x @ w.T, np.float32, precision)
            assert_exact(ops.linear_backward_input(x.shape, w32, g32), g @ w, np.float32, precision)
            assert_exact(ops.linear_backward_weight(x32, w.shape, g32), g.T @ x, np.float32, precision)


@pytest.mark.parametrize("layout", ["C order", "(R, S, C, K)", "(K, R, S, C)"])
def test_weights_in_every_order(layout):
    case = Conv((2, 40, 5, 6), (36, 40, 3, 3), padding=1)
    x, w, b, g = integer_arrays(case)
    order = {"C order": (0, 1, 2, 3), "(R, S, C, K)": (2, 3, 1, 0), "(K, R, S, C)": (0, 2, 3, 1)}[layout]
    lain = np.ascontiguousarray(w.astype(np.float32).transpose(order)).transpose(np.argsort(order))
    x32, b32, g32 = cast((x, b, g), np.float32)
    assert_exact(ops.conv2d(x32, lain, b32, padding=1), reference.conv2d(x, w, b, padding=1), np.float32, layout)
    answer = reference.conv2d_backward_input(x.shape, w, g, padding=1)
    assert_exact(ops.conv2d_backward_input(x.shape, lain, g32, padding=1), answer, np.float32, layout)


# ---------------------------------------------------------------------------------------------------------------------
# Real numbers keep the promise

LAYERS = [
    Conv((4, 64, 14, 14), (64, 64, 3, 3), padding=1, bias=False),
    Conv((16, 96, 4, 4), (32, 96, 3, 3), padding=1, bias=False),
    Conv((2, 16, 14, 14), (32, 16, 5, 5), padding=2, bias=False),
    Conv((2, 512, 9, 9), (48, 512, 1, 1), bias=False),
    Conv((3, 40, 15, 15), (48, 40, 3, 3), stride=2, padding=1, bias=False),
]


@pytest.mark.parametrize("scale", [1, 1e-9, 1e15])
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: f"{case.shape} {case.weight}")
def test_error(case, scale):
    """In the highest precision, no larger than that of a float32 convolution."""
    rng = np.random.default_rng(0)
    x, w, g = (reals(rng, s, np.float32) * np.float32(scale) for s in (case.shape, case.weight, output_shape(case)))
    wide = [a.astype(np.float64) for a in (x, w, g)]
    for name, run in list(PASSES.items())[:3]:
        answer = run(reference, *wide[:2], None, wide[2], case.options)
        with by_products():
            plain = rms(run(ops, x, w, None, g, case.options).astype(np.float64), answer)
        for precision in PRECISIONS:
            with ck.float32_precision(precision):
                error = rms(run(ops, x, w, None, g, case.options).astype(np.float64), answer)
            promised = PROMISED.get(precision, plain)
            assert error <= promised, f"{name} {precision}: {error:.3g}, promised {promised:.3g}"


# ---------------------------------------------------------------------------------------------------------------------
# What has no parts is computed as in float32

EDGES = {
    "Inf": np.inf,
    "NaN": np.nan,
    "the largest number": np.finfo(np.float32).max,
    "a sum near overflow": 2.5e38,
    "low parts that underflow": 1e-33,
    "no low parts at all": 2e-37,
    "a denormal": 1e-40,
}
# All three precisions fall back for numbers beyond the range; plain bfloat16 has no low parts that could underflow.
PRECISE = ("highest", "high")


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
    for precision in PRECISE:
        with ck.float32_precision(precision):
            clean, result = ops.conv2d(x, w, **how), ops.conv2d(marred, w, **how)
            gradient = ops.conv2d_backward_input(plain.shape, w.swapaxes(0, 1), marred, **how)
        equal(result[1], plain[1])
        equal(np.delete(result, 1, 0), np.delete(clean, 1, 0))
        equal(gradient[1], plain_gradient[1])


@pytest.mark.parametrize("edge", EDGES)
def test_edges_of_weights_and_gradients(edge):
    rng = np.random.default_rng(0)
    x, w, g = (reals(rng, s, np.float32) for s in [(2, 33, 6, 7), (17, 33, 3, 3), (2, 17, 6, 7)])
    marred_w, marred_g = w.copy(), g.copy()
    marred_w[3, 4, 1, 1] = marred_g[1, 2, 3, 3] = EDGES[edge]

    def results():
        yield ops.conv2d(x, marred_w, padding=1)
        yield ops.conv2d_backward_input(x.shape, marred_w, g, padding=1)
        yield ops.conv2d_backward_weight(x, w.shape, marred_g, padding=1)

    with by_products():
        plain = list(results())
    for precision in PRECISE:
        with ck.float32_precision(precision):
            for result, answer in zip(results(), plain, strict=True):
                equal(result, answer)


@pytest.mark.parametrize("edge", ["Inf", "NaN", "the largest number"])
def test_edges_in_medium(edge):
    x, w = np.ones((2, 32, 4, 4), np.float32), np.ones((16, 32, 3, 3), np.float32)
    x[1, 5, 2, 2] = EDGES[edge]
    with by_products():
        plain = ops.conv2d(x, w, padding=1)
    with ck.float32_precision("medium"):
        equal(ops.conv2d(x, w, padding=1), plain)


@pytest.mark.parametrize("factors", [(1e30, 1e20), (3e37, 16), (1e-20, 1e-13), (1e-25, 1e-16)], ids=str)
def test_products_out_of_range(factors):
    """Each factor has parts, but products overflow, or their low parts underflow."""
    rng = np.random.default_rng(0)
    x, w, g = (reals(rng, s, np.float32) for s in [(2, 32, 6, 7), (24, 32, 3, 3), (2, 24, 4, 5)])
    x, w, g = x * np.float32(factors[0]), w * np.float32(factors[1]), g * np.float32(factors[1])
    with by_products():
        plain = ops.conv2d(x, w), ops.conv2d_backward_weight(x, w.shape, g)
    with np.errstate(over="ignore"):
        equal(ops.conv2d(x, w), plain[0])
        equal(ops.conv2d_backward_weight(x, w.shape, g), plain[1])


def test_images_that_share_a_mark():
    rng = np.random.default_rng(0)
    x, w = reals(rng, (200, 40), np.float32), reals(rng, (24, 40), np.float32)
    x[[0, 3, 77, 199], 1] = np.inf
    with by_products():
        plain = ops.linear(x, w)
    result = ops.linear(x, w)
    equal(result[[0, 3, 77, 199]], plain[[0, 3, 77, 199]])
    np.testing.assert_allclose(result, plain, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Threads, and the choice


@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_bits_for_any_number_of_threads(precision):
    """Threads take strips of several images or of one, or shares of weights that are heavier than an image."""
    rng = np.random.default_rng(0)
    heavy = Conv((1, 64, 7, 7), (200, 64, 3, 3), padding=1, bias=False)
    cases = [*LAYERS[:3], Conv((1, 33, 40, 20), (70, 33, 3, 3), bias=False), heavy]
    arrays = [[reals(rng, s, np.float32) for s in (c.shape, c.weight, output_shape(c))] for c in cases]
    arrays[0][0][2, 3, 4, 5] = np.nan
    results = {}
    for threads in SETTLED:
        with num_threads(threads), ck.float32_precision(precision):
            results[threads] = [
                run(ops, x, w, None, g, case.options)
                for case, (x, w, g) in zip(cases, arrays, strict=True)
                for run in list(PASSES.values())[:3]
            ]
    assert_same_bits(results, precision)


def test_plan_names_what_runs():
    shapes = (4, 64, 14, 14), (64, 64, 3, 3)
    for precision, products in zip(PRECISIONS, (6, 3, 1), strict=True):
        for gradient in (None, "input", "weight"):
            with ck.float32_precision(precision):
                plan = ops.conv2d_plan(*shapes, padding=1, gradient=gradient)
            assert plan.name == "split"
            assert plan.multiplies == products * 4 * 64 * 14 * 14 * 64 * 9
    assert ops.conv2d_plan(*shapes, padding=1, dtype=np.float64).name != "split"


def test_scratch_is_bounded():
    """A thread's strip, whatever the shape; the weights' tiles, or sums, of a chunk."""
    shapes = [
        ((2, 2048, 64, 512), (64, 2048, 3, 3)),
        ((64, 512, 7, 7), (64, 512, 3, 3)),
        ((1, 3, 99, 9999), (64, 3, 7, 7)),
    ]
    for (shape, weight), gradient in itertools.product(shapes, (None, "input", "weight")):
        scratch = []
        for threads in (1, 2):
            with num_threads(threads):
                scratch.append(ops.conv2d_plan(shape, weight, padding=1, gradient=gradient).scratch)
        assert scratch[1] - scratch[0] <= 4 * 2**20, (shape, weight, gradient)
