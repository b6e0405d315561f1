"""Figures of a training run: curves, filters, confusion.

Every function returns a matplotlib ``Figure`` that belongs to nobody: pyplot, its windows and its settings are never
touched. Colours are told apart by readers with any colour vision.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._extras import require
from .._files import replacing
from .metrics import EpochMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .lr_finder import LearningRates

# Blue and vermilion of Okabe and Ito's palette; marker and line style tell them apart on paper without colour.
_TRAIN_STYLE: dict[str, Any] = {"color": "#0072B2", "marker": "o", "linestyle": "--", "markersize": 4, "label": "train"}
_TEST_STYLE: dict[str, Any] = {"color": "#D55E00", "marker": "s", "linestyle": "-", "markersize": 4, "label": "test"}

# Grey between the filters, since white and black are colours that a filter can have.
_BETWEEN = 0.75


def curves(history: Sequence[EpochMetrics]) -> Figure:
    """Draw loss and accuracy over the epochs, for training and test set.

    Parameters
    ----------
    history : sequence of EpochMetrics
        One or more epochs.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels side by side.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = _new_figure(9.0, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    _curve_panel(loss, history, "loss", 1)
    _curve_panel(accuracy, history, "accuracy", 100)
    loss.set(title="Loss", ylabel="mean cross-entropy (nats)")
    accuracy.set(title="Accuracy", ylabel="classified right (%)")
    return figure


def _curve_panel(axes: Axes, history: Sequence[EpochMetrics], measure: str, unit: float) -> None:
    epochs = [metrics.epoch for metrics in history]
    for part, style in (("train", _TRAIN_STYLE), ("test", _TEST_STYLE)):
        values = [getattr(metrics, f"{part}_{measure}") for metrics in history]
        if None not in values:
            axes.plot(epochs, [unit * value for value in values], **style)
    axes.set(xlabel="epoch", xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
    axes.locator_params(axis="x", integer=True, nbins=10, min_n_ticks=1)
    axes.grid(alpha=0.3)
    axes.legend()


def learning_rates(found: LearningRates) -> Figure:
    """Draw the loss over the learning rate, and which rate is suggested.

    Parameters
    ----------
    found : LearningRates
        What `lr_finder` returned.

    Returns
    -------
    matplotlib.figure.Figure
        One panel, with a logarithmic axis of rates.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = _new_figure(6.0, 3.8)
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, color="0.7", label="each batch")
    axes.plot(found.rates, found.smoothed, color=_TEST_STYLE["color"], label="smoothed")
    axes.axvline(found.suggestion, color=_TRAIN_STYLE["color"], linestyle="--", label=f"{found.suggestion:.2g}")
    axes.set(xscale="log", title="Where the loss falls fastest", xlabel="learning rate", ylabel="loss of the batch")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def filters(weight: NDArray[Any]) -> Figure:
    """Draw the filters of a convolution as pictures.

    Filters of one channel are drawn in a grid, blue where they answer to dark and red where they answer to light;
    filters of three channels in a grid, in their colours; any others with one row a filter and one column a channel.

    Parameters
    ----------
    weight : ndarray, shape (K, C, R, S)
        Weights of a convolution.

    Returns
    -------
    matplotlib.figure.Figure
        Each filter is scaled by its largest weight, since the layers behind (batch norm above all) take its scale away.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    count, channels, height, width = weight.shape
    peak = np.abs(weight).max(axis=(1, 2, 3), keepdims=True)
    scaled = weight / np.where(peak > 0, peak, 1)
    if channels in (1, 3):
        tiles, columns = scaled.transpose(0, 2, 3, 1), int(np.ceil(np.sqrt(count)))
    else:
        tiles, columns = scaled.reshape(count * channels, height, width, 1), channels
    picture = _mosaic(tiles, columns)

    figure = _new_figure(*_size_of(picture.shape[1], picture.shape[0]))
    axes = figure.add_subplot()
    axes.set_title(f"First layer: {_many(count, 'filter')} of {height}x{width}, {_many(channels, 'channel')}")
    axes.set(xticks=[], yticks=[], facecolor=str(_BETWEEN))
    axes.spines[:].set_visible(False)
    if channels == 3:
        axes.imshow((picture + 1) / 2)
    else:
        image = axes.imshow(picture[..., 0], cmap="RdBu_r", vmin=-1, vmax=1)
        figure.colorbar(image, label="weight / largest weight of the filter", shrink=0.8)
    return figure


def _mosaic(tiles: NDArray[Any], columns: int) -> NDArray[Any]:
    """Lay tiles (N, R, S, C) out in rows of `columns`, with a grey line between."""
    count, height, width, depth = tiles.shape
    rows = -(-count // columns)
    # matplotlib leaves NaN blank where it maps values to colours, but not in pictures that are colours already.
    blank = 2 * _BETWEEN - 1 if depth == 3 else np.nan
    picture = np.full((rows * columns, height + 1, width + 1, depth), blank)
    picture[:count, :height, :width] = tiles
    grid = picture.reshape(rows, columns, height + 1, width + 1, depth).swapaxes(1, 2)
    return grid.reshape(rows * (height + 1), columns * (width + 1), depth)[:-1, :-1]


def _size_of(width: int, height: int) -> tuple[float, float]:
    """Give the filters about 6 inches on their longer side, and room for the title above and the colours beside."""
    scale = 6 / max(width, height)
    return max(4.5, width * scale + 1.2), max(2.5, height * scale + 0.5)


def confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw which classes were taken for which.

    Parameters
    ----------
    matrix : ndarray of int64, shape (K, K)
        Counts; row: the right class, column: the predicted one. As in `Score`.
    classes : sequence of str
        Names of the K classes.

    Returns
    -------
    matplotlib.figure.Figure
        Counts, on colours that tell the share of each row.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    side = 2.5 + 0.55 * len(classes)
    figure = _new_figure(side + 1, side)
    axes = figure.add_subplot()
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, label="share of the true class (%)", shrink=0.8)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if share[row, column] > 50 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=9)
    places = range(len(classes))
    axes.set_xticks(places, classes)
    axes.set_yticks(places, classes)
    if max(map(len, classes)) > 3:
        axes.tick_params(axis="x", labelrotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set(xlabel="predicted", ylabel="true")
    total = int(matrix.sum())
    axes.set_title(f"{np.trace(matrix)} of {total} images classified right ({np.trace(matrix) / total:.2%})")
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG that replaces `path` whole."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)


def _new_figure(width: float, height: float) -> Figure:
    # The constrained layout makes room for every label, so nothing is cut off.
    module = require("matplotlib.figure", "drawing figures")
    figure: Figure = module.Figure(figsize=(width, height), layout="constrained")
    inches = 0.1
    figure.get_layout_engine().set(w_pad=inches, h_pad=inches)  # type: ignore[union-attr, call-arg]
    return figure


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
