"""Figures of a training run: curves, filters, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import EpochMetrics
from ..tiles import mosaic, square
from ._drawing import BETWEEN, FIRST, SECOND, bare, many, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..lr_finder import LearningRates

_TRAIN_STYLE: dict[str, Any] = {**FIRST, "marker": "o", "markersize": 4, "label": "train"}
_TEST_STYLE: dict[str, Any] = {**SECOND, "marker": "s", "markersize": 4, "label": "test"}


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
    figure = new_figure(9.0, 3.8)
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
    figure = new_figure(6.0, 3.8)
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
    if channels == 3:
        picture = mosaic((scaled.transpose(0, 2, 3, 1) + 1) / 2, square(count), BETWEEN)
    elif channels == 1:
        picture = mosaic(scaled.reshape(count, height, width, 1), square(count))
    else:
        picture = mosaic(scaled.reshape(count * channels, height, width, 1), channels)

    figure = new_figure(*_size_of(picture.shape[1], picture.shape[0], beside=0.2 if channels == 3 else 1.2))
    axes = figure.add_subplot()
    axes.set_title(f"First layer: {many(count, 'filter')} of {height}x{width}, {many(channels, 'channel')}")
    bare(axes)
    if channels == 3:
        axes.imshow(picture)
        axes.set_xlabel("weight / largest weight of the filter, as colour: middle grey is 0")
    else:
        image = axes.imshow(picture[..., 0], cmap="RdBu_r", vmin=-1, vmax=1)
        figure.colorbar(image, label="weight / largest weight of the filter", shrink=0.8)
    return figure


def _size_of(width: int, height: int, beside: float) -> tuple[float, float]:
    """Give the filters about 6 inches on their longer side, and room around for words and for the scale of colours."""
    scale = 6 / max(width, height)
    return max(4.5, width * scale + beside), max(2.5, height * scale + 0.7)


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
    figure = new_figure(side + 1, side)
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
    # Over the whole figure: it is wider than the two rows and columns of two classes.
    figure.suptitle(f"{np.trace(matrix)} of {total} images classified right ({np.trace(matrix) / total:.2%})")
    return figure
