"""Measure convkit beside other engines and print a table.

Each engine runs in a process of its own and waits while another measures; engines alternate, round by round. A round
takes the fastest of several calls, and the table shows the median of the rounds; or their minimum, for a machine on
which others come and go: with rounds enough, that is what each engine does undisturbed. Convolutions are in GFLOP/s,
other operations in ms; "peak" is convkit's share of the multiply-add peak measured beside it, "/torch" how many times
faster it is than the better of PyTorch's layouts, "/best" than the best of all others. Glibc's thresholds are raised
for the others, so that they do not pay for fresh pages on every call; convkit gets no such help. Ctrl-C ends the
measurement and summarises what there is.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from convkit.bench.machine import bandwidth
from convkit.bench.process import ISAS, environment

from ..layers import MEMORY_PASSES, PASSES, SUITES, Layer, Work
from . import TAKES
from .engines import ENGINES
from .roofline import draw, limits
from .rows import Row, Table, both, read_csv, summary, write_csv, write_json


class Worker:
    """A process that measures one engine."""

    module = "benchmarks.peers.worker"

    def __init__(self, engine: str, threads: int, isa: str | None) -> None:
        self.engine = engine
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module, engine, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(engine.partition(" ")[0], threads, isa),
            start_new_session=True,  # Ctrl-C is for the process that prints
        )

    def request(self, name: str, work: str = "") -> Any:
        """Send a request, a pass of some work, and return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"pass": name, "work": work}) + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.engine}: its process ended at {work} {name}; its message is above")
        return json.loads(answer)

    def ask(self, name: str, work: str = "") -> float | None:
        """Return the seconds of a pass, None if the engine lacks it; or the peak of a core, or the bandwidth."""
        return None if (value := self.request(name, work)) is None else float(value)

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


class Workers(dict[str, Worker]):
    """A process for each engine, for as long as the `with` statement lasts."""

    def __init__(self, engines: list[str], threads: int, isa: str | None) -> None:
        super().__init__({engine: Worker(engine, threads, isa) for engine in engines})
        self.threads = threads

    def __enter__(self) -> Self:
        for worker in self.values():
            worker.ask("ready")  # an engine that still loads its library would disturb the first measurements
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self.values():
            worker.end()

    def measure(self, suite: str, work: Work, name: str, rounds: int, take: str) -> Row:
        """Measure a pass in all engines, taking turns; `take` says what stands for the rounds."""
        seconds: dict[str, list[float | None]] = {engine: [] for engine in self}
        peak = []  # seconds of an operation, as the others are seconds of a pass
        convolution = isinstance(work, Layer)
        for _ in range(rounds):
            for engine, worker in self.items():
                seconds[engine].append(worker.ask(name, work.name))
            if convolution:
                peak.append(1 / (self.threads * (self["convkit"].ask("peak") or math.nan)))
        return Row(
            suite,
            work.name,
            name,
            self.threads,
            work.operations if convolution else 0,
            work.traffic if convolution else 0,
            1 / TAKES[take](peak) if convolution else math.nan,
            {engine: None if None in those else TAKES[take](those) for engine, those in seconds.items()},
        )


