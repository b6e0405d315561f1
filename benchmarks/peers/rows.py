"""What was measured: rows, their figures, and the summary of many."""

import csv
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TORCH = ("torch", "torch_nhwc")
_KEY = ("suite", "work", "pass", "threads")
_FIXED = (*_KEY, "operations", "traffic", "peak")


@dataclass(frozen=True)
class Row:
    """One pass over one layer, on a number of threads, in all engines.

    `seconds` are of all rounds, None where an engine lacks the pass. `peak` is the multiply-add peak of all threads,
    measured beside it. An operation that moves memory has 0 `operations` and no peak.
    """

    suite: str
    work: str
    name: str
    threads: int
    operations: int
    traffic: int
    peak: float
    seconds: dict[str, float | None]

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What was asked for."""
        return self.suite, self.work, self.name, self.threads

    @property
    def figures(self) -> dict[str, float | None]:
        """Every engine's GFLOP/s, or milliseconds of an operation that moves memory."""

        def figure(seconds: float) -> float:
            return self.operations / seconds * 1e-9 if self.operations else seconds * 1e3

        return {engine: seconds and figure(seconds) for engine, seconds in self.seconds.items()}

    @property
    def share(self) -> float | None:
        """Share of the peak that convkit reaches."""
        own = self.seconds["convkit"]
        return self.operations / own / self.peak if own and self.operations else None

    def roof(self, bandwidth: float) -> float | None:
        """Share of what the peak and memory of so many bytes a second allow."""
        own = self.seconds["convkit"]
        if not own or not self.operations:
            return None
        return max(self.operations / self.peak, self.traffic / bandwidth) / own

    @property
    def to_torch(self) -> float | None:
        """How many times faster convkit is than the better of PyTorch's layouts."""
        return self._ratio(_TORCH)

    @property
    def to_best(self) -> float | None:
        """How many times faster convkit is than the best of all others."""
        return self._ratio(engine for engine in self.seconds if engine != "convkit")

    def _ratio(self, engines: Iterable[str]) -> float | None:
        own = self.seconds["convkit"]
        others = [seconds for engine in engines if (seconds := self.seconds.get(engine))]
        return min(others) / own if own and others else None


def both(forward: Row, backward: Row) -> Row:
    """Return the row of a forward and a backward pass together."""
    pairs = {engine: (forward.seconds[engine], backward.seconds[engine]) for engine in forward.seconds}
    seconds = {engine: a + b if a and b else None for engine, (a, b) in pairs.items()}
    return Row(forward.suite, forward.work, "sum", forward.threads, 0, 0, math.nan, seconds)


def text(value: float | None, form: str) -> str:
    """Format a figure; a dash where there is none."""
    return format("-", f">{int(form.split('.')[0])}") if value is None else format(value, form)


class Table:
    """Prints rows as they come."""

    def __init__(self, engines: Sequence[str]) -> None:
        self.engines = engines
        self.suite = ""

    def add(self, row: Row) -> None:
        """Print a row, and above the first of a suite the heads."""
        if row.suite != self.suite:
            self.suite = row.suite
            unit = "GFLOP/s" if row.operations else "ms"
            heads = "".join(f"{engine:>12}" for engine in self.engines)
            print(
                f"\n{f'{row.suite}, {unit}':<28}{'pass':<17}{'threads':>7}{heads}{'peak':>7}{'/torch':>8}{'/best':>9}"
            )
        decimals = 0 if row.operations else 2
        figures = "".join(text(row.figures[engine], f"12.{decimals}f") for engine in self.engines)
        ratios = text(row.share, "7.0%") + text(row.to_torch, "8.2f") + text(row.to_best, "9.2f")
        print(f"{row.work:<28}{row.name:<17}{row.threads:>7}{figures}{ratios}", flush=True)


def summary(rows: Sequence[Row]) -> str:
    """Geometric means of the ratios, by suite and pass, and the least ratios by name."""
    lines = []
    for threads in sorted({row.threads for row in rows}):
        for title, ratio in (("the better of PyTorch's layouts", "to_torch"), ("the best of the others", "to_best")):
            those = [(row, r) for row in rows if row.threads == threads and (r := getattr(row, ratio)) is not None]
            if those and (ratio == "to_torch" or any(row.to_torch != row.to_best for row, _ in those)):
                lines += ["", f"Ratio to {title}, threads: {threads}; geometric means", *_means(those)]
                row, least = min(those, key=lambda pair: pair[1])
                below = sum(r < 1 for _, r in those)
                lines.append(f"least {least:.2f}: {row.suite} {row.work} {row.name}; below 1: {below} of {len(those)}")
    return "\n".join(lines)


def _means(those: Sequence[tuple[Row, float]]) -> list[str]:
    cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row, ratio in those:
        for suite in (row.suite, "overall"):
            for name in (row.name, "all"):
                if name != "all" or row.name != "sum":  # a sum is no further measurement
                    cells[suite][name].append(ratio)
    names = [*dict.fromkeys(row.name for row, _ in those), "all"]
    suites = [suite for suite in cells if suite != "overall"]
    lines = [f"{'':<16}" + "".join(f"{name:>17}" for name in names)]
    for suite in [*suites, "overall"] if len(suites) > 1 else suites:
        means = (statistics.geometric_mean(values) if (values := cells[suite][name]) else None for name in names)
        lines.append(f"{suite:<16}" + "".join(text(mean, "17.2f") for mean in means))
    return lines


def _record(row: Row) -> dict[str, object]:
    fixed = dict(zip(_FIXED, (*row.key, row.operations, row.traffic, row.peak), strict=True))
    return {**fixed, **row.seconds, "to_torch": row.to_torch, "to_best": row.to_best}


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, times in seconds."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(_record(rows[0])) if rows else _FIXED)
        writer.writeheader()
        writer.writerows(map(_record, rows))


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as a list of objects, times in seconds."""
    path.write_text(json.dumps([_record(row) for row in rows], indent=1) + "\n")


def read_csv(path: Path) -> list[Row]:
    """Read what `write_csv` wrote."""
    with path.open(newline="") as file:
        return [_row(record) for record in csv.DictReader(file)]


def _row(record: dict[str, str]) -> Row:
    engines = [name for name in record if name not in (*_FIXED, "to_torch", "to_best")]
    seconds = {engine: float(record[engine]) if record[engine] else None for engine in engines}
    sizes = int(record["threads"]), int(record["operations"]), int(record["traffic"]), float(record["peak"])
    return Row(record["suite"], record["work"], record["pass"], *sizes, seconds)
