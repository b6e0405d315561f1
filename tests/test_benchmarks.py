"""The benchmarks run, and measure what they say; nothing here asserts a time."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convkit
from convkit import _threads

ROOT = Path(__file__).parents[1]


def run_peers(*arguments):
    command = [sys.executable, "-m", "benchmarks.peers", "--rounds", "1", "--threads", "1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


def test_a_row_for_each_layer_and_pass():
    done = run_peers("--engines", "convkit", "--layers", "fashion-1", "--passes", "forward", "backward_weight")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^fashion-1 +(\w+) +1 +(\d+) +(\d+)%", done.stdout, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["forward", "backward_weight"]
    assert all(int(speed) > 0 for _, speed, _ in rows)


def test_an_unknown_layer_is_refused_by_name():
    done = run_peers("--layers", "nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


@pytest.mark.parametrize("engine", ["convkit", "torch", "torch_nhwc"])
def test_engines_compute_the_same(engine, monkeypatch):
    """Else their times could not be compared."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.layers import Layer
    from benchmarks.peers import engines

    pytest.importorskip(engines.LIBRARIES[engine])
    monkeypatch.setattr(_threads, "_chosen", None)  # engines set it; put it back
    layer = Layer("small", 2, 3, 9, 5, 3, 2, 1)
    x, w, grad = engines._operands(layer)
    how = {"stride": layer.stride, "padding": layer.padding}
    with convkit.num_threads(1):
        answers = {
            "forward": convkit.ops.conv2d(x, w, **how),
            "backward_input": convkit.ops.conv2d_backward_input(x.shape, w, grad, **how),
            "backward_weight": convkit.ops.conv2d_backward_weight(x, w.shape, grad, **how),
        }
    passes = engines.ENGINES[engine](convkit.get_num_threads()).passes(layer)
    assert list(passes) == list(engines.PASSES)
    for name, answer in answers.items():
        result = passes[name]()
        found = next(r for r in result if r is not None) if isinstance(result, tuple) else result
        np.testing.assert_allclose(np.asarray(found), answer, rtol=1e-4, atol=1e-5)
