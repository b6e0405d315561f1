"""Errors that say which layer they come from, and what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .module import Module


class _Origin:
    """Where in a network an error arose, known a little better at each module that it passes on its way out."""

    def __init__(self, message: str, layer: Module) -> None:
        self.message = message
        self.layer = layer
        self.path = ""
        self.passed = layer

    def pass_through(self, module: Module) -> None:
        for name, child in module.named_children():
            if child is self.passed:
                self.path = f"{name}.{self.path}" if self.path else name
        self.passed = module

    def __str__(self) -> str:
        where = f"layer {self.path}, " if self.path else ""
        return f"{self.message}; this is {where}{self.layer}, which takes {self.layer.takes()}"


def name_layer(error: TypeError | ValueError, module: Module) -> None:
    """Add to the message of `error`, which left `module`, the layer it comes from and the input that would fit.

    Each module on the way calls this: the innermost is the layer, the others each know the next part of its path.
    Only modules that say what they take are named, so an error in somebody's own ``forward`` stays as it is.
    """
    origin = getattr(error, "_convkit_origin", None)
    if origin is not None:
        origin.pass_through(module)
    elif module.takes():
        origin = error._convkit_origin = _Origin(str(error), module)  # type: ignore[union-attr]
    if origin is not None:
        error.args = (str(origin),)
