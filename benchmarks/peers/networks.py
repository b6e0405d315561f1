"""Measure whole networks in convkit beside other engines and print a table.

Each engine runs in a process of its own and waits while another measures; engines alternate, round by round. A round
takes the median of its steps, and the table shows images a second by the median of the rounds, or by their minimum
(see `benchmarks.peers`); "/torch" is how many times faster convkit is than the better of PyTorch's layouts, "/best"
than the best of all others in float32. Memory is the most that a process ever had, less what it had when a tiny
network had brought the library's code into memory; "/torch" behind it is convkit's for each byte of that layout of
PyTorch's which takes less. Glibc's thresholds are raised for the others, so that they do not pay for fresh pages in
every step; convkit gets no such help.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from convkit._precision import PRECISIONS
from convkit.bench.compare import Comparison, compare
from convkit.bench.engines import ENGINES, installed
from convkit.bench.process import ISAS
from convkit.bench.workload import PASSES, Workload

from ..networks import WORKLOADS
from . import TAKES


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.networks", description=__doc__)
    add = parser.add_argument
    names = list(dict.fromkeys(workload.model["name"] for workloads in WORKLOADS.values() for workload in workloads))
    add("--networks", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)} (all)")
    add("--batch-sizes", nargs="+", type=int, metavar="N", help="only these")
    add("--passes", nargs="+", choices=PASSES, default=PASSES, metavar="PASS", help=f"of {', '.join(PASSES)} (all)")
    add("--engines", nargs="+", choices=ENGINES, metavar="ENGINE",
        help=f"of {', '.join(ENGINES)}, where installed (all)")  # fmt: skip
    add("--threads", nargs="+", type=int, default=[2], metavar="N", help="numbers of threads (2)")
    add("--rounds", type=int, default=5, metavar="N", help="rounds of which one figure is shown (5)")
    add("--take", choices=TAKES, default="median", help="which: their median or their minimum (median)")
    add("--seconds", type=float, default=0.3, metavar="S", help="seconds of a round, three steps at the least (0.3)")
    add("--precision", choices=PRECISIONS, default="highest", help="convkit's float32 precision (highest)")
    add("--isa", choices=ISAS, help="keep convkit, and PyTorch too, to an instruction set")
    add("--csv", type=Path, metavar="FILE", help="write the rows to FILE, as they are done")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, Workload]]:
    """Yield what the command line asks for: passes and workloads."""
    for name in options.passes:
        for workload in WORKLOADS[name]:
            of_size = options.batch_sizes is None or workload.batch_size in options.batch_sizes
            if of_size and workload.model["name"] in options.networks:
                yield name, replace(workload, precision=options.precision)


def heads(engines: Sequence[str]) -> str:
    """Return the heads of the table, which `line` has the rows of."""
    columns = "".join(f"{engine:>14}" for engine in engines)
    return f"{'images/s, MB':<18}{'pass':<10}{'threads':>7}{columns}{'/torch':>8}{'/best':>7}{'memory/torch':>14}"


def line(row: Comparison, engines: Sequence[str]) -> str:
    """Return a row of the table: images a second, and memory after a colon."""
    cells = (
        f"{row.images_per_second[e]:,.0f}: {row.memory[e] / 1e6:.0f}" if e in row.seconds else "-" for e in engines
    )
    ratios = f"{_text(row.to_torch):>8}{_text(row.to_best):>7}{_text(row.memory_to_torch):>14}"
    name = f"{row.network} n{row.batch_size}"
    return f"{name:<18}{row.name:<10}{row.threads:>7}{''.join(f'{cell:>14}' for cell in cells)}{ratios}"


def _text(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def record(row: Comparison) -> dict[str, object]:
    """Return a row of the file: seconds, bytes and ratios."""
    return {
        "network": row.network,
        "batch_size": row.batch_size,
        "pass": row.name,
        "threads": row.threads,
        **{engine: row.seconds.get(engine) for engine in ENGINES},
        **{f"{engine}_memory": row.memory.get(engine) for engine in ENGINES},
        "to_torch": row.to_torch,
        "to_best": row.to_best,
        "memory_to_torch": row.memory_to_torch,
    }


def write_csv(path: Path, rows: Sequence[Comparison]) -> None:
    """Write rows as CSV: times of a step in seconds, memory in bytes."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(record(rows[0])))
        writer.writeheader()
        writer.writerows(map(record, rows))


def main() -> None:
    """Measure what the command line asks for."""
    options = parse()
    engines = installed(options.engines)
    measure = partial(
        compare, rounds=options.rounds, seconds=options.seconds, isa=options.isa, take=TAKES[options.take]
    )
    rows: list[Comparison] = []
    print(heads(engines), flush=True)
    try:
        for threads in options.threads:
            for name, workload in chosen(options):
                rows.append(measure(workload, name, engines, threads))
                print(line(rows[-1], engines), flush=True)
                if options.csv:
                    write_csv(options.csv, rows)
    except KeyboardInterrupt:
        print("\ninterrupted")
    if below := [row for row in rows if row.to_best is not None and row.to_best < 1]:
        print(f"slower than the best: {', '.join(f'{row.network} n{row.batch_size} {row.name}' for row in below)}")


if __name__ == "__main__":
    main()
