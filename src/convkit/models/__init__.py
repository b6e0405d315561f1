"""Networks, ready to train: by name, or as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .convnet import convnet
from .lenet5 import lenet5
from .mobilenet import mobilenet_v2
from .resnet import resnet18, resnet20
from .vgg import vgg

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..nn import Module

__all__ = ["convnet", "create", "lenet5", "mobilenet_v2", "names", "resnet18", "resnet20", "vgg"]

_MODELS: dict[str, Callable[..., Module]] = {
    "convnet": convnet,
    "lenet5": lenet5,
    "mobilenet_v2": mobilenet_v2,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "vgg": vgg,
}


def names() -> list[str]:
    """Return the names of all networks."""
    return sorted(_MODELS)


def create(name: str, **kwargs: Any) -> Module:
    """Make a network by its name.

    Parameters
    ----------
    name : str
        One of `names`.
    **kwargs
        Its arguments.

    Returns
    -------
    Module
        Its ``config`` is a dictionary that JSON can hold, and ``create(**config)`` makes the same network again, with
        new weights.

    Raises
    ------
    ValueError
        If there is no network of this name.
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> from convkit import models
    >>> model = models.create("convnet", image_size=(8, 8))
    >>> model.config
    {'name': 'convnet', 'num_classes': 10, 'in_channels': 1, 'image_size': [8, 8]}
    """
    if name not in names():
        raise ValueError(f"create: name={name!r} must be one of {', '.join(names())}")
    return _MODELS[name](**kwargs)
