"""``convkit bench``: how fast a network is here, and where its time goes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _dispatch, models
from .._extras import require
from .._precision import PRECISIONS
from .._threads import get_num_threads, set_num_threads
from ..nn import CrossEntropyLoss
from .arguments import image_size, integer, positive
from .runs import model_file

if TYPE_CHECKING:
    from ..bench import Comparison, LayerTime, Workload
    from .arguments import Commands

_ROUNDS = 5
# Rows of the first table: an engine, and what it does.
_SPEEDS = {
    "training": ("convkit", "training"),
    "inference": ("convkit", "inference"),
    "inference, compiled": ("compiled", "inference"),
}


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "bench",
        help="Measure how fast a network is, layer by layer, and beside other engines.",
        description="Measure how fast a network is on this machine: images a second in training (forward, loss, "
        "backward, a step of Adam) and in inference, and the time of a step layer by layer, as tables in Markdown and "
        "a picture. Images and weights are random.",
        epilog="The peak is what multiply-adds in registers reach, measured in the same run. The roofline is the time "
        "that a layer would take if it computed at the peak or moved each of its bytes once at the speed of a large "
        "copy, whichever takes longer; what lies in a cache moves faster, so a small layer can be above it. A layer "
        "that waits until another reads its result has its time counted there.",
    )
    network = parser.add_argument_group("the network")
    network.add_argument("run_dir", metavar="RUN_DIR", type=Path, nargs="?", help="a run, or a model.safetensors")
    network.add_argument("--model", choices=models.names(), help="a network by its name (default: convnet)")
    network.add_argument("--image-size", type=image_size, metavar="SIZE", help="SIZE or HEIGHTxWIDTH pixels")
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument(
        "--batch-size", type=integer(1), default=32, metavar="N", help="images in a batch (default: %(default)s)"
    )
    measuring.add_argument(
        "--threads", type=integer(1), metavar="N", help="threads (default: as many as this process may use)"
    )
    measuring.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="highest",
        help="of convkit's float32 convolutions and linear layers (default: %(default)s)",
    )
    measuring.add_argument(
        "--seconds",
        type=positive,
        default=2.0,
        metavar="S",
        help="seconds of each measurement, three steps at the least (default: %(default)s)",
    )
    measuring.add_argument(
        "--peers",
        action="store_true",
        help="also measure PyTorch in both its layouts and, in inference, ONNX Runtime and OpenVINO, where they are "
        "installed: each in a process of its own, in turns",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="PNG to write (default: MODEL-bench.png)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, print tables, draw the picture."""
    # Miss what is missing now, not after the measurement.
    for module, purpose in (("matplotlib", "drawing figures"), ("tqdm", "the progress bar")):
        require(module, purpose)
    if args.threads is not None:
        set_num_threads(args.threads)
    workload = _workload(args)
    out = args.output or Path(f"{workload.model['name']}-bench.png")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--output {out}: there is no folder {out.parent}")
    print(f"{_headline(workload)}\n")
    measured = _measure(workload, args.seconds)
    print(_speed_table(workload.batch_size, measured))
    print(_layer_table(measured))
    _draw(workload, measured, out)
    print(f"{out}: the same as bars")
    if args.peers:
        _measure_peers(workload, args.seconds)


def _workload(args: argparse.Namespace) -> Workload:
    from ..bench import Workload

    if args.run_dir is None:
        config: dict[str, Any] = {"name": args.model or "convnet"}
    elif args.model is None:
        from ..train import load_model

        config = load_model(model_file(args.run_dir))[0].config
    else:
        raise ValueError(f"--model {args.model} does not go with {args.run_dir}, whose network it has")
    if args.image_size is not None:
        config |= {"image_size": args.image_size}
    workload = Workload(config, args.batch_size, precision=args.precision)
    return replace(workload, model=workload.network().config)


def _headline(workload: Workload) -> str:
    config, threads = workload.model, get_num_threads()
    parameters = sum(parameter.numel() for parameter in workload.network().parameters())
    size = "x".join(map(str, (config["in_channels"], *config["image_size"])))
    return (
        f"{config['name']}: {parameters:,} parameters; {workload.batch_size} images of {size}; "
        f"{threads} thread{'s'[: threads > 1]}, {_dispatch.isa}, precision {workload.precision}"
    )


class _Measured(NamedTuple):
    seconds: dict[str, float]  # of a batch
    rows: list[LayerTime]
    peak: float  # of all threads, in operations a second
    bandwidth: float  # in bytes a second


def _measure(workload: Workload, seconds: float) -> _Measured:
    from ..bench import ENGINES, bandwidth, installed, layer_times, peak
    from ..bench.machine import typical

    threads = get_num_threads()
    times = {}
    wanted = {title: what for title, what in _SPEEDS.items() if what[0] in installed([])}
    with _bar("measuring", len(wanted) + 2) as bar:
        for title, (engine, name) in wanted.items():
            call = ENGINES[engine](threads).prepare(workload, name)
            assert call is not None
            call()
            times[title] = typical(call, seconds)
            bar.update()
        model = workload.network()
        optimizer = workload.optimizer_for(model)
        rows = layer_times(model, CrossEntropyLoss(), optimizer, workload.images(), workload.labels(), seconds)
        bar.update()
        measured = _Measured(times, rows, threads * peak(), bandwidth(threads))
        bar.update()
    return measured


