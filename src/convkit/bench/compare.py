"""A workload in several engines, each in a process of its own, taking turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from .engines import OWN
from .process import Worker
from .workload import Workload

#: The columns among which the better stands for PyTorch.
TORCH = ("torch", "torch_nhwc")
_COARSE = ("openvino_bf16",)


@dataclass(frozen=True)
class Comparison:
    """One pass over one network and batch, in all engines.

    Parameters
    ----------
    network : str
        Its name in `convkit.models`.
    batch_size : int
        Images in a batch.
    name : str
        One of `PASSES`.
    threads : int
        How many each engine used.
    seconds : dict of str to float
        By engine, what was taken of its rounds, which are medians of steps. An engine that lacks the pass is not in it.
    memory : dict of str to float
        By engine, bytes; see `convkit.bench.worker.serve`.
    """

    network: str
    batch_size: int
    name: str
    threads: int
    seconds: dict[str, float]
    memory: dict[str, float]

    @property
    def images_per_second(self) -> dict[str, float]:
        """Every engine's speed."""
        return {engine: self.batch_size / seconds for engine, seconds in self.seconds.items()}

    @property
    def to_torch(self) -> float | None:
        """How many times faster convkit, plain or compiled, is than the better of PyTorch's layouts."""
        return self._ratio(TORCH)

    @property
    def to_best(self) -> float | None:
        """How many times faster convkit is than the best of all others that compute in float32."""
        return self._ratio(engine for engine in self.seconds if engine not in (*OWN, *_COARSE))

    @property
    def memory_to_torch(self) -> float | None:
        """How much memory convkit takes for each byte of that layout of PyTorch's which takes less."""
        others = [self.memory[engine] for engine in TORCH if engine in self.memory]
        return self.memory[self.own] / min(others) if others else None

    @property
    def own(self) -> str:
        """The faster of those engines that are convkit."""
        return min((engine for engine in OWN if engine in self.seconds), key=self.seconds.__getitem__)

    def _ratio(self, engines: Iterable[str]) -> float | None:
        others = [self.seconds[engine] for engine in engines if engine in self.seconds]
        return min(others) / self.seconds[self.own] if others else None


def compare(
    workload: Workload,
    name: str,
    engines: Sequence[str],
    threads: int,
    rounds: int = 5,
    seconds: float = 0.3,
    isa: str | None = None,
    after_turn: Callable[[], object] = bool,
    take: Callable[[list[float]], float] = statistics.median,
) -> Comparison:
    """Measure a pass in all engines.

    Parameters
    ----------
    workload : Workload
        The network and its batch.
    name : str
        One of `PASSES`.
    engines : sequence of str
        Of `convkit.bench.engines.ENGINES`; convkit among them.
    threads : int
        For each engine.
    rounds : int, default 5
        How often each engine has its turn.
    seconds : float, default 0.3
        Of a turn; three steps are taken in any case.
    isa : str, optional
        An instruction set to keep all to.
    after_turn : function, optional
        Called each time that an engine has had its turn, of which there is one more than rounds: to warm up.
    take : function, optional
        Makes one figure of the rounds' seconds; their median by default.

    Returns
    -------
    Comparison
        Times and memory.

    Raises
    ------
    OSError
        If a process ends.
    """
    times: dict[str, list[float]] = {}
    memory = {}
    with ExitStack() as running:
        workers = []
        for engine in engines:
            worker = Worker(engine, workload, name, threads, isa)
            running.callback(worker.end)
            workers.append(worker)
        ready = []
        for worker in workers:
            if worker.ask("prepare", seconds) is not None:
                ready.append(worker)
            after_turn()
        for _ in range(rounds):
            for worker in ready:
                times.setdefault(worker.engine, []).append(worker.ask("round", seconds) or 0)
                after_turn()
        for worker in ready:
            memory[worker.engine] = worker.ask("memory") or 0
    taken = {engine: take(those) for engine, those in times.items()}
    return Comparison(workload.model["name"], workload.batch_size, name, threads, taken, memory)
