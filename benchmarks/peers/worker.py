"""A process that measures one engine: reads requests, a line of JSON each, and answers with a number or null."""

import json
import sys

from convkit.bench.machine import fastest, peak

from ..layers import Layer, MemoryOp, Work
from .engines import ENGINES


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
