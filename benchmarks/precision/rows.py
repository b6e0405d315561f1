"""What was measured: rows of a Markdown table, and points of a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass
class Row:
    """What is shown of a mode in a pass. There is no speed where only the arithmetic was tried."""

    engine: str
    precision: str
    algorithm: str
    name: str
    error: float
    speed: float | None = None
    to_torch: float | None = None

    def __str__(self) -> str:
        speed = f"{self.speed:.0f}" if self.speed else "arithmetic only, not timed"
        ratio = f"{self.to_torch:.2f}" if self.to_torch else ""
        cells = self.name, self.engine, self.precision, self.algorithm, f"{self.error:.1e}", speed, ratio
        return f"| {' | '.join(cells)} |"


_MARKERS = {"highest": "o", "high": "s", "medium": "^", "float32": "x", "bfloat16": "+"}


def draw(file: BinaryIO, rows: Sequence[Row], form: str) -> None:
    """Draw a panel for each pass: errors against speeds, and a line for an error without a speed."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row.name for row in rows))
    figure = Figure(figsize=(5.2 * len(names), 6), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    colours = {engine: f"C{i}" for i, engine in enumerate(dict.fromkeys(row.engine for row in rows))}
    for panel, name in zip(panels, names, strict=True):
        panel.set(title=name.replace("_", "-"), yscale="log", ylim=(5e-8, 2e-2), xlabel="GFLOP/s of useful work")
        panel.grid(True, alpha=0.3)
        _points(panel, [row for row in rows if row.name == name], colours)
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize=8, frameon=False)
    panels[0].set_xlim(0, 1.1 * max(row.speed or 0 for row in rows))
    panels[0].set_ylabel("RMS error, relative to float64")
    figure.savefig(file, format=form, dpi=110)


def _points(panel: "Axes", rows: Sequence[Row], colours: dict[str, str]) -> None:
    for row in rows:
        colour, label = colours[row.engine], f"{row.engine}, {row.precision}"
        if row.speed is None:
            panel.axhline(row.error, color=colour, ls=":", label=f"{label} (arithmetic only)")
            panel.annotate(row.precision, (0.01, row.error), (0, 2), textcoords="offset points", fontsize=8,
                           xycoords=panel.get_yaxis_transform(), color=colour)  # fmt: skip
            continue
        if row.engine.startswith("convkit"):
            label += f": {row.algorithm.partition(':')[0]}"
        panel.plot(row.speed, row.error, _MARKERS[row.precision.partition(",")[0]], color=colour, label=label, ms=8)
