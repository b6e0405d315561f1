"""Which layer made a loss NaN or infinite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..autograd import Tensor, no_grad
from ..nn import Module
from ..nn.hooks import is_leaf, watched
from .trials import undone


def culprit(model: Module, images: NDArray[Any]) -> str:
    """Compute once more what gave a loss that is not finite, and tell where it began.

    Parameters
    ----------
    model : Module
        As it was when the loss was computed; left so.
    images : ndarray, shape (N, C, H, W)
        The batch.

    Returns
    -------
    str
        The first to give NaN or infinity (the images, a layer by its name, code between layers, or the loss), and
        what to do.
    """
    if not _finite(images):
        return "the images hold NaN or infinity"
    return f"{_first(model, images)}; try a smaller learning rate, or clip_grad_norm"


def _first(model: Module, images: NDArray[Any]) -> str:
    found: list[tuple[str, Module, bool]] = []

    def watch(name: str, module: Module, args: tuple[Any, ...], output: Any) -> None:
        if not found and not _finite(output):
            found.append((name, module, _finite(args)))

    with undone(model), no_grad(), watched(model.named_modules(), watch):
        model(Tensor(images))
    if not found:
        return "what every layer gives is finite, only the loss made of it is not"
    return _told(*found[0])


def _told(name: str, module: Module, inputs_are_finite: bool) -> str:
    # A layer is told with its options, a network of many by its class.
    where = f"layer {name}, " if name else ""
    who = f"{where}{module if is_leaf(module) else type(module).__name__}"
    if not inputs_are_finite:
        return f"NaN or infinity first came out of what is computed before {who}"
    spoiled = [key for key, parameter in module.named_parameters() if not _finite(parameter)]
    reason = f" (an earlier step put them into its {', '.join(spoiled)})" if spoiled else ""
    return f"{who}, was the first to give NaN or infinity{reason}"


def _finite(values: Any) -> bool:
    if isinstance(values, tuple | list):
        return all(_finite(value) for value in values)
    if isinstance(values, Tensor):
        values = values.data
    return not isinstance(values, np.ndarray) or bool(np.isfinite(values).all())
