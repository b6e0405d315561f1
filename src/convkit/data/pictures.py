"""Picture files as a network saw its training images: same channels, size, polarity and normalisation."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._extras import require
from .damage import naming
from .images import ImageSpec

Invert = Literal["auto", "yes", "no"]

_GREY_MODES = ("1", "L", "F")


def read_picture(
    path: str | os.PathLike[str], spec: ImageSpec, invert: Invert = "auto"
) -> tuple[NDArray[np.float32], bool]:
    """Read a picture file for a network.

    Parameters
    ----------
    path : path-like
        Any format that Pillow reads. It is turned as its camera says, laid on white where it is transparent, made
        grey or coloured, and resized.
    spec : ImageSpec
        How the network's training images looked.
    invert : {'auto', 'yes', 'no'}, default 'auto'
        Whether to swap light and dark. 'auto' does so if the training images have a dark background and the outermost
        pixels of the resized picture are, on average, lighter than middle grey: ink on paper becomes light on dark.

    Returns
    -------
    image : ndarray of float32, shape (C, H, W)
        Normalised.
    inverted : bool
        Whether light and dark were swapped.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If it is no picture, not a whole one, or one too large to be opened safely; the message names the file.
    """
    pixels = read_pixels(path, spec.channels, spec.image_size)
    inverted = invert == "yes" or (invert == "auto" and spec.dark_background and _border_mean(pixels) > 127.5)
    if inverted:
        pixels = 255 - pixels
    return spec.normalise(pixels.transpose(2, 0, 1), white=255), inverted


def read_pixels(
    path: str | os.PathLike[str], channels: int | None = None, image_size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Read the pixels of a picture file.

    Parameters
    ----------
    path : path-like
        Any format that Pillow reads. It is turned as its camera says, and laid on white where it is transparent.
    channels : int, optional
        1 for grey, 3 for red, green, blue; as the file has it if not given.
    image_size : tuple of int, optional
        Height and width to resize it to; as the file has it if not given.

    Returns
    -------
    ndarray of uint8, shape (H, W, C)
        From 0, black, to 255, white.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If it is no picture, not a whole one, or one too large to be opened safely; the message names the file.
    """
    image_module = require("PIL.Image", "reading pictures")
    turned = require("PIL.ImageOps", "reading pictures").exif_transpose
    errors = (SyntaxError, ValueError, image_module.DecompressionBombError)
    try:
        with naming(path, "cannot be read as a picture", *errors), image_module.open(path) as file:
            if image_size is not None:
                # A large JPEG is decoded at a half, a quarter or an eighth, while twice the size asked for is left.
                file.draft(None, (2 * max(image_size),) * 2)
            picture = _opaque(turned(file), image_module)
            if channels is None:
                channels = 1 if picture.mode in _GREY_MODES else 3
            picture = picture.convert("L" if channels == 1 else "RGB")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such picture") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{path}: is a folder, not a picture") from None
    if image_size is not None:
        # The mean of the area that a pixel covers, which is how the small images of data sets were made.
        picture = picture.resize(image_size[::-1], image_module.Resampling.BOX)
    return np.asarray(picture, np.uint8).reshape(picture.height, picture.width, channels)


def _opaque(picture: Any, image_module: Any) -> Any:
    """Lay a picture on white, and bring 16-bit grey, which Pillow would cut off at 255, down to 8 bits."""
    if picture.mode.startswith("I"):
        return image_module.fromarray((np.asarray(picture, np.uint32) >> 8).astype(np.uint8))
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture
    paper = image_module.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture.convert("RGBA"))
    return paper.convert("L") if picture.mode in ("1", "L", "LA", "La") else paper


def _border_mean(pixels: NDArray[np.uint8]) -> float:
    inside = np.zeros(pixels.shape[:2], bool)
    inside[1:-1, 1:-1] = True
    return float(pixels[~inside].mean())
