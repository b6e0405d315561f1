"""convkit's convolutions under the machine's limits: what arithmetic allows, and what memory allows."""

from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING

from .rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def limits(rows: Sequence[Row], bandwidths: dict[int, float]) -> str:
    """Tell what share of the roofline convkit reaches in each suite, and how it would stand to PyTorch right there.

    A pass takes no less than its operations at the peak, nor than its bytes at what memory copies. But what a cache
    holds does not come from memory, and Winograd's method has fewer operations: these may go through the roof.
    """
    lines = []
    for threads, bandwidth in bandwidths.items():
        those = [row for row in rows if row.threads == threads and row.operations and row.to_torch]
        if those:
            roof = f"the multiply-add peak, and memory at {bandwidth * 1e-9:.1f} GB/s"
            lines += ["", f"Roofline ({roof}), threads: {threads}; geometric means of all passes"]
            lines.append(f"{'':<16}{'share':>17}{'/torch there':>17}")
        for suite in dict.fromkeys(row.suite for row in those):
            of_suite = [row for row in those if row.suite == suite]
            share = geometric_mean(row.roof(bandwidth) or 0 for row in of_suite)
            ratio = geometric_mean(row.to_torch or 0 for row in of_suite)
            lines.append(f"{suite:<16}{share:>17.0%}{ratio / share:>17.2f}")
    return "\n".join(lines)


def draw(path: Path, rows: Sequence[Row], bandwidths: dict[int, float]) -> None:
    """Draw a point for each layer and pass, a panel for each number of threads.

    `bandwidths` is what each number of threads copied, in bytes a second. A layer's arithmetic intensity is that of
    the bytes that it must move at least.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * len(bandwidths), 5), layout="constrained")
    panels = figure.subplots(1, len(bandwidths), squeeze=False, sharey=True)[0]
    for panel, (threads, bandwidth) in zip(panels, bandwidths.items(), strict=True):
        _panel(panel, [row for row in rows if row.threads == threads and row.share], bandwidth)
        panel.set_title(f"{threads} thread{'s'[: threads > 1]}")
    panels[0].set_ylabel("GFLOP/s")
    figure.savefig(path, dpi=120)


def _panel(panel: "Axes", rows: Sequence[Row], bandwidth: float) -> None:
    panel.set(xscale="log", yscale="log", xlabel="operations for each byte that must be moved")
    if not rows:
        return
    peak = max(row.peak for row in rows)
    intensities = [row.operations / row.traffic for row in rows]
    ends = min(*intensities, peak / bandwidth) / 2, max(*intensities, peak / bandwidth) * 2
    ridge = peak / bandwidth
    panel.plot([ridge, ends[1]], [peak * 1e-9] * 2, "k-", lw=1)
    panel.plot([ends[0], ridge], [ends[0] * bandwidth * 1e-9, peak * 1e-9], "k--", lw=1)
    panel.annotate(f"multiply-add peak, {peak * 1e-9:.0f} GFLOP/s", (ends[1], peak * 1e-9), (0, 4),
                   textcoords="offset points", ha="right")  # fmt: skip
    panel.annotate(f"memory, {bandwidth * 1e-9:.0f} GB/s", (ends[0], ends[0] * bandwidth * 1e-9), (6, 0),
                   textcoords="offset points", va="top")  # fmt: skip
    for name in dict.fromkeys(row.name for row in rows):
        points = [(row.operations / row.traffic, row.figures["convkit"]) for row in rows if row.name == name]
        panel.plot(*zip(*points, strict=True), "o", ms=4, alpha=0.7, label=name)
    panel.legend(loc="lower right")
