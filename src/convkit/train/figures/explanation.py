"""Figures of what a network sees: in one image, and in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...data import ImageDataset
from ..tiles import mosaic, square
from ._drawing import BETWEEN, bare, many, new_figure, show_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from ..explain import FeatureMaps
    from ..patches import Patches

Method = Literal["occlusion", "gradient"]

_WIDTH = 11.0
_MOST_MAPS = 64
_MOST_CLASSES = 10


def explanation(
    picture: NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    evidence: NDArray[Any],
    method: Method,
    layers: Sequence[FeatureMaps],
) -> Figure:
    """Draw an image, what a network says of it, which pixels decide, and the maps of its layers.

    Parameters
    ----------
    picture : ndarray, shape (H, W, C)
        The image: brightness from 0 to 1.
    probabilities : ndarray, shape (K,)
        Of each class; the likeliest ten are drawn.
    classes : sequence of str
        Names of the K classes.
    evidence : ndarray, shape (H, W)
        Which pixels decide for the likeliest class.
    method : {'occlusion', 'gradient'}
        How that was found: by `explain.occlusion` or `explain.gradient`.
    layers : sequence of FeatureMaps
        From `explain.feature_maps`; of each the first 64 maps are drawn, on a scale of their own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    columns = 4 if len(layers) <= 12 else 6
    rows = -(-len(layers) // columns)
    heights = [3.1]  # inches
    if layers:
        heights.append(rows * (_WIDTH / columns + 0.4) + 0.7)
    figure = new_figure(_WIDTH, sum(heights))
    answer, *maps = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).ravel()
    _draw_answer(answer, picture, probabilities, classes, evidence, method)
    for below in maps:
        _draw_layers(below, layers, rows, columns)
    return figure


def _draw_answer(
    figure: Figure | SubFigure,
    picture: NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    evidence: NDArray[Any],
    method: Method,
) -> None:
    image, pixels, bars = figure.subplots(1, 3, width_ratios=(1, 1.25, 1.3))
    best = np.argsort(-probabilities, kind="stable")[:_MOST_CLASSES]
    name = classes[best[0]]
    image.set_title(f"Input, {picture.shape[1]}x{picture.shape[0]} pixels")
    show_picture(image, picture)
    _draw_evidence(figure, pixels, picture, evidence, name, method)
    bars.barh(range(len(best)), 100 * probabilities[best], color=["#D55E00"] + ["#0072B2"] * (len(best) - 1))
    bars.set_yticks(range(len(best)), [shorten(classes[i], 24, placeholder="...") for i in best])
    bars.invert_yaxis()
    bars.set(title=fill(f"{name}: {probabilities[best[0]]:.1%}", 34), xlabel="probability (%)", xlim=(0, 100))
    bars.grid(axis="x", alpha=0.3)


def _draw_evidence(
    figure: Figure | SubFigure,
    axes: Axes,
    picture: NDArray[Any],
    evidence: NDArray[Any],
    name: str,
    method: Method,
) -> None:
    if method == "occlusion":
        peak = max(100 * np.abs(evidence).max(), 1e-3)
        image = axes.imshow(100 * evidence, cmap="RdBu_r", vmin=-peak, vmax=peak)
        # The picture is laid over the colours as a shadow: they stay those of the scale where it is light.
        grey = picture.mean(axis=2)
        axes.imshow(np.zeros_like(grey), cmap="gray", vmin=0, vmax=1, alpha=0.6 * (1 - grey))
        title, label = f"Pixels that speak for {name}", "probability lost when\nhidden (percentage points)"
    else:
        image = axes.imshow(evidence, cmap="magma", vmin=0)
        title, label = f"Pixels that {name} depends on", "|change of score /\nchange of pixel|"
    axes.set_title(fill(title, 34))
    bare(axes)
    figure.colorbar(image, ax=axes, label=label, shrink=0.8)


def _draw_layers(figure: Figure | SubFigure, layers: Sequence[FeatureMaps], rows: int, columns: int) -> None:
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, layer in zip(panels, layers, strict=False):
        _draw_maps(axes, layer)
    for axes in panels[len(layers) :]:
        axes.set_axis_off()
    colours = figure.colorbar(panels[0].get_images()[0], ax=panels.tolist(), location="bottom", shrink=0.4, aspect=40)
    colours.set_label("activation / largest activation of the layer")
    for axes in panels:
        axes.set_anchor("N")  # the names of a row in one line; making the colour bar had set another


def _draw_maps(axes: Axes, layer: FeatureMaps) -> None:
    count, height, width = layer.maps.shape
    peak = float(np.abs(layer.maps).max())
    maps = layer.maps[:_MOST_MAPS, :, :, None] / (peak or 1)
    axes.imshow(mosaic(maps, square(len(maps)))[..., 0], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    shown = many(count, "map") if count <= _MOST_MAPS else f"{_MOST_MAPS} of {count} maps"
    axes.set_title(f"{layer.name}\n{layer.kind}, largest {peak:.3g}\n{shown} of {width}x{height}", fontsize=7.5)
    bare(axes)


def patches(found: Patches, dataset: ImageDataset, filters: Sequence[int] | None = None) -> Figure:
    """Draw the pieces of images that excite each filter of a layer most.

    Parameters
    ----------
    found : Patches
        From `top_patches`.
    dataset : ImageDataset
        The images that they were found in.
    filters : sequence of int, optional
        Which filters to draw; the first 32 if not given.

    Returns
    -------
    matplotlib.figure.Figure
        A square of pieces for each filter, the strongest first; grey is outside the image.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    chosen = range(min(32, len(found.images))) if filters is None else filters
    columns = min(8, len(chosen))
    rows = -(-len(chosen) // columns)
    height, width = (found.boxes[..., 1::2] - found.boxes[..., ::2]).max(axis=(0, 1))
    panel = max(1.4, 5 / columns)  # inches; the title needs five
    figure = new_figure(panel * columns, 0.9 + rows * (panel * height / width + 0.25))
    name = dataset.spec.dataset
    pieces = f"pieces of {name}, {width}x{height} pixels (grey: outside the image)"
    figure.suptitle(f"{found.layer}: what excites each filter most\n{pieces}")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(chosen) :]:
        axes.set_axis_off()
    for axes, number in zip(panels, chosen, strict=False):
        tiles = [
            _piece(dataset, int(image), box, height, width)
            for image, box in zip(found.images[number], found.boxes[number], strict=True)
        ]
        show_picture(axes, mosaic(np.stack(tiles), square(len(tiles)), BETWEEN))
        axes.set_title(f"filter {number}", fontsize=8)
    return figure


def _piece(dataset: ImageDataset, image: int, box: NDArray[np.int64], height: int, width: int) -> NDArray[np.float32]:
    """Cut a piece out; what the image's edges take from it is grey, on the side where it is missing."""
    top, bottom, left, right = box
    picture = dataset.spec.picture(dataset[image][0])
    tile = np.full((height, width, picture.shape[2]), BETWEEN, np.float32)
    down = height - (bottom - top) if top == 0 else 0
    across = width - (right - left) if left == 0 else 0
    tile[down : down + bottom - top, across : across + right - left] = picture[top:bottom, left:right]
    return tile