def _layer(name: str) -> Layer:
    try:
        return Layer.parse(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add = parser.add_argument
    add("--suites", nargs="+", choices=SUITES, metavar="SUITE", help=f"of {', '.join(SUITES)} (fashion resnet50)")
    add("--layers", nargs="+", type=_layer, default=[], metavar="LAYER",
        help="layers by name, as tables have it: n16c64h56k128r3s2p1d1g1")  # fmt: skip
    add("--batch", type=int, metavar="N", help="images in a batch, instead of the suite's own number")
    add("--min-flops", type=float, default=0, metavar="N", help="leave out layers of fewer operations")
    names = (*PASSES, *(name for name in MEMORY_PASSES if name not in PASSES))
    add("--passes", nargs="+", choices=names, default=names, metavar="PASS", help=f"of {', '.join(names)} (all)")
    add("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), metavar="ENGINE",
        help=f"of {', '.join(ENGINES)}, where installed (all)")  # fmt: skip
    add("--threads", nargs="+", type=int, default=[1, 2], metavar="N", help="numbers of threads (1 2)")
    add("--rounds", type=int, default=5, metavar="N", help="rounds of which one figure is shown (5)")
    add("--take", choices=TAKES, default="median", help="which: their median or their minimum (median)")
    add("--isa", choices=ISAS, help="keep convkit, and PyTorch too, to an instruction set")
    add("--csv", type=Path, metavar="FILE", help="write the rows to FILE, as they are done")
    add("--json", type=Path, metavar="FILE", help="write the rows to FILE, at the end")
    add("--resume", action="store_true", help="do not measure again what is in the file of --csv")
    add("--roofline", type=Path, metavar="FILE", help="draw convkit's convolutions under the machine's limits")
    options = parser.parse_args()
    if options.resume and not options.csv:
        parser.error("--resume needs --csv")
    if not options.suites:
        options.suites = [] if options.layers else ["fashion", "resnet50"]
    return options


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, Work, list[str]]]:
    """Yield what the command line asks for: a suite's name, a layer, its passes."""
    suites: dict[str, tuple[Work, ...]] = {suite: SUITES[suite] for suite in options.suites}
    if options.layers:
        suites["layers"] = tuple(options.layers)
    for suite, works in suites.items():
        for work in works:
            if isinstance(work, Layer):
                layer = work.with_batch(options.batch)
                if layer.operations >= options.min_flops:
                    yield suite, layer, [name for name in PASSES if name in options.passes]
            else:
                yield suite, work, [name for name in MEMORY_PASSES if name in options.passes]


def installed(engines: list[str]) -> list[str]:
    """Return convkit and those of `engines` whose library can be imported; print versions, and what is left out."""
    engines = list(dict.fromkeys(["convkit", *engines]))
    found = [engine for engine in engines if importlib.util.find_spec(ENGINES[engine].library)]
    distributions = importlib.metadata.packages_distributions()
    libraries = dict.fromkeys(ENGINES[engine].library for engine in found)
    versions = (
        (library, importlib.metadata.version(distributions.get(library, [library])[0])) for library in libraries
    )
    print(", ".join(f"{library} {version}" for library, version in versions))
    if absent := [engine for engine in engines if engine not in found]:
        print(f"not installed, left out: {', '.join(absent)}")
    return found


def run(options: argparse.Namespace, engines: list[str], rows: list[Row]) -> None:
    """Measure, print, and add to `rows`, which holds what need not be measured again."""
    table, done = Table(engines), {row.key: row for row in rows}
    rows.clear()

    def keep(row: Row) -> Row:
        rows.append(row)
        table.add(row)
        if options.csv:
            write_csv(options.csv, rows)
        return row

    for threads in options.threads:
        table.suite = ""
        with Workers(engines, threads, options.isa) as workers:
            for suite, work, names in chosen(options):
                of_work = [
                    keep(
                        done.get((suite, work.name, name, threads))
                        or workers.measure(suite, work, name, options.rounds, options.take)
                    )
                    for name in names
                ]
                if not isinstance(work, Layer) and len(of_work) == len(MEMORY_PASSES):
                    keep(both(*of_work))


def main() -> None:
    """Measure what the command line asks for."""
    options = parse()
    engines = installed(options.engines)
    rows = read_csv(options.csv) if options.resume and options.csv.exists() else []
    try:
        run(options, engines, rows)
    except KeyboardInterrupt:
        print("\ninterrupted")
    finally:
        print(summary(rows))
        if options.json:
            write_json(options.json, rows)
    if any(row.operations for row in rows):
        bandwidths = {threads: bandwidth(threads) for threads in options.threads}
        print(limits(rows, bandwidths))
        if options.roofline:
            draw(options.roofline, rows, bandwidths)


if __name__ == "__main__":
    main()
