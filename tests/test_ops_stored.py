"""Convolutions of bfloat16 images as they lie, by AMX: every shape, whatever the rules would choose."""

import numpy as np
import pytest
from cases import LAYOUTS, SETTLED, assert_same_bits, is_channels_last, refuses
from forced import by_products, split_everywhere
from test_ops_conv2d import PASSES, Conv, answers_of, integer_arrays, output_shape

import convkit as ck
from convkit import ops
from convkit._dispatch import kernel
from convkit._shapes import conv2d as sizes
from convkit._threads import num_threads
from convkit.ops._convolution import plan_stored
from convkit.ops._stored import AS_STORED

pytestmark = pytest.mark.skipif(
    ck.config()["isa"] != "amx", reason="needs a processor with AMX, or a build with CONVKIT_EMULATE_AMX"
)

BFLOAT16 = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
RELATIVE = 2.0**-8  # what rounding to bfloat16 changes, at most


@pytest.fixture(autouse=True)
def split():
    with split_everywhere():
        yield


class Stored:
    """The passes as they are computed of arrays that are not widened."""

    def __getattr__(self, name):
        def run(*args, **kwargs):
            result = AS_STORED[name](*args, **kwargs)
            assert result is not None, f"{name} was left to float32"
            assert result.dtype == BFLOAT16
            return result

        return run


def narrow(*arrays):
    """As bfloat16, images channels-last."""
    return [None if a is None else LAYOUTS["channels-last"](a).astype(BFLOAT16, order="K") for a in arrays]


def rounded(x):
    return np.asarray(x, np.float32).astype(BFLOAT16).astype(np.float32)


def of_images(case):
    """The three passes, each with its answer, for integers that bfloat16 holds."""
    arrays = integer_arrays(case)
    answers = answers_of(case, arrays)
    x, w, g = narrow(arrays[0], arrays[1], arrays[3])
    b = None if arrays[2] is None else arrays[2].astype(BFLOAT16)
    for name in AS_STORED:
        yield name, PASSES[name](Stored(), x, w, b, g, case.options), answers[name]


def check_exact(case):
    """Sums are exact in float32; the results are those, rounded once."""
    for threads in (1, 3):
        with num_threads(threads):
            for name, result, answer in of_images(case):
                assert np.array_equal(result.astype(np.float32), rounded(answer)), f"{case} {name}"


@pytest.mark.parametrize("k", [1, 15, 16, 17, 31, 32, 33, 64, 65])
@pytest.mark.parametrize("c", [1, 3, 16, 31, 32, 33, 64, 70])
def test_channels(c, k):
    """Whole blocks of channels, and channels without gaps; whole rows of outputs, and parts of them."""
    check_exact(Conv((2, c, 5, 6), (k, c, 3, 2), padding=1))


@pytest.mark.parametrize("width", [1, 2, 7, 15, 16, 17, 31, 32, 33, 50])
def test_positions(width):
    check_exact(Conv((1, 8, 3, width), (20, 8, 3, 3), padding=1))
    check_exact(Conv((1, 32, 2, width + 2), (8, 32, 1, 3)))
    check_exact(Conv((3, 16, 2, width), (20, 16, 1, 1)))


@pytest.mark.parametrize("images", [1, 5, 15, 16, 17, 33])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 7), (7, 4)], ids=str)
def test_small_images_side_by_side(images, size):
    check_exact(Conv((images, 33, *size), (17, 33, 3, 3), padding=1))
    check_exact(Conv((images, 3, *size), (5, 3, 2, 1), padding=1))


@pytest.mark.parametrize("stride", [1, 2, (1, 2), (3, 1)])
@pytest.mark.parametrize("padding", [0, 2, 5, (4, 1)])
@pytest.mark.parametrize("dilation", [1, 2, (1, 3)])
def test_stride_padding_dilation(stride, padding, dilation):
    check_exact(Conv((2, 3, 8, 9), (5, 3, 3, 2), stride=stride, padding=padding, dilation=dilation))
    check_exact(Conv((2, 32, 8, 9), (32, 32, 3, 2), stride=stride, padding=padding, dilation=dilation))


