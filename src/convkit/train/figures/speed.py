"""Figures of speed: where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._drawing import FIRST, SECOND, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW, _MARGINS = 0.2, 1.2  # inches


def layer_times(
    layers: Sequence[str], forward: Sequence[float], backward: Sequence[float], notes: Sequence[str], title: str
) -> Figure:
    """Draw a bar for each layer: how long it takes forward, and then backward.

    Parameters
    ----------
    layers : sequence of str
        Their names, from the top down.
    forward, backward : sequence of float
        Seconds.
    notes : sequence of str
        What stands behind each bar; may be empty.
    title : str
        What was measured.

    Returns
    -------
    matplotlib.figure.Figure
        As high as it takes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = new_figure(8.0, _MARGINS + _ROW * len(layers))
    axes = figure.subplots()
    # A stopwatch that is subtracted from another can leave a little less than nothing.
    first, second = (np.maximum(seconds, 0) * 1e3 for seconds in (forward, backward))
    rows = np.arange(len(layers))
    axes.barh(rows, first, color=FIRST["color"], label="forward")
    bars = axes.barh(rows, second, left=first, color=SECOND["color"], hatch="///", edgecolor="white", label="backward")
    axes.bar_label(bars, notes, padding=4, fontsize=8)
    axes.set_yticks(rows, layers, fontsize=8)
    axes.set(title=title, xlabel="ms of a training step", ylim=(len(layers) - 0.4, -0.6))
    axes.margins(x=0.12)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend()
    return figure
