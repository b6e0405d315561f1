"""Measure the error and the speed of each precision, print a Markdown table, and draw one against the other.

A row is what a precision runs in an instruction set: what several precisions run alike is measured once. Errors are
RMS, relative to float64; speeds are GFLOP/s of useful work, two for each product of a direct convolution, whatever the
algorithm computes; both are geometric means over the layers. "/torch" is the speed over that of PyTorch's float32 in
the faster of its layouts, held to AVX2 beside x86_v3. Every mode runs in a process of its own, and waits while another
is measured. Where there is no AMX, the errors of its bfloat16 parts are computed in NumPy, and not timed.
"""

import argparse
import importlib.util
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import convkit
from convkit._files import replacing

from ..layers import PASSES, Layer
from ..peers import TAKES
from ..peers.__main__ import Worker
from .rows import Row, draw
from .split import forward_error

_PRECISIONS = ("highest", "high", "medium")
_LAYERS = ("n16c64h56k64r3", "n16c128h28k128r3", "n16c256h14k256r3")
_PARTS = {"highest": 3, "high": 2, "medium": 1}  # of a float32 on AMX

Point = tuple[float, float]


class Mode(Worker):
    """A process for a precision of convkit in an instruction set, or for PyTorch with a dtype and a layout."""

    module = "benchmarks.precision.worker"

    def __init__(self, name: str, threads: int, isa: str | None) -> None:
        super().__init__(name, threads, isa)
        self.variant = isa or "any"
        self.library, self.precision = name.split()[:2]
        self.of_bfloat16 = self.precision == "bfloat16"


def variants() -> list[str]:
    """Return the instruction sets that this machine runs and this build has, but for the baseline."""
    config = convkit.config()
    return [isa for isa in config["isas_supported"] if isa in config["isas_built"] and isa != "baseline"]


def precisions(isa: str) -> tuple[str, ...]:
    """Return those in which an instruction set computes otherwise than the one that it adds to.

    The last, where AMX multiplies bfloat16 as it lies, is that of arrays.
    """
    if isa == "amx" and importlib.util.find_spec("ml_dtypes"):
        return *_PRECISIONS, "bfloat16"
    return ("medium",) if isa == "avx512_bf16" else _PRECISIONS


def modes(threads: int, stack: ExitStack) -> list[Mode]:
    """Start a process for each mode."""
    wanted: list[tuple[str, str | None]] = [
        (f"convkit {precision}", isa) for isa in variants() for precision in precisions(isa)
    ]
    if importlib.util.find_spec("torch"):
        for dtype, isa in ("float32", "x86_v3"), ("float32", None), ("bfloat16", None):
            wanted += [(f"torch {dtype} {layout}", isa) for layout in ("contiguous", "channels_last")]
    started = [Mode(name, threads, isa) for name, isa in wanted]
    for mode in started:
        stack.callback(mode.end)
    return started


def distinct(started: list[Mode], layers: list[Layer], name: str) -> Iterator[tuple[str, str, Mode]]:
    """Yield (precisions, algorithms, mode) without those that run what a more precise one of the same variant runs."""
    alike: dict[Any, list[Mode]] = defaultdict(list)
    for mode in started:
        plans = tuple(tuple(mode.request(f"plan {name}", layer.name)) for layer in layers)
        alike[mode.library, mode.variant, mode.of_bfloat16, plans].append(mode)
    for (*_, plans), same in alike.items():
        yield ", ".join(mode.precision for mode in same), described(plans), same[0]


def described(plans: tuple[tuple[str, float], ...]) -> str:
    """Return the algorithms by name, each with its number of products."""
    products: dict[str, list[float]] = defaultdict(list)
    for algorithm, of_direct in plans:
        products[algorithm].append(of_direct)
    return "; ".join(
        f"{algorithm}: {' to '.join(dict.fromkeys(f'{n:.2f}' for n in (min(those), max(those))))} of the products"
        for algorithm, those in products.items()
    )