def _speed_table(batch_size: int, measured: _Measured) -> str:
    forward = sum(row.forward_work.operations for row in measured.rows)
    operations = dict.fromkeys(_SPEEDS, forward) | {"training": sum(row.operations for row in measured.rows)}
    rows = [
        (
            name,
            f"{batch_size / seconds:,.0f}",
            f"{seconds * 1e3:.2f}",
            f"{operations[name] / seconds * 1e-9:.0f}",
            f"{operations[name] / seconds / measured.peak:.0%}",
        )
        for name, seconds in measured.seconds.items()
    ]
    return markdown(("", "images/s", "ms a batch", "GFLOP/s", f"of {measured.peak * 1e-9:.0f} GFLOP/s"), rows)


def _layer_table(measured: _Measured) -> str:
    layers, peak = measured.rows, measured.peak
    total = sum(row.seconds for row in layers)
    rows = [
        (
            _title(row),
            *_passes([row]),
            f"{row.seconds * 1e3:.3f}",
            f"{row.seconds / total:.1%}",
            _percent(row.operations / peak, row.seconds),
            _percent(row.least_seconds(peak, measured.bandwidth), row.seconds),
        )
        for row in layers
    ]
    share = _percent(sum(row.operations for row in layers) / peak, total)
    rows.append(("the step", *_passes(layers), f"{total * 1e3:.3f}", "100.0%", share, ""))
    heads = "layer", "forward, ms", "backward, ms", "ms", "of the step", "of the peak", "of the roofline"
    return markdown(heads, rows)


def _passes(rows: Sequence[LayerTime]) -> tuple[str, str]:
    """Tell the milliseconds of both passes; the optimizer is in neither."""
    from ..bench.layers import OPTIMIZER

    passes = [row for row in rows if row.name != OPTIMIZER]
    if not passes:
        return "", ""
    return f"{sum(row.forward for row in passes) * 1e3:.3f}", f"{sum(row.backward for row in passes) * 1e3:.3f}"


def _draw(workload: Workload, measured: _Measured, out: Path) -> None:
    from ..train import figures

    rows = measured.rows
    figure = figures.layer_times(
        [_title(row) for row in rows],
        [row.forward for row in rows],
        [row.backward for row in rows],
        [_percent(row.operations / measured.peak, row.seconds) for row in rows],
        f"{workload.name}: {sum(row.seconds for row in rows) * 1e3:.2f} ms a step; "
        "behind the bars, share of the multiply-add peak",
    )
    figures.save(figure, out)


def _title(row: LayerTime) -> str:
    return f"{row.name} ({row.kind})" if row.kind else row.name


def _percent(least: float, seconds: float) -> str:
    """Tell which share of its time something would have taken at the least, if it is known to take any."""
    return f"{least / seconds:.0%}" if least and seconds > 0 else ""


def _measure_peers(workload: Workload, seconds: float) -> None:
    """Measure all engines, and print a table for each pass."""
    from ..bench import ENGINES, PASSES, compare, installed

    engines = installed()
    if absent := [engine for engine in ENGINES if engine not in engines]:
        print(f"not installed, left out: {', '.join(absent)}")
    for name in PASSES:
        with _bar(name, len(engines) * (_ROUNDS + 1)) as bar:
            row = compare(workload, name, engines, get_num_threads(), _ROUNDS, seconds / _ROUNDS, after_turn=bar.update)
        print(f"\n{name}\n\n{_peers_table(row)}")


def _peers_table(row: Comparison) -> str:
    own = row.seconds[row.own]
    cells = [
        (
            engine,
            f"{row.images_per_second[engine]:,.0f}",
            f"{seconds * 1e3:.2f}",
            f"{seconds / own:.2f}",
            f"{row.memory[engine] / 1e6:.0f}",
        )
        for engine, seconds in row.seconds.items()
    ]
    return markdown(("engine", "images/s", "ms a batch", f"times {row.own}'s", "peak memory, MB"), cells)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table that reads well as it is and as Markdown; the first column is text, the others are numbers.

    Examples
    --------
    >>> print(markdown(("engine", "ms"), [("convkit", "9"), ("torch", "10")]))
    | engine  | ms |
    |---------|---:|
    | convkit |  9 |
    | torch   | 10 |
    <BLANKLINE>
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return f"| {' | '.join([cells[0].ljust(widths[0]), *padded])} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([line(heads), f"|{rule}|", *map(line, rows), ""])


def _bar(title: str, steps: int) -> Any:
    """Make a progress bar, on standard error if that is a terminal."""
    tqdm = require("tqdm", "the progress bar").tqdm
    return tqdm(total=steps, desc=title, leave=False, disable=None, dynamic_ncols=True)
