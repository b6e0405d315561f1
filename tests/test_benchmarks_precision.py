"""The benchmark of precisions: its arithmetic, its processes, its figure; nothing here asserts a time."""

import io
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks are no part of the package

from benchmarks.layers import PASSES, Layer  # noqa: E402
from benchmarks.precision.__main__ import Mode, measure, variants  # noqa: E402
from benchmarks.precision.rows import Row, draw  # noqa: E402
from benchmarks.precision.split import forward_error, product, rounded, split  # noqa: E402

SMALL = Layer.parse("n2c5h6k4r3")


def test_three_parts_are_the_number():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(10_000).astype(np.float32)
    parts = split(x, 3)
    assert np.array_equal(sum(part.astype(np.float64) for part in parts), x)
    for part, of in zip(parts, (1, 2**-8, 2**-16), strict=True):
        assert np.array_equal(rounded(part), part)
        assert np.all(abs(part) <= of * abs(x) * (1 + 2**-8))


@pytest.mark.parametrize(("parts", "most"), [(1, 8), (2, 16), (3, 20)])
def test_integers_of_so_many_bits_have_exact_parts(parts, most):
    rng = np.random.default_rng(parts)
    a = rng.integers(-(2**most) + 1, 2**most, (3, 1)).astype(np.float32)
    b = np.full((1, 2), 1, np.float32)
    assert np.array_equal(product(a, b, parts), np.repeat(a, 2, axis=1))


@pytest.mark.parametrize(("parts", "least", "most"), [(1, 1e-3, 5e-3), (2, 1e-6, 1e-5), (3, 1e-9, 5e-7)])
def test_parts_have_the_error_that_is_said(parts, least, most):
    assert least < forward_error(Layer.parse("c32h9k8r3s2"), parts) < most


def test_processes_answer():
    with ExitStack() as stack:
        started = [Mode(f"convkit {precision}", 1, variants()[0]) for precision in ("highest", "medium")]
        for mode in started:
            stack.callback(mode.end)
        for name in PASSES:
            rows = list(measure(started, [SMALL], name, 1, "median"))
            assert rows
            assert ", ".join(row.precision for row in rows) == "highest, medium"
            for row in rows:
                assert 0 < row.error < (1e-6 if row.precision.startswith("highest") else 5e-3)
                assert row.speed > 0
                assert str(row).startswith(f"| {name} | convkit, {variants()[0]} |")


def test_figure():
    pytest.importorskip("matplotlib")
    rows = [
        Row("convkit, x86_v4", "highest, high", "direct: 1.00 of the products", "forward", 4e-7, 200.0, 1.1),
        Row("convkit, amx", "medium", "split: 1.00 of the products", "forward", 2e-3),
        Row("PyTorch", "bfloat16", "faster of two layouts", "backward_weight", 2e-3, 400.0),
    ]
    draw(file := io.BytesIO(), rows, "png")
    assert file.getvalue().startswith(b"\x89PNG")
