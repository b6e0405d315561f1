"""conv2d_plan: which algorithm runs, how much scratch it takes, how many multiplications it does."""

import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import DTYPES, refuses
from counted import COUNTER

import convkit as ck
from convkit import ops
from convkit._dispatch import tile_shape
from convkit._precision import operands_of_bfloat16
from convkit._shapes import conv2d
from convkit.ops import _convolution
from convkit.ops._layer import Layer

GRADIENTS = (None, "input", "weight")


def names(*shapes, **options):
    return [ops.conv2d_plan(*shapes, gradient=gradient, **options).name for gradient in GRADIENTS]


@pytest.mark.parametrize("dtype", DTYPES)
def test_algorithms_by_the_width_of_a_vector(dtype):
    lanes = tile_shape(np.dtype(dtype))[1]
    dense = names((2, 4 * lanes, 14, 14), (4 * lanes, 4 * lanes, 1, 1), dtype=dtype)
    assert dense == ["direct"] * 3
    depthwise = names((2, 2 * lanes, 9, 9), (2 * lanes, 1, 3, 3), groups=2 * lanes, dtype=dtype)
    assert depthwise == ["depthwise"] * 3
    grouped = names((2, 4 * lanes, 9, 9), (4 * lanes, 2, 3, 3), groups=2 * lanes, dtype=dtype)
    assert grouped == ["narrow"] * 3
    one_vector = names((2, 4 * lanes, 9, 9), (lanes, 4 * lanes, 3, 3), dtype=dtype)
    assert one_vector[0] == "narrow"
    few = ops.conv2d_plan((2, 4 * lanes, 9, 9), (max(1, lanes // 4), 4 * lanes, 3, 3), dtype=dtype)
    assert few.name == ("planar" if 4 * lanes >= 8 and 8 * max(1, lanes // 4) <= 3 * lanes else "direct")


def layer(pass_, shape, weight, isa, lanes, precision="highest", **options):
    how = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | options
    geometry = conv2d("conv2d", shape, weight, **how)
    return Layer(pass_, geometry, np.dtype(np.float32), precision, isa, lanes)


@pytest.mark.parametrize(
    ("pass_", "shape", "weight", "options", "lanes", "name"),
    [
        ("forward", (2, 64, 9, 9), (64, 64, 1, 1), {}, 16, "direct"),
        ("forward", (2, 64, 9, 9), (16, 64, 3, 3), {}, 16, "narrow"),
        ("forward", (2, 64, 9, 9), (16, 64, 3, 3), {"stride": 2}, 16, "direct"),
        ("forward", (2, 64, 9, 9), (16, 64, 3, 3), {}, 4, "direct"),
        ("forward", (2, 64, 9, 9), (6, 64, 3, 3), {}, 16, "planar"),
        ("forward", (2, 64, 9, 9), (7, 64, 3, 3), {}, 16, "direct"),
        ("forward", (2, 16, 32, 32), (16, 16, 3, 3), {"padding": 1}, 16, "winograd F(2x2, 3x3)"),
        ("forward", (2, 8, 32, 32), (16, 8, 3, 3), {"padding": 1}, 16, "narrow"),
        ("forward", (2, 64, 28, 28), (64, 16, 3, 3), {"groups": 4}, 16, "winograd F(2x2, 3x3)"),
        ("backward_input", (2, 64, 28, 28), (64, 32, 5, 5), {"groups": 2}, 16, "winograd F(2x2, 5x5)"),
        ("forward", (2, 64, 28, 28), (64, 8, 3, 3), {"groups": 8}, 16, "narrow"),
        ("forward", (2, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}, 16, "crowded"),
        ("forward", (2, 1, 28, 28), (6, 1, 5, 5), {"dilation": 2}, 16, "direct"),
        ("forward", (2, 6, 28, 28), (5, 6, 3, 3), {}, 16, "direct"),
        ("forward", (2, 1, 28, 3), (6, 1, 2, 2), {}, 16, "direct"),
        ("backward_weight", (2, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}, 8, "crowded"),
        ("backward_weight", (2, 1, 28, 28), (7, 1, 5, 5), {"padding": 2}, 8, "narrow"),
        ("forward", (2, 8, 9, 9), (8, 1, 3, 3), {"groups": 8}, 8, "depthwise"),
        ("forward", (2, 8, 9, 9), (8, 1, 3, 3), {"groups": 8}, 16, "narrow"),
        ("backward_input", (2, 3, 9, 9), (64, 3, 3, 3), {}, 16, "planar"),
        ("backward_input", (8, 6, 14, 14), (16, 6, 5, 5), {}, 16, "scattered"),
        ("backward_input", (4, 6, 14, 14), (16, 6, 5, 5), {}, 16, "planar"),
        ("backward_input", (8, 6, 14, 14), (16, 6, 5, 5), {"padding": 2}, 16, "planar"),
        ("backward_input", (8, 3, 99, 99), (64, 3, 3, 3), {}, 16, "planar"),
        ("backward_input", (2, 16, 9, 9), (64, 16, 3, 3), {"stride": 2}, 16, "narrow"),
        ("backward_weight", (2, 3, 9, 9), (64, 3, 3, 3), {}, 16, "narrow"),
        ("backward_weight", (2, 3, 9, 9), (64, 3, 3, 3), {}, 8, "direct"),
        ("backward_weight", (2, 3, 9, 9), (64, 3, 1, 1), {}, 16, "direct"),
        ("backward_weight", (2, 512, 9, 9), (15, 512, 3, 3), {}, 16, "narrow"),
        ("backward_weight", (2, 1024, 9, 9), (15, 1024, 3, 3), {}, 16, "direct"),
        ("backward_weight", (2, 512, 9, 9), (16, 512, 3, 3), {"padding": 1}, 16, "winograd F(3x3, 2x2)"),
        ("backward_weight", (2, 64, 9, 9), (64, 64, 3, 3), {"padding": 1}, 16, "winograd F(3x3, 2x2)"),
        ("backward_weight", (2, 64, 9, 9), (16, 64, 3, 3), {"padding": 1}, 8, "winograd F(3x3, 2x2)"),
        ("backward_weight", (2, 16, 9, 9), (32, 16, 5, 5), {"padding": 2}, 16, "winograd F(3x3, 2x2)"),
        ("backward_weight", (2, 64, 3, 3), (64, 64, 3, 3), {"padding": 1}, 16, "direct"),
        ("backward_weight", (2, 64, 9, 9), (64, 64, 3, 3), {"stride": 2}, 16, "direct"),
        ("backward_weight", (2, 64, 9, 9), (64, 64, 3, 3), {"dilation": 2}, 16, "direct"),
        ("backward_weight", (2, 64, 9, 9), (64, 32, 3, 3), {"groups": 2}, 16, "winograd F(3x3, 2x2)"),
        ("backward_weight", (2, 64, 9, 9), (64, 8, 3, 3), {"groups": 8}, 16, "narrow"),
        ("backward_weight", (2, 64, 9, 9), (64, 64, 3, 1), {}, 16, "direct"),
    ],
    ids=str,
)
def test_rules_of_every_instruction_set(pass_, shape, weight, options, lanes, name):
    """They are pure: this machine need not have it."""
    isa = {4: "baseline", 8: "x86_v3", 16: "x86_v4"}[lanes]
    assert _convolution.choose(layer(pass_, shape, weight, isa, lanes, **options)).name == name


@pytest.mark.parametrize(
    ("pass_", "shape", "weight", "options", "chosen"),
    [
        ("forward", (16, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}, "highest high medium"),
        ("backward_input", (16, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}, "high medium"),
        ("backward_input", (16, 128, 56, 56), (128, 128, 3, 3), {"stride": 2, "padding": 1}, "high medium"),
        ("backward_weight", (16, 128, 28, 28), (128, 128, 3, 3), {"padding": 1}, "highest high medium"),
        ("backward_weight", (16, 128, 56, 56), (128, 128, 3, 3), {"stride": 2, "padding": 1}, "highest high medium"),
        ("backward_weight", (16, 64, 14, 14), (64, 64, 5, 5), {"padding": 2}, "highest high medium"),
        ("backward_weight", (16, 1024, 14, 14), (256, 1024, 1, 1), {}, "highest high medium"),
        ("backward_weight", (16, 256, 56, 56), (512, 256, 1, 1), {"stride": 2}, "highest high medium"),
        ("backward_weight", (16, 3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}, ""),
        ("forward", (16, 64, 56, 56), (256, 64, 1, 1), {}, "highest high medium"),
        ("forward", (100, 16, 14, 14), (32, 16, 5, 5), {"padding": 2}, "high medium"),  # rows of tiles overlap
        ("backward_input", (100, 16, 14, 14), (32, 16, 5, 5), {"padding": 2}, "highest high medium"),
        ("forward", (16, 256, 56, 56), (512, 256, 1, 1), {"stride": 2}, "high medium"),
        ("backward_weight", (16, 64, 56, 56), (256, 64, 1, 1), {}, "high medium"),
        ("forward", (1, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}, "medium"),
        ("forward", (16, 3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}, "high medium"),
        ("forward", (16, 3, 32, 32), (16, 3, 3, 3), {}, "medium"),
        ("forward", (100, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}, ""),  # most of a tile would be empty
        ("forward", (16, 64, 28, 28), (64, 1, 3, 3), {"groups": 64}, ""),
        ("backward_weight", (16, 128, 56, 56), (128, 4, 3, 3), {"groups": 32}, ""),
        ("forward", (2, 0, 8, 8), (4, 0, 3, 3), {}, ""),
    ],
    ids=str,
)
def test_rules_of_amx(pass_, shape, weight, options, chosen):
    """Bfloat16 parts where their products cost less than float32's: fewer parts, more often."""
    for precision in ("highest", "high", "medium"):
        algorithm = _convolution.choose(layer(pass_, shape, weight, "amx", 16, precision, **options))
        assert algorithm.name.startswith("split") == (precision in chosen.split()), precision
    assert not _convolution.choose(layer(pass_, shape, weight, "x86_v4", 16, **options)).name.startswith("split")


@pytest.mark.parametrize(
    ("weight", "options", "shallow"),
    [
        ((16, 1, 5, 5), {}, True),
        ((64, 3, 7, 7), {"stride": 2}, True),
        ((64, 3, 7, 7), {"dilation": (2, 1)}, True),
        ((64, 3, 7, 7), {"dilation": (1, 2)}, False),  # columns lie apart
        ((64, 3, 1, 7), {}, False),  # columns of one number for each channel: no better than rows
        ((64, 8, 5, 5), {}, False),  # more than a row of a tile
        ((66, 1, 3, 3), {"groups": 3}, False),
    ],
    ids=str,
)
def test_ranges_of_columns(weight, options, shallow):
    shape = (16, weight[1] * options.get("groups", 1), 64, 64)
    chosen = _convolution.choose(layer("forward", shape, weight, "amx", 16, "medium", **options))
    assert (chosen.name == "split shallow") == shallow


@pytest.mark.parametrize(
    ("shape", "weight", "tiles"),
    [
        ((16, 64, 56, 56), (64, 64, 3, 3), "highest"),
        ((16, 256, 14, 14), (256, 256, 3, 3), "highest high"),
        ((16, 512, 7, 7), (512, 512, 3, 3), ""),  # transformed weights that serve few tiles
        ((128, 16, 32, 32), (16, 16, 3, 3), ""),  # Winograd's tiles in float32
    ],
    ids=str,
)
def test_tiles_of_parts(shape, weight, tiles):
    """Winograd's tiles on AMX; but not of bfloat16 operands, whose sums of products are exact."""
    for pass_, precision in itertools.product(("forward", "backward_input"), ("highest", "high", "medium")):
        dense = layer(pass_, shape, weight, "amx", 16, precision, padding=1)
        name = "split winograd F(2x2, 3x3)"
        assert (_convolution.choose(dense).name == name) == (precision in tiles.split()), (pass_, precision)
        assert _convolution.choose(dense._replace(of_bfloat16=True)).name != name


@pytest.mark.parametrize(
    ("shape", "size", "tiles", "float32"),
    [
        ((16, 32, 56, 56), 3, "", "highest"),
        ((16, 64, 56, 56), 3, "", "highest"),  # each transformed number meets few others
        ((16, 128, 28, 28), 3, "highest", ""),
        ((16, 256, 14, 14), 3, "highest high", ""),
        ((16, 512, 7, 7), 3, "highest", ""),
        ((16, 64, 14, 14), 5, "", ""),
        ((0, 256, 14, 14), 3, "", ""),
    ],
    ids=str,
)
def test_gradients_of_parts_beside_winograd(shape, size, tiles, float32):
    """Of few channels, transforms in float32 cost less than those that end in parts; of many, products count."""
    weight, options = (shape[1], shape[1], size, size), {"padding": size // 2}
    for precision in ("highest", "high", "medium"):
        dense = layer("backward_weight", shape, weight, "amx", 16, precision, **options)
        name = "split"
        if precision in tiles.split():
            name = "split winograd F(3x3, 2x2)"
        elif precision in float32.split():
            name = "winograd F(3x3, 2x2)"
        assert _convolution.choose(dense).name == (name if shape[0] else "direct"), precision
        assert _convolution.choose(dense._replace(of_bfloat16=True)).name != "split winograd F(3x3, 2x2)"


def test_parts_by_precision():
    for precision, parts in [("highest", 3), ("high", 2), ("medium", 1)]:
        for pass_ in ("forward", "backward_input", "backward_weight"):
            dense = layer(pass_, (16, 1024, 14, 14), (256, 1024, 1, 1), "amx", 16, precision)
            assert _convolution.choose(dense).extra == parts
        vectors = layer("forward", (512, 1024, 1, 1), (1024, 1024, 1, 1), "amx", 16, precision)
        assert _convolution.choose_linear(vectors).extra == parts


@pytest.mark.parametrize(
    ("pass_", "shape", "weight", "options", "name"),
    [
        ("forward", (16, 64, 56, 56), (256, 64, 1, 1), {}, "bfloat16"),
        ("backward_input", (16, 256, 56, 56), (512, 256, 1, 1), {"stride": 2}, "bfloat16"),
        ("forward", (100, 16, 14, 14), (32, 16, 5, 5), {"padding": 2}, "bfloat16"),
        ("forward", (16, 128, 56, 56), (128, 64, 3, 3), {"stride": 2, "padding": 1, "groups": 2}, "bfloat16"),
        ("forward", (16, 128, 28, 28), (128, 128, 3, 3), {"padding": 1}, "winograd F(4x4, 3x3)"),
        ("backward_weight", (16, 64, 56, 56), (256, 64, 1, 1), {}, "direct"),
        ("forward", (100, 1, 28, 28), (16, 1, 5, 5), {"padding": 2}, "narrow"),  # pairs would be half empty
        ("forward", (16, 64, 56, 56), (8, 64, 1, 1), {}, "direct"),  # and here vectors would
        ("forward", (1, 512, 7, 7), (512, 512, 1, 1), {}, "bfloat16"),
        ("forward", (1, 512, 1, 1), (512, 512, 1, 1), {}, "direct"),  # weights would be packed for one pixel
        ("forward", (16, 64, 28, 28), (64, 1, 3, 3), {"groups": 64}, "depthwise"),
        ("forward", (2, 0, 8, 8), (16, 0, 3, 3), {}, "direct"),
    ],
    ids=str,
)
def test_rules_of_pairs(pass_, shape, weight, options, name):
    """Pairs of bfloat16 where one of each number is enough, and they cost less than numbers."""
    for isa, precision in [("avx512_bf16", "medium"), ("avx512_bf16", "high"), ("x86_v4", "medium")]:
        algorithm = _convolution.choose(layer(pass_, shape, weight, isa, 16, precision, **options))
        if (isa, precision) == ("avx512_bf16", "medium"):
            assert algorithm.name == name
        else:
            assert algorithm.name != "bfloat16"
    of_bfloat16 = layer(pass_, shape, weight, "avx512_bf16", 16, **options)._replace(of_bfloat16=True)
    assert _convolution.choose(of_bfloat16).name == ("bfloat16" if "F(4x4" in name else name)


def test_weights_packed_before_are_worth_less():
    vectors = layer("forward", (1, 512, 1, 1), (512, 512, 1, 1), "avx512_bf16", 16, "medium")
    assert _convolution.choose_linear(vectors).name == "direct"
    assert _convolution.choose_linear(vectors._replace(packed=True)).name == "bfloat16"


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_operands_of_bfloat16_have_one_part(precision):
    """All of it: so the products are exact, and one is enough."""
    dense = layer("forward", (16, 256, 14, 14), (256, 256, 3, 3), "amx", 16, precision, padding=1)
    assert _convolution.choose(dense._replace(of_bfloat16=True)).extra == 1
    with operands_of_bfloat16():
        narrow = _convolution.plan("forward", np.dtype(np.float32), dense.convolution)
    wide = _convolution.plan("forward", np.dtype(np.float32), dense.convolution)
    assert (narrow.layer.of_bfloat16, wide.layer.of_bfloat16) == (True, False)


@pytest.mark.parametrize("choose", [_convolution.choose, _convolution.choose_linear])
def test_linear_layers_are_dense(choose):
    """However few their channels, and as convolutions over images of one pixel, too."""
    assert choose(layer("backward_weight", (64, 8, 1, 1), (32, 8, 1, 1), "x86_v4", 16)).name == "direct"


SHAPES = {
    "dense": ((2, 20, 9, 11), (24, 20, 3, 2), {"padding": 1}),
    "stride": ((2, 20, 9, 11), (24, 20, 3, 2), {"stride": (2, 3), "dilation": 2}),
    "groups": ((2, 12, 9, 11), (24, 3, 3, 3), {"groups": 4}),
    "depthwise": ((2, 32, 9, 11), (32, 1, 3, 3), {"groups": 32, "padding": "same"}),
}


@pytest.mark.parametrize(("shape", "weight", "options"), SHAPES.values(), ids=SHAPES)
def test_products_of_a_direct_sum(shape, weight, options):
    n, k, p, q = ops.conv2d_output_shape(shape, weight, **options)
    _, c, r, s = weight
    for gradient in GRADIENTS:
        plan = ops.conv2d_plan(shape, weight, **options, gradient=gradient)
        assert plan.multiplies == n * k * p * q * c * r * s
        assert type(plan.multiplies) is type(plan.scratch) is int


def test_products_of_winograd():
    """4 points of an axis for three taps and 3 more for two more, in each tile of 2x2 outputs."""
    plan = ops.conv2d_plan((2, 40, 8, 9), (48, 40, 3, 5), padding=(1, 2), dtype=np.float64, gradient="weight")
    assert plan.name == "winograd F(3x3, 2x2)"
    assert plan.multiplies == 2 * 4 * 5 * 4 * 7 * 40 * 48


CASES = [
    ((2, 64, 14, 14), (96, 64, 3, 3), {"padding": 1}),
    ((1, 64, 7, 7), (96, 64, 1, 1), {}),
    ((2, 64, 40, 40), (96, 64, 1, 1), {}),
    ((9, 64, 1, 1), (33, 64, 1, 1), {}),
    ((4, 3, 60, 61), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    ((4, 3, 33, 34), (20, 3, 5, 5), {}),
    ((2, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}),
    ((2, 5, 30, 31), (4, 5, 3, 3), {"stride": [3, 2], "dilation": [1, 2]}),
    ((2, 64, 30, 30), (3, 64, 3, 3), {"padding": 1}),
    ((9, 3, 14, 13), (16, 3, 5, 5), {}),
    ((2, 16, 20, 30), (1, 16, 3, 3), {"padding": 1}),
    ((2, 64, 30, 30), (16, 64, 3, 3), {"padding": 1}),
    ((2, 16, 31, 30), (64, 16, 3, 3), {"padding": 1, "stride": 2}),
    ((2, 64, 20, 21), (64, 4, 3, 3), {"padding": 1, "groups": 16}),
    ((2, 64, 20, 21), (96, 32, 3, 3), {"padding": 1, "groups": 2}),
    ((2, 64, 20, 21), (64, 4, 3, 3), {"padding": 1, "groups": 16, "stride": [2, 3]}),
    ((2, 64, 50, 51), (64, 1, 3, 3), {"padding": 1, "groups": 64}),
    ((2, 64, 50, 51), (64, 1, 5, 3), {"padding": 1, "groups": 64, "stride": 2}),
    ((2, 70, 20, 21), (100, 70, 3, 3), {"padding": 1}),
    ((2, 200, 20, 21), (300, 200, 3, 3), {"padding": 1}),
    ((2, 16, 20, 21), (40, 16, 5, 5), {"padding": 2}),
    ((0, 20, 9, 9), (24, 20, 3, 3), {}),
    ((2, 0, 9, 9), (24, 0, 3, 3), {}),
    ((2, 20, 9, 9), (0, 20, 3, 3), {}),
]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or not shutil.which("cc"), reason="needs cc and the GNU libc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer has an allocator of its own")
def test_scratch_is_what_kernels_allocate(tmp_path):
    """Counted from outside, by an allocator of our own."""
    source, library = tmp_path / "counter.c", tmp_path / "counter.so"
    source.write_text(COUNTER)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    cases = [
        {"input": x, "weight": w, "options": options, "dtype": np.dtype(dtype).name}
        for (x, w, options), dtype in itertools.product(CASES, DTYPES)
    ]
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    counted = Path(__file__).with_name("counted.py")
    done = subprocess.run(
        [sys.executable, counted, library], input=json.dumps(cases), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    runs = len(GRADIENTS) * 2
    assert len(lines) == runs * len(cases)
    for i, (gradient, threads, name, taken, told) in enumerate(lines):
        case = cases[i // runs]
        assert told == taken, f"{case}, gradient={gradient}, {threads} threads, {name}: {told}, but took {taken}"
    expected = {"direct", "narrow", "planar", "depthwise", "winograd F(2x2, 3x3)", "winograd F(3x3, 2x2)"}
    if tile_shape(np.dtype(np.float32))[1] >= 8:  # with fewer lanes, pixels need not share vectors
        expected |= {"crowded", "scattered"}
    assert {name for _, _, name, *_ in lines} >= expected


def test_scratch_grows_with_threads():
    shapes = (4, 64, 56, 56), (64, 64, 3, 3)
    if not ck.config()["openmp"]:
        pytest.skip("this build has no OpenMP: always one thread")
    scratch = []
    for threads in (1, 2):
        with ck.num_threads(threads):
            scratch.append(ops.conv2d_plan(*shapes, padding=1).scratch)
    assert scratch[0] < scratch[1] < 2 * scratch[0]


def test_asking_allocates_no_images():
    """Shapes far beyond this machine's memory are answered."""
    plan = ops.conv2d_plan((2**20, 256, 2**12, 2**12), (256, 256, 5, 5), padding=2, dtype=np.float64)
    assert plan.multiplies == 2**20 * 256 * 2**22 * 256 * 49
    assert plan.scratch < 2**30


@pytest.mark.parametrize("value", ["bias", "", 1, True, np.ones(2)], ids=str)
def test_what_is_no_gradient(value):
    rule = r"^conv2d_plan: gradient=.* must be None, 'input' or 'weight'"
    refuses(ValueError, rule, ops.conv2d_plan, (1, 3, 8, 8), (4, 3, 3, 3), gradient=value)


def test_what_is_no_dtype():
    rule = r"^conv2d_plan: dtype=int32 must be float32 or float64"
    refuses(TypeError, rule, ops.conv2d_plan, (1, 3, 8, 8), (4, 3, 3, 3), dtype=np.int32)


def test_weights_that_are_packed_before_cost_nothing():
    """One small image does not pay for the transform of its weights; many images do, and so do many calls."""
    one = layer("forward", (1, 16, 14, 14), (32, 16, 5, 5), "x86_v4", 16, padding=2)
    many = layer("forward", (64, 16, 14, 14), (32, 16, 5, 5), "x86_v4", 16, padding=2)
    names = [_convolution.choose(case).name for case in (one, many, one._replace(packed=True))]
    assert names == ["direct", "winograd F(2x2, 5x5)", "winograd F(2x2, 5x5)"]