@pytest.mark.parametrize(
    "case",
    [
        Conv((2, 40, 6, 7), (36, 20, 3, 3), padding=1, groups=2),
        Conv((18, 96, 6, 7), (96, 32, 3, 3), padding=1, groups=3, bias=False),
        Conv((1, 64, 3, 700), (32, 64, 3, 3), padding=1, stride=(1, 3)),
        Conv((1, 32, 90, 60), (16, 32, 3, 3), padding=1),
        Conv((1, 2100, 3, 4), (20, 2100, 1, 1)),
        Conv((2, 600, 4, 5), (40, 600, 3, 3), padding=1),
        Conv((2, 40, 4, 5), (600, 40, 3, 3), padding=1),
        Conv((1, 32, 512, 520), (32, 32, 1, 1)),
    ],
    ids=lambda case: f"{case.shape} {case.weight}",
)
def test_groups_and_more_than_fits_one_piece(case):
    """All channels are summed at once, however many: nothing is rounded on the way. 16 MB go past the caches."""
    check_exact(case)


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (2, 0, 5, 5)], ids=str)
def test_nothing_to_sum(shape):
    weight = (4, shape[1], 1, 1)
    x, w = np.ones(shape, BFLOAT16), np.ones(weight, BFLOAT16)
    x = LAYOUTS["channels-last"](x)
    output = Stored().conv2d(x, w, np.arange(4).astype(BFLOAT16))
    assert output.shape == (shape[0], 4, *shape[2:])
    assert np.all(output.astype(np.float32) == np.arange(4).reshape(4, 1, 1))
    assert not Stored().conv2d_backward_input(shape, w, output).astype(np.float32).any()
    assert not Stored().conv2d_backward_weight(x, weight, output).astype(np.float32).any()


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_filters_lie_in_any_order(layout):
    case = Conv((2, 40, 5, 6), (36, 40, 3, 3), padding=1, bias=False)
    x, w, _, g = integer_arrays(case)
    answers = answers_of(case, (x, w, None, g))
    x, g = narrow(x, g)
    lain = LAYOUTS[layout](w.astype(BFLOAT16))
    output = Stored().conv2d(x, lain, padding=1)
    assert is_channels_last(output)
    assert np.array_equal(output.astype(np.float32), rounded(answers["conv2d"]))
    gradient = Stored().conv2d_backward_input(x.shape, lain, g, padding=1)
    assert np.array_equal(gradient.astype(np.float32), rounded(answers["conv2d_backward_input"]))


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"channels-last"}))
def test_images_in_another_order_are_left_to_float32(layout):
    """And so are a bias of each position, and more channels than fit a strip: with the same results."""
    x, w = (np.random.default_rng(0).integers(-9, 10, s).astype(BFLOAT16) for s in [(2, 40, 5, 6), (36, 40, 3, 3)])
    laid = LAYOUTS[layout](x)
    assert AS_STORED["conv2d"](laid, w, padding=1) is None
    expected = Stored().conv2d(LAYOUTS["channels-last"](x), w, padding=1)
    assert np.array_equal(ops.conv2d(laid, w, padding=1).astype(np.float32), expected.astype(np.float32))


def test_what_is_left_to_float32():
    x, w = (LAYOUTS["channels-last"](np.ones(s, BFLOAT16)) for s in [(2, 40, 5, 6), (36, 40, 3, 3)])
    assert AS_STORED["conv2d"](x, w, np.ones((36, 3, 4), BFLOAT16)) is None
    assert plan_stored("forward", sizes("conv2d", (1, 4096, 9, 9), (8, 4096, 7, 7), 1, 0, 1, 1)) is None
    assert plan_stored("backward_weight", sizes("conv2d", (1, 4096, 9, 9), (8, 4096, 7, 7), 1, 0, 1, 1)) is not None


@pytest.mark.parametrize(
    "case",
    [
        Conv((4, 64, 14, 14), (64, 64, 3, 3), padding=1, bias=False),
        Conv((16, 96, 4, 4), (32, 96, 3, 3), padding=1, bias=False),
        Conv((2, 16, 14, 14), (32, 16, 5, 5), padding=2, bias=False),
        Conv((3, 40, 15, 15), (48, 40, 3, 3), stride=2, padding=1, bias=False),
    ],
    ids=lambda case: f"{case.shape} {case.weight}",
)
def test_real_numbers_are_rounded_once(case):
    """Each within half a unit of bfloat16's last place, and what float32 sums differ by, of the exact sum."""
    rng = np.random.default_rng(0)
    x, w, g = narrow(*(rng.standard_normal(s) for s in (case.shape, case.weight, output_shape(case))))
    wide = [a.astype(np.float64) for a in (x, w, g)]
    for name in AS_STORED:
        with num_threads(2):
            result = PASSES[name](Stored(), x, w, None, g, case.options).astype(np.float64)
        answer = PASSES[name](ops, *wide[:2], None, wide[2], case.options)
        magnitude = PASSES[name](ops, *map(abs, wide[:2]), None, abs(wide[2]), case.options)
        assert np.all(np.abs(result - answer) <= RELATIVE * 1.01 * np.abs(answer) + 1e-5 * magnitude), name


