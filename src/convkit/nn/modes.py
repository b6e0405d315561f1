"""The mode of a network, training or evaluation, changed for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .module import Module


@contextmanager
def modes_kept(model: Module) -> Iterator[None]:
    """Put every module, at the end of the block, back into the mode that it was in: frozen parts stay frozen."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Put a network into evaluation mode, and at the end of the block every module back into the mode it was in."""
    with modes_kept(model):
        model.eval()
        yield
