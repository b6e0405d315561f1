"""A kernel reads its arguments, writes its result, and nothing next to them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
