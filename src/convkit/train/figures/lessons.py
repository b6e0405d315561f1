"""Figures of how it works: functions and their slopes, gradient descent, pictures side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..._extras import require
from ..._files import replacing
from ...autograd import Tensor
from ..tiles import square
from ._drawing import FIRST, SECOND, new_figure, show_picture

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette again, for paths that cross.
_PATH_STYLES: Sequence[dict[str, Any]] = (
    {"color": "#0072B2", "marker": "o"},
    {"color": "#D55E00", "marker": "s"},
    {"color": "#009E73", "marker": "^"},
)
_FRAME, _LAST_FRAME = 125, 2000  # milliseconds
_COLOURS = 64


def activations(functions: Mapping[str, Callable[[Tensor], Tensor]], limit: float = 4.0) -> Figure:
    """Draw functions of one number, each with its derivative.

    Parameters
    ----------
    functions : mapping of str to function
        Names, and functions of a tensor that work element by element. The derivatives come from the tape.
    limit : float, default 4
        They are drawn from -limit to limit.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each function.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    columns = min(4, len(functions))
    rows = -(-len(functions) // columns)
    figure = new_figure(2.7 * columns, 2.4 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (name, function) in zip(panels, functions.items(), strict=False):
        x = Tensor(np.linspace(-limit, limit, 801), requires_grad=True)
        y = function(x)
        y.sum().backward()
        assert x.grad is not None
        axes.plot(x.data, y.data, **SECOND, label="f(x)")
        axes.plot(x.data, x.grad.data, **FIRST, label="df/dx")
        axes.set_title(name)
        axes.set_xlabel("x")
        axes.tick_params(labelbottom=True)
        axes.grid(alpha=0.3)
    for axes in panels[len(functions) :]:
        axes.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def descent(x: NDArray[Any], y: NDArray[Any], paths: Mapping[str, NDArray[Any]]) -> Figure:
    """Draw how gradient descent fits a straight line.

    Parameters
    ----------
    x, y : ndarray, shape (N,)
        The points.
    paths : mapping of str to ndarray, shape (steps + 1, 2)
        For each of up to three runs, its name, and slope and intercept from the start on.

    Returns
    -------
    matplotlib.figure.Figure
        The points with the lines found, the mean squared error step by step, and the ways through the plane of slope
        and intercept.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = new_figure(13.0, 4.3)
    draw = _Descent(figure, x, y, paths)
    draw.until(max(map(len, paths.values())))
    return figure


def descent_animation(x: NDArray[Any], y: NDArray[Any], paths: Mapping[str, NDArray[Any]]) -> FuncAnimation:
    """Draw `descent` step by step.

    Parameters
    ----------
    x, y, paths
        As for `descent`.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        To be saved by `save_animation`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = new_figure(13.0, 4.3)
    draw = _Descent(figure, x, y, paths)
    steps = range(1, max(map(len, paths.values())) + 1)
    animation: FuncAnimation = require("matplotlib.animation", "drawing animations").FuncAnimation(
        figure, draw.until, frames=steps, init_func=lambda: draw.until(1)
    )
    return animation


class _Descent:
    """The three panels of gradient descent, whose curves can be set to any step."""

    def __init__(self, figure: Figure, x: NDArray[Any], y: NDArray[Any], paths: Mapping[str, NDArray[Any]]) -> None:
        self.x, self.y, self.paths = x, y, list(paths.values())
        self.losses = [_mean_squared_error(x, y, path) for path in self.paths]
        self.figure = figure
        data, loss, plane = figure.subplots(1, 3)
        self._draw_data(data)
        self._draw_loss(loss)
        self._draw_plane(plane)
        styles = [{**_PATH_STYLES[i], "markersize": 4, "label": name} for i, name in enumerate(paths)]
        self.lines = [data.plot([], [], color=style["color"], label=style["label"])[0] for style in styles]
        self.curves = [loss.plot([], [], **style)[0] for style in styles]
        self.ways = [plane.plot([], [], **style)[0] for style in styles]
        loss.legend()

    def until(self, count: int) -> list[Any]:
        """Show the first `count` points of every path."""
        ends = np.array([self.x.min(), self.x.max()])
        for path, losses, line, curve, way in zip(
            self.paths, self.losses, self.lines, self.curves, self.ways, strict=True
        ):
            slope, intercept = path[:count][-1]
            line.set_data(ends, slope * ends + intercept)
            curve.set_data(range(len(losses[:count])), losses[:count])
            way.set_data(*path[:count].T)
        return [*self.lines, *self.curves, *self.ways]

    def _draw_data(self, axes: Axes) -> None:
        axes.plot(self.x, self.y, ".", color="0.4")
        room = 0.15 * np.ptp(self.y)
        axes.set(title="Points and lines", xlabel="x", ylabel="y", ylim=(self.y.min() - room, self.y.max() + room))
        axes.grid(alpha=0.3)

    def _draw_loss(self, axes: Axes) -> None:
        values = np.concatenate(self.losses)
        axes.set(title="Loss", xlabel="step", ylabel="mean squared error", yscale="log")
        axes.set(xlim=(-0.5, max(map(len, self.paths)) - 0.5), ylim=(values.min() / 2, values.max() * 2))
        axes.grid(alpha=0.3)

    def _draw_plane(self, axes: Axes) -> None:
        points = np.concatenate(self.paths)
        low, high = points.min(axis=0), points.max(axis=0)
        room = 0.15 * (high - low)
        slopes, intercepts = (np.linspace(a, b, 121) for a, b in zip(low - room, high + room, strict=True))
        grid = np.stack(np.meshgrid(slopes, intercepts), axis=-1)
        loss = _mean_squared_error(self.x, self.y, grid.reshape(-1, 2)).reshape(121, 121)
        contours = axes.contourf(slopes, intercepts, np.log10(loss), levels=12, cmap="Greys", alpha=0.6)
        self.figure.colorbar(contours, ax=axes, label="log10 of the mean squared error")
        axes.set(title="Ways through the loss", xlabel="slope", ylabel="intercept")


def _mean_squared_error(x: NDArray[Any], y: NDArray[Any], lines: NDArray[Any]) -> NDArray[Any]:
    errors = lines[:, :1] * x + lines[:, 1:] - y
    means: NDArray[Any] = np.square(errors).mean(axis=1)
    return means


def gallery(pictures: Mapping[str, NDArray[Any]], title: str = "") -> Figure:
    """Draw pictures side by side.

    Parameters
    ----------
    pictures : mapping of str to ndarray, shape (H, W), (H, W, 1) or (H, W, 3)
        Titles, and pictures of brightness from 0 to 1; what lies beyond is cut off.
    title : str, optional
        Above them all.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    columns = 4 if len(pictures) > 6 else square(len(pictures))
    rows = -(-len(pictures) // columns)
    height = 3.0 * max(picture.shape[0] / picture.shape[1] for picture in pictures.values()) + 0.4
    figure = new_figure(3.0 * columns, height * rows + 0.4)
    figure.suptitle(title)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(pictures) :]:
        axes.set_axis_off()
    for axes, (name, picture) in zip(panels, pictures.items(), strict=False):
        show_picture(axes, np.clip(picture, 0, 1))
        axes.set_title(name)
    return figure


def save_animation(animation: FuncAnimation, path: str | os.PathLike[str]) -> None:
    """Write an animation as a GIF that replaces `path` whole, and rests on its last frame."""
    image_module = require("PIL.Image", "writing animations")
    sequence = require("PIL.ImageSequence", "writing animations")
    writer = require("matplotlib.animation", "writing animations").PillowWriter()
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "animation.gif"
        animation.save(draft, writer=writer, dpi=72)
        with image_module.open(draft) as film:
            frames = [frame.convert("RGB") for frame in sequence.Iterator(film)]
    # One palette and no dithering: what does not move stays the same to the bit, and takes no room in the file.
    palette = frames[-1].quantize(_COLOURS)
    first, *others = (frame.quantize(palette=palette, dither=image_module.Dither.NONE) for frame in frames)
    times = [_FRAME] * len(others) + [_LAST_FRAME]
    with replacing(path) as file:
        first.save(file, format="GIF", save_all=True, append_images=others, duration=times, loop=0)
