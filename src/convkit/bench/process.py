"""A process for a workload in one engine, seen from the one that asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress

from .engines import OWN
from .workload import Workload

#: Raised for all but convkit, so that they do not pay for fresh pages on every call. convkit gets no such help.
THRESHOLDS = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}

#: What keeps the others to an instruction set of convkit's.
ISAS = {
    "x86_v3": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "x86_v4": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"},
}


def environment(engine: str, threads: int, isa: str | None = None) -> dict[str, str]:
    """Return the environment variables of a process that runs `engine`, held to `isa` if one is given."""
    own = {"OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "2"}
    if engine not in OWN:
        own |= THRESHOLDS | ISAS.get(isa or "", {})
    elif isa:
        own["CONVKIT_ISA"] = isa
    return {**os.environ, **own}


class Worker:
    """A process of ``convkit.bench.worker``.

    Parameters
    ----------
    engine : str
        One of `ENGINES`.
    workload : Workload
        What it runs.
    name : str
        One of `PASSES`.
    threads : int
        How many the engine may use.
    isa : str, optional
        The instruction set to which it is held.
    """

    def __init__(self, engine: str, workload: Workload, name: str, threads: int, isa: str | None = None) -> None:
        self.engine = engine
        self.process = subprocess.Popen(
            [sys.executable, "-m", "convkit.bench.worker", engine, name, str(threads), workload.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(engine, threads, isa),
            start_new_session=True,  # Ctrl-C is for the process that asks
        )

    def ask(self, *request: str | float) -> float | None:
        """Return the answer to a request of `convkit.bench.worker.serve`.

        Raises
        ------
        OSError
            If the process has ended; its message is on standard error.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise ChildProcessError(f"the process of {self.engine} has ended; its message is above")
        return None if (value := json.loads(answer)) is None else float(value)

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
