"""The linear op and its three backward passes, against float64 answers: to the bit on integers."""

import itertools

import numpy as np
import pytest
import reference
from cases import (
    DTYPES,
    LAYOUTS,
    SETTLED,
    THREADS,
    around,
    assert_exact,
    assert_rms,
    assert_same_bits,
    denormals,
    integers,
    keeps_denormals,
    reals,
    refuse_unless_telling,
    whole_buffer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from convkit import ops
from convkit._dispatch import tile_shape
from convkit._threads import num_threads

# Each is called with `ops` or with `reference`, which share their signatures.
PASSES = {
    "linear": lambda api, x, w, b, g: api.linear(x, w, b),
    "linear_backward_input": lambda api, x, w, b, g: api.linear_backward_input(x.shape, w, g),
    "linear_backward_weight": lambda api, x, w, b, g: api.linear_backward_weight(x, w.shape, g),
    "linear_backward_bias": lambda api, x, w, b, g: api.linear_backward_bias(g),
}


def integer_arrays(batch, ins, outs, bias=True, seed=0):
    rng = np.random.default_rng(seed)
    terms = max(ins, outs, np.prod(batch, dtype=int))
    shapes = (*batch, ins), (outs, ins), (*batch, outs)
    x, w, g = (integers(rng, shape, terms) for shape in shapes)
    return x, w, integers(rng, outs) if bias else None, g


def check_exact(batch, ins, outs, bias=True, seed=0):
    arrays = integer_arrays(batch, ins, outs, bias, seed)
    magnitudes = [None if a is None else np.abs(a) for a in arrays]
    case = f"batch={batch} in={ins} out={outs} bias={bias} seed={seed}"
    for name, run in PASSES.items():
        answer = run(reference, *arrays)
        refuse_unless_telling(answer, run(reference, *magnitudes), f"{name} {case}")
        for dtype, threads in itertools.product(DTYPES, THREADS):
            typed = [None if a is None else a.astype(dtype) for a in arrays]
            with num_threads(threads):
                result = run(ops, *typed)
            assert_exact(result, answer, dtype, f"{name} {case} {dtype.__name__} threads={threads}")


ROWS = sorted(set().union(*(around(tile_shape(dtype)[0]) for dtype in DTYPES), around(12)))
LANES = set().union(*(around(tile_shape(dtype)[1]) for dtype in DTYPES))
FEATURES = (1, 3, 15, 16, 17, 33)


@pytest.mark.parametrize("rows", ROWS)
def test_rows_from_the_tile(rows):
    check_exact((rows,), 5, 17)


@pytest.mark.parametrize("lanes", sorted(LANES))
def test_features_from_the_tile(lanes):
    check_exact((5,), lanes, lanes)


@pytest.mark.parametrize("outs", FEATURES)
@pytest.mark.parametrize("ins", FEATURES)
def test_features(ins, outs):
    check_exact((4,), ins, outs)


@pytest.mark.parametrize("batch", [(), (1,), (0,), (2, 3), (2, 0, 3), (2, 3, 4, 5)], ids=str)
def test_leading_axes(batch):
    check_exact(batch, 6, 7)


def test_without_bias():
    check_exact((4,), 5, 6, bias=False)


@pytest.mark.parametrize(
    ("rows", "ins", "outs"),
    [(3, 90000, 2), (90000, 2, 3), (2, 3, 90000), (64, 1568, 10), (300, 70, 50), (40, 1100, 129)],
)
def test_long_sums(rows, ins, outs):
    check_exact((rows,), ins, outs)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 9), max_size=3).map(tuple),
    st.integers(1, 70),
    st.integers(1, 70),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_shape(batch, ins, outs, bias, seed):
    check_exact(batch, ins, outs, bias, seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "ins", "outs"), [(100, 1568, 10), (1000, 64, 64), (7, 4096, 33)])
def test_reals(rows, ins, outs, dtype):
    rng = np.random.default_rng(0)
    arrays = [reals(rng, shape, dtype) for shape in ((rows, ins), (outs, ins), (outs,), (rows, outs))]
    for name, run in PASSES.items():
        label = f"{name} rows={rows} in={ins} out={outs} {dtype.__name__}"
        assert_rms(run(ops, *arrays), run(reference, *arrays), dtype, label)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [(5,), (2, 3), (2, 2, 3)], ids=str)
def test_memory_orders(batch, layout, dtype):
    """Any strides in, and neither the inputs nor their neighbours are written."""
    x, w, b, g = (a.astype(dtype) for a in integer_arrays(batch, 6, 7))
    laid = [LAYOUTS[layout](x), LAYOUTS[layout](w), LAYOUTS["every second"](b), LAYOUTS[layout](g)]
    before = [whole_buffer(a) for a in laid]
    for name, run in PASSES.items():
        result = run(ops, *laid)
        assert_exact(result, run(reference, x, w, b, g), dtype, f"{name} {batch} {layout} {dtype.__name__}")
        assert not any(np.shares_memory(result, a) for a in laid)
    assert [whole_buffer(a) for a in laid] == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "ins", "outs"), [(200, 300, 70), (3, 5000, 17), (5000, 17, 3)])
def test_same_bits_for_any_number_of_threads(rows, ins, outs, dtype):
    rng = np.random.default_rng(0)
    arrays = [reals(rng, shape, dtype) for shape in ((rows, ins), (outs, ins), (outs,), (rows, outs))]
    results = {}
    for threads, again in itertools.product(SETTLED, ("", ", again")):
        with num_threads(threads):
            results[f"threads={threads}{again}"] = [run(ops, *arrays) for run in PASSES.values()]
    assert_same_bits(results, f"rows={rows} in={ins} out={outs} {dtype.__name__}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_inf_go_where_they_go_in_float64(dtype):
    x, w, b, g = integer_arrays((5,), 9, 20)
    x[0, 0], x[1, 2], x[3, 3] = np.nan, np.inf, -np.inf
    g[0, 1], g[2, 2], g[4, 4] = np.inf, np.nan, -np.inf
    typed = [a.astype(dtype) for a in (x, w, b, g)]
    with np.errstate(invalid="ignore"):
        answers = {name: run(reference, x, w, b, g) for name, run in PASSES.items()}
    for name, run in PASSES.items():
        assert_exact(run(ops, *typed), answers[name], dtype, f"{name} {dtype.__name__}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormal_mode_stays_the_callers(dtype):
    arrays = [denormals(shape, dtype) for shape in ((4, 5), (6, 5), (6,), (4, 6))]
    for run in PASSES.values():
        run(ops, *arrays)
        assert keeps_denormals(arrays[0])
