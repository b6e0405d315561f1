"""Measure convkit beside other engines and print a table.

Each engine runs in a process of its own and waits while another measures; engines alternate, round by round, and
the table shows the median of the rounds. Glibc's thresholds are raised for all of them, so that nobody pays for fresh
pages on every call.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys

from ..layers import LAYERS
from .engines import ENGINES, LIBRARIES, PASSES

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


class Worker:
    """A process that measures one engine."""

    def __init__(self, engine: str, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.worker", engine, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads)},
        )

    def ask(self, name: str, layer: str = "") -> float:
        """Return the seconds of a pass, or one core's peak in operations a second."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"pass": name, "layer": layer}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process that measures {name} of {layer} ended: see its message above")
        return float(json.loads(answer))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def measure(engines: list[str], layer: str, name: str, threads: int, rounds: int, workers: dict[str, Worker]) -> float:
    """Print a row: every engine's GFLOP/s, convkit's share of the peak, and its ratio to the best of the others."""
    speeds: dict[str, list[float]] = {engine: [] for engine in engines}
    shares = []
    for _ in range(rounds):
        for engine in engines:
            speeds[engine].append(LAYERS[layer].operations / workers[engine].ask(name, layer))
        shares.append(speeds["convkit"][-1] / (threads * workers["convkit"].ask("peak")))
    median = {engine: statistics.median(speed) for engine, speed in speeds.items()}
    others = [speed for engine, speed in median.items() if engine != "convkit"]
    ratio = median["convkit"] / max(others) if others else math.nan
    figures = "".join(f"{median[engine] * 1e-9:>12.0f}" for engine in engines)
    print(f"{layer:<12}{name:<17}{threads:>7}{figures}{statistics.median(shares):>11.0%}{ratio:>8.2f}", flush=True)
    return ratio


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS), metavar="LAYER",
                        help=f"of {', '.join(LAYERS)} (all)")  # fmt: skip
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES), metavar="PASS",
                        help=f"of {', '.join(PASSES)} (all)")  # fmt: skip
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), metavar="ENGINE",
                        help=f"of {', '.join(ENGINES)}, where installed (all)")  # fmt: skip
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N", help="numbers of threads (1 2)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of which the median is shown (5)")
    return parser.parse_args()


def main() -> None:
    """Measure what the command line asks for."""
    options = parse()
    engines = [e for e in options.engines if e == "convkit" or importlib.util.find_spec(LIBRARIES[e])]
    if "convkit" not in engines:
        engines.insert(0, "convkit")
    absent = [engine for engine in options.engines if engine not in engines]
    if absent:
        print(f"not installed, left out: {', '.join(absent)}")
    print("GFLOP/s, median of the rounds; peak: convkit's share of the multiply-add peak measured beside it;")
    print("ratio: convkit to the best of the others\n")
    heads = "".join(f"{engine:>12}" for engine in engines)
    print(f"{'layer':<12}{'pass':<17}{'threads':>7}{heads}{'peak':>11}{'ratio':>8}")
    for threads in options.threads:
        workers = {engine: Worker(engine, threads) for engine in engines}
        ratios = [
            measure(engines, layer, name, threads, options.rounds, workers)
            for layer in options.layers
            for name in options.passes
        ]
        for worker in workers.values():
            worker.close()
        if len(engines) > 1:
            print(f"geometric mean of the ratios, {threads} threads: {statistics.geometric_mean(ratios):.2f}\n")


if __name__ == "__main__":
    main()