@pytest.mark.parametrize("case", [Conv((5, 64, 9, 9), (64, 64, 3, 3), padding=1), Conv((17, 33, 5, 5), (40, 33, 1, 1))])
def test_same_bits_for_any_number_of_threads(case):
    rng = np.random.default_rng(0)
    x, w, g = narrow(*(rng.standard_normal(s) for s in (case.shape, case.weight, output_shape(case))))
    for name in AS_STORED:
        results = {}
        for threads in SETTLED:
            with num_threads(threads):
                results[threads] = PASSES[name](Stored(), x, w, None, g, case.options).view(np.uint16)
        assert_same_bits(results, name)


@pytest.mark.parametrize("edge", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_not_finite_comes_out_as_in_float32(edge):
    """It is computed again there, so that nothing spreads."""
    rng = np.random.default_rng(0)
    x, w, g = narrow(*(rng.standard_normal(s) for s in [(2, 33, 6, 7), (17, 33, 3, 3), (2, 17, 6, 7)]))
    x[1, 3, 2, 2] = g[1, 2, 3, 3] = edge
    assert AS_STORED["conv2d"](x, w, padding=1) is None or edge == 3e38
    results = (
        ops.conv2d(x, w, padding=1),
        ops.conv2d_backward_input(x.shape, w, g, padding=1),
        ops.conv2d_backward_weight(x, w.shape, g, padding=1),
    )
    x, w, g = (a.astype(np.float32) for a in (x, w, g))
    with by_products(), np.errstate(over="ignore"):
        plain = (
            ops.conv2d(x, w, padding=1),
            ops.conv2d_backward_input(x.shape, w, g, padding=1),
            ops.conv2d_backward_weight(x, w.shape, g, padding=1),
        )
    for result, answer in zip(results, plain, strict=True):
        result = result.astype(np.float32)
        assert not np.isfinite(answer).all() or edge == 3e38
        assert np.array_equal(np.isnan(result), np.isnan(answer))
        with np.errstate(over="ignore"):
            expected = rounded(answer)
        same = np.isclose(result, expected, rtol=2 * RELATIVE, atol=1e-2) | (result == expected)
        assert np.all(same | np.isnan(answer))


def test_denormals_count_as_zero():
    x = LAYOUTS["channels-last"](np.full((1, 32, 4, 4), 1e-40).astype(BFLOAT16))
    assert not Stored().conv2d(x, np.ones((16, 32, 1, 1), BFLOAT16)).astype(np.float32).any()


def test_nothing_is_written_beside_the_result():
    """Guards are images before and behind."""
    geometry = sizes("conv2d", (2, 33, 5, 6), (17, 33, 3, 3), 1, 1, 1, 1)
    x, w = (np.ones(s, np.float32).astype(BFLOAT16).view(np.uint16) for s in [(2, 5, 6, 33), (17, 33, 3, 3)])
    for pass_, shape in ("forward", (2, 5, 6, 17)), ("backward_input", (2, 5, 6, 33)):
        guarded = np.full((4, *shape[1:]), 0x1234, np.uint16)
        biases = (np.zeros(17, np.float32),) if pass_ == "forward" else ()
        read = x if pass_ == "forward" else x[..., :17].copy()
        assert plan_stored(pass_, geometry)("conv2d", read, w, *biases, guarded[1:3])
        assert np.all(guarded[[0, 3]] == 0x1234)
        assert not np.any(guarded[1:3] == 0x1234)


def test_memory_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(kernel("bfloat16_passes", np.dtype(np.uint16)), "forward", lambda *arguments: None)
    plan_stored.cache_clear()
    x, w = (LAYOUTS["channels-last"](np.ones(s, BFLOAT16)) for s in [(1, 32, 5, 5), (16, 32, 3, 3)])
    refuses(MemoryError, "conv2d: there is no memory for the kernel's scratch", ops.conv2d, x, w)


def test_arguments_are_checked_as_they_are_for_float32():
    x, w = (LAYOUTS["channels-last"](np.ones(s, BFLOAT16)) for s in [(1, 32, 5, 5), (16, 33, 3, 3)])
    refuses(ValueError, "conv2d: input has 32 channels but weight", ops.conv2d, x, w)
    refuses(ValueError, "conv2d: stride=0 must be at least 1", ops.conv2d, x, w[:, :32], stride=0)
    refuses(ValueError, "conv2d_backward_input: grad_output has shape", ops.conv2d_backward_input,
            (1, 33, 5, 5), w, x)  # fmt: skip
