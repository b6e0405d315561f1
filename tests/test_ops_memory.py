"""A kernel reads its arguments, writes its result, and nothing next to them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cases import run_python

SCRIPT = Path(__file__).with_name("fenced.py")


@pytest.mark.skipif(sys.platform == "win32", reason="fences are pages protected by mprotect")
def test_at_the_edge_of_memory():
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(SCRIPT)], capture_output=True, text=True, timeout=300
    )
    lines = done.stdout.splitlines()
    last = "\n".join(lines[-2:])
    assert done.returncode == 0, f"exit code {done.returncode} in\n{last}\n{done.stderr[-3000:]}"
    assert int(lines[-1].removeprefix("fenced results: ")) > 0.8 * (len(lines) - 1)


@pytest.mark.parametrize(("at_end", "beyond"), [(True, 5), (False, -1)])
def test_fences_hold(at_end, beyond):
    """Else the test above shows nothing: one element past either end kills the process."""
    code = (
        "import ctypes, numpy as np, fenced\n"
        f"a = fenced.Fences({at_end}).array((5,), np.float32)\n"
        "a[:] = 1\n"
        "print(a.sum(), flush=True)\n"
        "start = a.__array_interface__['data'][0]\n"
        f"ctypes.c_float.from_address(start + {beyond} * a.itemsize).value = 1\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parent, timeout=60)
    assert done.stdout.strip() == "5.0", done.stderr
    assert done.returncode == -signal.SIGSEGV


X = "np.ones((2, 3, 5, 6), np.float32)"
ABSURD = {
    "stride and padding": f"ops.conv2d({X}, np.ones((4, 3, 2, 2), np.float32), None, 2**62, 2**61)",
    "dilation": f"ops.conv2d({X}, np.ones((4, 3, 2, 2), np.float32), None, 1, 2**61, 2**62)",
    "padding": f"ops.conv2d({X}, np.ones((4, 3, 1, 1), np.float32), None, 1, 2**40)",
    "stride backwards": (
        "ops.conv2d_backward_input((2, 3, 5, 6), np.ones((4, 3, 1, 1), np.float32), "
        "np.ones((2, 4, 1, 1), np.float32), 2**40)"
    ),
    "weight gradient": (
        f"ops.conv2d_backward_weight({X}, (4, 3, 2, 2), np.ones((2, 4, 2, 2), np.float32), 2**62, 2**61)"
    ),
    "images": "ops.conv2d_output_shape((2**70, 3, 5, 6), (4, 3, 1, 1))",
    "max window": f"ops.max_pool2d({X}, 2**40, 2**40, 2**39)",
    "avg window": f"ops.avg_pool2d({X}, 2**40, 2**40, 2**39)",
    "beyond 64 bits": f"ops.max_pool2d({X}, 1, 2**70)",
}


@pytest.mark.parametrize("call", ABSURD.values(), ids=ABSURD)
def test_absurd_sizes(call):
    """Whatever comes of them, a result or an error, it comes at once and the process survives it."""
    code = (
        "import numpy as np\n"
        "from convkit import ops\n"
        f"try:\n    {call}\n"
        "except (ValueError, OverflowError, MemoryError) as error:\n    print(error)\n"
    )
    run_python("-c", code, timeout=10)
