"""A process that measures one engine: reads requests, a line of JSON each, and answers with seconds."""

import json
import sys
import time
from collections.abc import Callable

import numpy as np

from ..layers import LAYERS
from .engines import ENGINES

#: A measurement repeats its call for at least this long, in seconds, and takes the fastest.
LEAST_SECONDS = 0.1


def fastest(call: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several calls."""
    call()
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < LEAST_SECONDS:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def peak() -> float:
    """Measure one core's float32 multiply-add peak, in floating-point operations a second."""
    from convkit import _dispatch

    kernel = _dispatch.kernel("peak", np.dtype(np.float32))
    sink = np.full(1024, 0.5, np.float32)
    count = kernel.multiply_adds(200_000, sink)
    return 2 * count / fastest(lambda: kernel.multiply_adds(200_000, sink))


def main() -> None:
    """Serve until standard input ends. A layer stays prepared until another is asked for."""
    engine = ENGINES[sys.argv[1]](int(sys.argv[2]))
    prepared, passes = "", {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["pass"] == "peak":
            answer = peak()
        else:
            if request["layer"] != prepared:
                prepared, passes = request["layer"], engine.passes(LAYERS[request["layer"]])
            answer = fastest(passes[request["pass"]])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
