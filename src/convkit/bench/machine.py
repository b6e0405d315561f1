"""What the machine can do at most: the yardsticks of all measurements."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .. import _dispatch

#: A measurement repeats its call for at least so many seconds and times; the fastest is not waited for too long.
LEAST_SECONDS = 0.05
LEAST_CALLS = 3
MOST_SECONDS = 2.0


def fastest(call: Callable[[], object], least_seconds: float = LEAST_SECONDS) -> float:
    """Return the seconds of the fastest of several calls."""
    times: list[float] = []
    while sum(times) < (least_seconds if len(times) >= LEAST_CALLS else MOST_SECONDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def typical(call: Callable[[], object], seconds: float) -> float:
    """Call for so many seconds, three times at the least; return the median of the times."""
    times: list[float] = []
    while len(times) < LEAST_CALLS or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak() -> float:
    """Measure one core's float32 multiply-add peak, in floating-point operations a second."""
    kernel = _dispatch.kernel("peak", np.dtype(np.float32))
    sink = np.full(1024, 0.5, np.float32)
    operations: int = 2 * kernel.multiply_adds(200_000, sink)
    return operations / fastest(lambda: kernel.multiply_adds(200_000, sink), 0.02)


def bandwidth(threads: int, megabytes: int = 256) -> float:
    """Measure how fast `threads` copy arrays that no cache holds, in bytes read and written a second."""
    pairs = [(np.ones(megabytes << 20, np.uint8), np.ones(megabytes << 20, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = fastest(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs)), 0.5)
    return 2 * threads * (megabytes << 20) / seconds


def resident() -> tuple[int, int]:
    """Return the bytes of memory that this process has, and the most that it ever had."""
    # Not getrusage: the peak that it tells may be the parent's.
    status = Path("/proc/self/status").read_text()
    now, most = (re.search(rf"^{name}:\s*(\d+) kB", status, re.MULTILINE) for name in ("VmRSS", "VmHWM"))
    assert now
    assert most
    return int(now[1]) << 10, int(most[1]) << 10
