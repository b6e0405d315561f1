"""conv_transpose2d and its backward passes, against float64 answers: to the bit on integers."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import reference
from cases import (
    DTYPES,
    LAYOUTS,
    SETTLED,
    THREADS,
    assert_exact,
    assert_rms,
    assert_same_bits,
    integers,
    is_channels_last,
    reals,
    refuse_unless_telling,
    refuses,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from convkit import ops
from convkit._threads import num_threads


@dataclass(frozen=True)
class Transposed:
    shape: tuple
    weight: tuple
    stride: int | tuple = 1
    padding: int | tuple = 0
    output_padding: int | tuple = 0
    groups: int = 1
    dilation: int | tuple = 1
    bias: bool = True

    @property
    def options(self):
        names = "stride", "padding", "output_padding", "groups", "dilation"
        return {name: getattr(self, name) for name in names}


# Each is called with `ops` or with `reference`, which share their signatures.
PASSES = {
    "conv_transpose2d": lambda api, x, w, b, g, o: api.conv_transpose2d(x, w, b, **o),
    "conv_transpose2d_backward_input": lambda api, x, w, b, g, o: api.conv_transpose2d_backward_input(
        x.shape, w, g, **o
    ),
    "conv_transpose2d_backward_weight": lambda api, x, w, b, g, o: api.conv_transpose2d_backward_weight(
        x, w.shape, g, **o
    ),
}


def shapes_of(case):
    x, w = np.broadcast_to(0.0, case.shape), np.broadcast_to(0.0, case.weight)
    out = reference.conv_transpose2d(x, w, **case.options).shape
    return case.shape, case.weight, (out[1],), out


def integer_arrays(case):
    rng = np.random.default_rng(0)
    shapes = shapes_of(case)
    terms = max(np.prod(case.weight[1:]), np.prod(case.weight[2:]) * case.weight[0], np.prod(shapes[3]) // shapes[3][1])
    x, w, g = (integers(rng, shape, terms) for shape in (shapes[0], shapes[1], shapes[3]))
    return x, w, integers(rng, shapes[2]) if case.bias else None, g


def check_exact(case):
    arrays = integer_arrays(case)
    magnitudes = [None if a is None else np.abs(a) for a in arrays]
    for name, run in PASSES.items():
        answer = run(reference, *arrays, case.options)
        refuse_unless_telling(answer, run(reference, *magnitudes, case.options), f"{case} {name}")
        for dtype, threads in itertools.product(DTYPES, THREADS):
            typed = [None if a is None else a.astype(dtype) for a in arrays]
            with num_threads(threads):
                result = run(ops, *typed, case.options)
            assert_exact(result, answer, dtype, f"{case} {name} {dtype.__name__} threads={threads}")


@pytest.mark.parametrize(
    "case",
    [
        Transposed((2, 3, 4, 5), (3, 4, 2, 2), stride=2),
        Transposed((2, 3, 4, 5), (3, 4, 3, 3), stride=2, padding=1, output_padding=1),
        Transposed((1, 17, 7, 6), (17, 33, 4, 4), stride=2, padding=1),
        Transposed((1, 2, 3, 3), (2, 3, 3, 2), stride=(3, 1), padding=(1, 0), output_padding=(2, 0)),
        Transposed((2, 3, 4, 4), (3, 2, 3, 3), dilation=3, output_padding=2),
        Transposed((1, 3, 4, 4), (3, 2, 2, 3), stride=2, dilation=(4, 3), padding=2, output_padding=(3, 1)),
        Transposed((1, 2, 1, 1), (2, 3, 3, 3), stride=4, output_padding=3),
        Transposed((2, 3, 5, 4), (3, 4, 1, 1), stride=3, output_padding=1, bias=False),
        Transposed((0, 3, 5, 4), (3, 4, 2, 2)),
        Transposed((2, 6, 5, 4), (6, 2, 3, 3), stride=2, padding=1, groups=3),
        Transposed((2, 6, 5, 4), (6, 1, 3, 3), stride=2, padding=1, output_padding=1, groups=6),
        Transposed((1, 33, 5, 6), (33, 2, 2, 3), stride=2, dilation=2, groups=33),
        Transposed((1, 40, 5, 6), (40, 4, 3, 3), padding=1, groups=10),
        Transposed((2, 64, 20, 31), (64, 64, 3, 3), stride=2, padding=1),
        Transposed((2, 64, 20, 31), (64, 1, 3, 3), stride=2, padding=1, output_padding=1, groups=64),
    ],
    ids=str,
)
def test_exact(case):
    check_exact(case)


pairs = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def transposed(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3, 9]))
    inner, outer = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride, dilation = draw(pairs), draw(pairs)
    image, padding, extra = [], [], []
    for k, s, d in zip(kernel, reference.pair(stride), reference.pair(dilation), strict=True):
        size = draw(st.integers(1, 9))
        image.append(size)
        padding.append(draw(st.integers(0, ((size - 1) * s + d * (k - 1)) // 2)))
        extra.append(draw(st.integers(0, max(s, d) - 1)))
    shape = draw(st.integers(1, 3)), inner * groups, *image
    weight = inner * groups, outer, *kernel
    return Transposed(shape, weight, stride, tuple(padding), tuple(extra), groups, dilation, draw(st.booleans()))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(transposed())
def test_any_transposed_convolution(case):
    check_exact(case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case",
    [
        Transposed((4, 64, 7, 7), (64, 32, 4, 4), stride=2, padding=1),
        Transposed((4, 64, 14, 14), (64, 1, 3, 3), stride=2, padding=1, output_padding=1, groups=64),
        Transposed((2, 24, 9, 9), (24, 4, 3, 3), dilation=2, groups=6),
    ],
    ids=str,
)
def test_reals_and_threads(case, dtype):
    rng = np.random.default_rng(0)
    arrays = [reals(rng, shape, dtype) for shape in shapes_of(case)]
    for name, run in PASSES.items():
        results = {}
        for threads in SETTLED:
            with num_threads(threads):
                results[f"threads={threads}"] = [run(ops, *arrays, case.options)]
        assert_same_bits(results, f"{case} {name}")
        assert_rms(results["threads=1"][0], run(reference, *arrays, case.options), dtype, f"{case} {name}")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("groups", [1, 4])
def test_memory_orders(layout, groups):
    case = Transposed((2, 4, 5, 6), (4, 3, 3, 2), stride=2, padding=1, groups=groups)
    arrays = integer_arrays(case)
    x, w, b, g = (a.astype(np.float32) for a in arrays)
    laid = [LAYOUTS[layout](a) for a in (x, w)] + [LAYOUTS["every second"](b), LAYOUTS[layout](g)]
    for name, run in PASSES.items():
        result = run(ops, *laid, case.options)
        assert_exact(result, run(reference, *arrays, case.options), np.float32, f"{case} {name} {layout}")
        if name != "conv_transpose2d_backward_weight":
            assert is_channels_last(result), f"{name}: strides {result.strides}"


def test_the_gradients_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    options = {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "groups": 2, "dilation": (1, 2)}
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape) for shape in ((2, 4, 5, 6), (4, 3, 3, 2), (6,)))
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    output = torch.nn.functional.conv_transpose2d(*leaves, **options)
    g = rng.standard_normal(output.shape)
    output.backward(torch.tensor(g))
    found = [run(ops, x, w, b, g, options) for run in PASSES.values()]
    for ours, theirs in zip(found, (output, leaves[0].grad, leaves[1].grad), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12, atol=1e-12)


X, W = np.ones((2, 4, 6, 7), np.float32), np.ones((4, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"input": X[:, :3]}, "input has 3 channels but weight .* expects 4"),
        ({"groups": 3}, "groups=3 does not divide"),
        ({"bias": np.ones(5, np.float32)}, r"bias has shape \(5,\).* expects \(3,\)"),
        ({"output_padding": 1}, r"output_padding=\(1, 1\) must be smaller than stride=\(1, 1\)"),
        ({"stride": 2, "output_padding": (0, 2)}, r"output_padding=\(0, 2\) must be smaller"),
        ({"padding": 4}, "output's height would be 0"),
        ({"input": X[:, :, :0]}, "input's height 0"),
        ({"weight": W[:, :, :0]}, "empty kernel"),
        ({"stride": 0}, "stride=0 must be at least 1"),
        ({"dilation": 2**31}, "dilation=2147483648 must be at most"),
        ({"padding": "same"}, "padding='same'"),
    ],
)
def test_refusals(change, pattern):
    arguments = {"input": X, "weight": W, **change}
    exception = TypeError if "same" in pattern else ValueError
    refuses(exception, f"^conv_transpose2d: .*{pattern}", ops.conv_transpose2d, **arguments)
