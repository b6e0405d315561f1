"""Epilogues of the convolution kernels, and programs: sums of integers, so every answer is exact in every variant."""

import itertools

import numpy as np
import pytest
from cases import DTYPES, SETTLED, assert_exact, assert_same_bits, integers, reals
from forced import never_split, split_everywhere
from reference import conv2d, linear

import convkit as ck
from convkit import nn
from convkit._dispatch import isa, tile_shape
from convkit.inference.geometry import KINDS, RECTIFIERS

ANSWERS = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x < 0, 0.5 * x, x),
}
LAYERS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": lambda: nn.LeakyReLU(0.5)}


class Fused(nn.Module):
    """A convolution, maybe the sum with another one of the same input, maybe a rectifier."""

    def __init__(self, weight, bias, rectifier, bypass=None, **options):
        super().__init__()
        outputs, channels, *kernel = weight.shape
        groups = options.get("groups", 1)
        self.conv = nn.Conv2d(channels * groups, outputs, kernel, dtype=weight.dtype, **options)
        self.conv.weight.data[...] = weight
        self.conv.bias.data[...] = bias
        self.bypass = bypass
        self.rectifier = LAYERS[rectifier]() if rectifier else None

    def forward(self, x):
        y = self.conv(x)
        if self.bypass is not None:
            y = y + self.bypass(x)
        return y if self.rectifier is None else self.rectifier(y)


def kernels(lanes):
    """(channels, outputs, kernel size, options): each kernel, with vectors that are full, and others that are not."""
    yield 5, 2 * lanes, (3, 3), {"padding": 1}
    yield 4, 2 * lanes + 3, (3, 2), {"stride": 2}
    yield lanes, lanes + 1, (1, 1), {}
    yield 4, 3, (3, 3), {"padding": 1}  # columns side by side
    yield 1, 3 * lanes // 4, (5, 5), {"padding": 2}  # crowded
    yield 2 * lanes + 1, 2, (3, 3), {"padding": 1}  # planar
    yield 1, lanes, (5, 5), {"padding": 2}  # narrow
    yield 12, 24, (3, 3), {"groups": 3, "padding": 1}
    yield lanes + 3, lanes + 3, (3, 3), {"groups": lanes + 3, "padding": 1}  # depthwise
    yield 2 * lanes, 2 * lanes, (3, 3), {"groups": 2 * lanes, "stride": 2, "padding": 1}


def test_rectifiers_are_named_as_their_kinds():
    assert list(KINDS)[: len(RECTIFIERS)] == list(RECTIFIERS)
    assert set(ANSWERS) == {None, *RECTIFIERS}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", range(9))