def measure(started: list[Mode], layers: list[Layer], name: str, rounds: int, take: str) -> Iterator[Row]:
    """Measure a pass in all modes, taking turns. PyTorch is in each layer what it is in the faster of its layouts."""
    groups = list(distinct(started, layers, name))
    points: dict[int, list[Point]] = defaultdict(list)  # (speed, error) of every layer
    for layer in layers:
        errors = [float(mode.request(f"error {name}", layer.name)) for _, _, mode in groups]
        seconds: dict[int, list[float]] = defaultdict(list)
        for _ in range(rounds):
            for i, (_, _, mode) in enumerate(groups):
                seconds[i].append(float(mode.request(f"seconds {name}", layer.name)))
        for i, error in enumerate(errors):
            points[i].append((layer.operations / TAKES[take](seconds[i]) * 1e-9, error))
    torch: dict[tuple[str, str], list[Point]] = {}
    for i, (_, _, mode) in enumerate(groups):
        if mode.library == "torch":
            key = mode.variant, mode.precision
            torch[key] = [max(pair) for pair in zip(points[i], torch.get(key, points[i]), strict=True)]
    for (variant, precision), those in torch.items():
        engine = "PyTorch, AVX2" if variant == "x86_v3" else "PyTorch"
        speeds, errors = zip(*those, strict=True)
        yield Row(engine, precision, "faster of two layouts", name, geometric_mean(errors), geometric_mean(speeds))
    for i, (precisions, algorithms, mode) in enumerate(groups):
        if mode.library == "convkit":
            speeds, errors = zip(*points[i], strict=True)
            peers = torch.get(("x86_v3" if mode.variant == "x86_v3" else "any", "float32"))
            ratios = peers and [speed / other for speed, (other, _) in zip(speeds, peers, strict=True)]
            row = f"convkit, {mode.variant}", precisions, algorithms, name
            yield Row(*row, geometric_mean(errors), geometric_mean(speeds), ratios and geometric_mean(ratios))


def arithmetic(layers: list[Layer]) -> Iterator[Row]:
    """Compute the errors of bfloat16 parts where there is no AMX to compute them."""
    if "amx" in variants():
        return
    for precision, parts in _PARTS.items():
        error = geometric_mean([forward_error(layer, parts) for layer in layers])
        algorithm = described((("split", parts * (parts + 1) // 2),))
        yield Row("convkit, amx", precision, algorithm, "forward", error)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    add = parser.add_argument
    add("--layers", nargs="+", type=Layer.parse, default=[Layer.parse(name) for name in _LAYERS], metavar="LAYER",
        help=f"by name ({' '.join(_LAYERS)})")  # fmt: skip
    add("--passes", nargs="+", choices=PASSES, default=PASSES, metavar="PASS", help=f"of {', '.join(PASSES)} (all)")
    add("--threads", type=int, default=1, metavar="N", help="number of threads (1)")
    add("--rounds", type=int, default=3, metavar="N", help="rounds of which one figure is shown (3)")
    add("--take", choices=TAKES, default="median", help="which: their median or their minimum (median)")
    add("--figure", type=Path, metavar="FILE", help="draw the errors against the speeds")
    options = parser.parse_args()
    os.environ.pop("CONVKIT_ISA", None)  # every variant is measured in its turn
    rows = []
    print("| pass | engine | precision | algorithm | RMS error | GFLOP/s | /torch |\n|---|---|---|---|--:|--:|--:|")
    with ExitStack() as stack:
        started = modes(options.threads, stack)
        for name in options.passes:
            for row in measure(started, options.layers, name, options.rounds, options.take):
                rows.append(row)
                print(row, flush=True)
    for row in arithmetic(options.layers) if "forward" in options.passes else ():
        rows.append(row)
        print(row)
    if options.figure:
        with replacing(options.figure) as file:
            draw(file, rows, options.figure.suffix.removeprefix("."))


if __name__ == "__main__":
    main()
