"""A trained network in one file, with all that it takes to use it."""

from __future__ import annotations

import os

from .. import models
from ..data import ImageSpec
from ..nn import Module
from .tensor_file import read_tensors, write_tensors


def save_model(path: str | os.PathLike[str], model: Module, images: ImageSpec) -> None:
    """Save a network, and what it must know of its images.

    Parameters
    ----------
    path : path-like
        The file, usually ``*.safetensors``; replaced whole.
    model : Module
        A network made by `convkit.models`, which knows its own `config`.
    images : ImageSpec
        How the images it was trained on look: the names of the classes, sizes, normalisation.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    TypeError
        If the network does not know how to rebuild itself.

    Notes
    -----
    Equal networks make equal files, to the bit: nothing of when or where they were made is in them.

    See Also
    --------
    load_model : Read it again.
    """
    config = getattr(model, "config", None)
    if config is None:
        raise TypeError(f"save_model: model must be made by convkit.models, but {type(model).__name__} has no config")
    write_tensors(path, "model", model.state_dict(), {"model": config, "images": images.to_dict()})


def load_model(path: str | os.PathLike[str]) -> tuple[Module, ImageSpec]:
    """Load a network that `save_model` saved.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    model : Module
        The network, in evaluation mode.
    images : ImageSpec
        What it must know of its images.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If the file is broken, or its parts do not fit together; the message names the file.
    """
    arrays, about = read_tensors(path, "model")
    try:
        images = ImageSpec.from_dict(about["images"])
        model = models.create(**about["model"])
        model.load_state_dict(arrays)
    except KeyError as error:
        raise ValueError(f"{path}: its metadata lacks {error}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return model.eval(), images
