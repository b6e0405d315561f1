"""The process of an engine: runs a workload when it is asked to."""

from __future__ import annotations

import json
import sys

from .engines import ENGINES, Call
from .machine import peak, resident, typical
from .workload import Workload

_REHEARSAL = Workload({"name": "convnet"}, batch_size=2)


def serve(engine: str, name: str, threads: int, workload: Workload) -> None:
    """Answer requests, a line of JSON each, until standard input ends.

    ``["prepare", seconds]`` makes the network and warms up; the answer is null if the engine lacks the pass.
    ``["round", seconds]`` asks for the seconds of a step. ``["memory"]`` asks for the most memory that the process
    ever had, in bytes, less what it had when a tiny network had brought the library's code into memory: weights,
    activations, gradients, the state of the optimizer, scratch, and what an allocator keeps for later. ``["peak"]``
    asks for a core's peak.
    """
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries print what they like, but not among the answers
    library = ENGINES[engine](threads)
    if rehearsal := library.prepare(_REHEARSAL, name):
        rehearsal()
    before, _ = resident()
    call: Call | None = None
    for line in sys.stdin:
        request, *arguments = json.loads(line)
        answer: float | None = None
        if request == "prepare":
            call = library.prepare(workload, name)
            answer = typical(call, *arguments) if call else None
        elif request == "round":
            assert call is not None
            answer = typical(call, *arguments)
        elif request == "memory":
            answer = resident()[1] - before
        elif request == "peak":
            answer = peak()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), Workload.from_json(sys.argv[4]))
