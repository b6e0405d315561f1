"""What all figures share: how they are made, how they look, how they are saved."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..._extras import require
from ..._files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito's palette; the line style tells them apart on paper without colour.
FIRST: dict[str, Any] = {"color": "#0072B2", "linestyle": "--"}
SECOND: dict[str, Any] = {"color": "#D55E00", "linestyle": "-"}

#: Grey between pictures, since white and black are colours that a picture can have.
BETWEEN = 0.75


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of so many inches."""
    # The constrained layout makes room for every label, so nothing is cut off.
    module = require("matplotlib.figure", "drawing figures")
    figure: Figure = module.Figure(figsize=(width, height), layout="constrained")
    inches = 0.1
    figure.get_layout_engine().set(w_pad=inches, h_pad=inches)  # type: ignore[union-attr, call-arg]
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG that replaces `path` whole."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)


def bare(axes: Axes) -> None:
    """Take ticks and frame away from a picture."""
    axes.set(xticks=[], yticks=[], facecolor=str(BETWEEN))
    axes.spines[:].set_visible(False)


def show_picture(axes: Axes, picture: NDArray[Any]) -> None:
    """Show a picture (H, W), (H, W, 1) or (H, W, 3) of brightness from 0 to 1."""
    grey = picture.ndim == 2 or picture.shape[2] == 1
    axes.imshow(picture.reshape(picture.shape[:2]) if grey else picture, cmap="gray", vmin=0, vmax=1)
    bare(axes)


def many(count: int, noun: str) -> str:
    """Count things."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
