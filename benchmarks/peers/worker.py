"""A process that measures one engine: reads requests, a line of JSON each, and answers with a number or null."""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..layers import Layer, MemoryOp, Work
from .engines import ENGINES

#: A measurement repeats its call for at least so many seconds and times, unless that takes too long.
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


def peak() -> float:
    """Measure one core's float32 multiply-add peak, in floating-point operations a second."""
    from convkit import _dispatch

    kernel = _dispatch.kernel("peak", np.dtype(np.float32))
    sink = np.full(1024, 0.5, np.float32)
    operations = 2 * kernel.multiply_adds(200_000, sink)
    return operations / fastest(lambda: kernel.multiply_adds(200_000, sink), 0.02)


def bandwidth(threads: int, megabytes: int = 256) -> float:
    """Measure how fast `threads` copy arrays that no cache holds, in bytes read and written a second."""
    pairs = [(np.ones(megabytes << 20, np.uint8), np.ones(megabytes << 20, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = fastest(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs)), 0.5)
    return 2 * threads * (megabytes << 20) / seconds


def find(name: str) -> Work:
    """Return what a request names: a layer by its shape, or an operation that moves memory."""
    return Layer.parse(name) if any(c.isdigit() for c in name[:2]) else MemoryOp(name)


def main() -> None:
    """Serve until standard input ends. A layer stays prepared until another is asked for."""
    threads = int(sys.argv[2])
    engine = ENGINES[sys.argv[1]](threads)
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries print what they like, but not among the answers
    prepared, passes = "", {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["pass"] == "ready":
            answer: float | None = None
        elif request["pass"] == "peak":
            answer = peak()
        else:
            if request["work"] != prepared:
                passes.clear()  # gives the memory back before more is asked for
                prepared, passes = request["work"], engine.passes(find(request["work"]))
            call = passes.get(request["pass"])
            answer = fastest(call) if call else None
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