def test_convolution_with_an_epilogue(case, dtype):
    rng = np.random.default_rng(case)
    channels, outputs, kernel, options = list(kernels(tile_shape(dtype)[1]))[case]
    terms = channels // options.get("groups", 1) * kernel[0] * kernel[1]
    shape = outputs, channels // options.get("groups", 1), *kernel
    x, w, b = integers(rng, (3, channels, 7, 9), terms), integers(rng, shape, terms), integers(rng, (outputs,))
    w2 = integers(rng, (outputs, channels // options.get("groups", 1), *kernel), terms)
    sums, others = (conv2d(x, weight, b, **options) for weight in (w, w2))
    for rectifier, bypassed in itertools.product(ANSWERS, (False, True)):
        bypass = Fused(w2.astype(dtype), b, None, **options) if bypassed else None
        compiled = ck.compile(Fused(w.astype(dtype), b, rectifier, bypass, **options), x.astype(dtype))
        assert len(compiled.graph.nodes) == 1 + bypassed, "nothing is left beside the convolutions"
        answer = ANSWERS[rectifier](sums + others if bypassed else sums)
        for threads in (1, 2):
            with ck.num_threads(threads):
                actual = compiled(x.astype(dtype))
            assert_exact(actual, answer, dtype, f"{rectifier}, bypass {bypassed}, {threads} threads")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_winograd_with_an_epilogue_gives_the_bits_of_one_operation_after_the_other(precision, dtype):
    rng = np.random.default_rng(0)
    x, w = reals(rng, (8, 48, 27, 28), dtype), reals(rng, (48, 48, 3, 3), dtype)
    model = Fused(w, reals(rng, 48, dtype), "leaky_relu", bypass=lambda x: x, padding=1)
    with ck.float32_precision(precision), ck.no_grad(), never_split():
        assert ck.ops.conv2d_plan(x.shape, w.shape, padding=1, dtype=dtype).name.startswith("winograd")
        compiled = ck.compile(model, x)
        finite = compiled(x)
        assert_exact(finite, model(x).data, dtype, "finite")
        # Images with outputs that are not finite are summed directly, the others as they were.
        x[1, 3, 4, 5], x[2, 7, 0, 0], x[7, 0, 26, 27] = np.inf, -np.inf, np.nan
        found, expected = compiled(x), model(x).data
    assert_exact(found[3:7], finite[3:7], dtype, "beside what is infinite")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(isa != "amx", reason="float32 is split into parts for AMX tiles alone")
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize(
    ("shape", "weight_shape", "options"),
    [
        ((8, 64, 14, 14), (96, 64, 3, 3), {"padding": 1}),
        ((8, 64, 15, 14), (96, 64, 3, 3), {"padding": 1, "stride": 2}),
        ((8, 64, 15, 14), (96, 64, 3, 3), {"padding": 2, "dilation": 2}),
        ((8, 7, 30, 30), (64, 7, 5, 5), {"padding": 2}),  # channels without gaps
        ((8, 24, 31, 30), (64, 24, 5, 5), {"padding": 2, "stride": 2}),  # which strides do not allow
        ((8, 128, 14, 14), (96, 64, 3, 3), {"padding": 1, "groups": 2}),
        ((8, 2500, 7, 7), (64, 2500, 1, 1), {}),  # more channels than are summed at a time
        ((40, 64, 7, 7), (96, 64, 3, 3), {"padding": 1}),  # small images, side by side in tiles
    ],
    ids=str,
)
def test_split_with_an_epilogue_gives_the_bits_of_one_operation_after_the_other(
    shape, weight_shape, options, precision
):
    rng = np.random.default_rng(0)
    x, w, w2 = (reals(rng, s, np.float32) for s in (shape, weight_shape, weight_shape))
    b = reals(rng, len(w), np.float32)
    model = Fused(w, b, "leaky_relu", bypass=Fused(w2, b, None, **options), **options)
    with split_everywhere(), ck.float32_precision(precision), ck.no_grad():
        compiled = ck.compile(model, x)
        finite = model(x).data
        for threads in (1, 2):
            with ck.num_threads(threads):
                assert_exact(compiled(x), finite, np.float32, f"{threads} threads")
        assert_exact(compiled(x[:3]), finite[:3], np.float32, "fewer images")
        # Images with numbers that have no parts are summed directly, and so are all where a weight has none.
        x[1, 3, 1, 2], x[7, 0, 2, 2] = np.inf, np.nan
        found = compiled(x)
        assert_exact(found[2:7], finite[2:7], np.float32, "beside what is infinite")
        np.testing.assert_allclose(found, model(x).data, rtol=1e-3, atol=1e-3)
        model.conv.weight.data[3, 2, 0, 0] = np.inf
        np.testing.assert_allclose(ck.compile(model, x)(x), model(x).data, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("images", [1, 2, 40])
def test_linear_with_an_epilogue(images, dtype):
    rng = np.random.default_rng(images)
    lanes = tile_shape(dtype)[1]
    for outputs in (1, lanes, 2 * lanes + 1):
        x, w, b = integers(rng, (images, 70), 70), integers(rng, (outputs, 70), 70), integers(rng, (outputs,))
        layer = nn.Linear(70, outputs, dtype=dtype)
        layer.weight.data[...], layer.bias.data[...] = w, b
        actual = ck.compile(nn.Sequential(layer, nn.ReLU()), x.astype(dtype))(x.astype(dtype))
        assert_exact(actual, np.maximum(linear(x, w, b), 0), dtype, f"{outputs} outputs")


class Steps(nn.Module):
    def __init__(self, scale, shift):
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x):
        scaled = x * self.scale - self.shift
        return ck.functional.relu(ck.cat([x, scaled, ck.functional.relu(x + scaled), -x / 2], 1) + 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_between_convolutions(dtype):
    """What has no kernel of its own: additions, scales, and channels side by side."""
    lanes = tile_shape(dtype)[1]
    for channels in (1, 3, lanes, 2 * lanes + 1):
        rng = np.random.default_rng(channels)
        x = integers(rng, (2, channels, 5, 3))
        scale, shift = integers(rng, (channels, 1, 1)), integers(rng, (channels, 1, 1))

        scaled = x * scale - shift
        answer = np.maximum(np.concatenate([x, scaled, np.maximum(x + scaled, 0), -x / 2], 1) + 1, 0)
        for threads in (1, 3):
            with ck.num_threads(threads):
                actual = ck.compile(Steps(scale.astype(dtype), shift.astype(dtype)), x.astype(dtype))(x.astype(dtype))
            assert_exact(actual, answer, dtype, f"{channels} channels, {threads} threads")


def network(dtype):
    return nn.Sequential(
        nn.Conv2d(3, 20, 5, padding=2, dtype=dtype),
        nn.BatchNorm2d(20, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(20, 20, 3, groups=20, padding=1, dtype=dtype),
        nn.ReLU6(),
        nn.Conv2d(20, 33, 3, padding=1, dtype=dtype),
        nn.SiLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(33 * 3 * 4, 10, dtype=dtype),
        nn.Softmax(1),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_on_any_number_of_threads_in_any_company(dtype):
    rng = np.random.default_rng(0)
    x = reals(rng, (11, 3, 13, 16), dtype)
    compiled = ck.compile(network(dtype), x)
    results = {"one image at a time": [np.concatenate([compiled(image[None]) for image in x])]}
    for threads in SETTLED:
        with ck.num_threads(threads):
            results[f"{threads} threads"] = [compiled(x)]
            results[f"{threads} threads, seven images and four"] = [np.concatenate([compiled(x[:7]), compiled(x[7:])])]
            last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
            results[f"{threads} threads, channels-last"] = [compiled(last)]
    assert_same_bits(results, "a compiled network")
