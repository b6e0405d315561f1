"""Parameters that move together: their arrays as the kernels want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._dispatch import kernel
from .._memory import empty_like
from .._threads import get_num_threads
from ..ops._arrays import dense, need_memory, ordered_like

if TYPE_CHECKING:
    from .._shapes import Array

    State = dict[str, Any]


class Batch:
    """Parameters of one dtype, with their gradients and states, that one kernel call moves.

    The arrays of a parameter are dense, and all lie in its order. Nearly always they do so already; a parameter that
    has gaps is copied, and `hand_back` puts the result in its place.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []
        self.states: list[State] = []
        self._originals: list[Array] = []

    def add(self, name: str, original: Array, gradient: Array, state: State) -> None:
        """Take a parameter in, on behalf of optimizer `name`."""
        if gradient.shape != original.shape:
            raise ValueError(f"{name}: a gradient {gradient.shape} does not fit a parameter {original.shape}")
        if not original.flags.writeable:
            raise ValueError(f"{name}: a parameter {original.shape} is read-only")
        array = dense(original)
        self.parameters.append(array)
        self.gradients.append(_fitted(gradient, array))
        self.states.append(state)
        self._originals.append(original)

    def has(self, key: str) -> bool:
        """Tell whether the states have something under `key`; they are of one stage, so all do or none."""
        return key in self.states[0]

    def remembered(self, key: str) -> list[Array]:
        """Return what the states have under `key`: zeros, if there is nothing yet."""
        for state, parameter in zip(self.states, self.parameters, strict=True):
            if key not in state:
                state[key] = empty_like(parameter)
                state[key][...] = 0
            else:
                state[key] = _fitted(state[key], parameter)
        return [state[key] for state in self.states]

    def step(self, op: str, *lists: list[Array], **options: Any) -> None:
        """Call kernel `op`."""
        had = kernel(op, self.dtype).step(self.parameters, self.gradients, *lists, **options, threads=get_num_threads())
        need_memory(op, had)

    def hand_back(self) -> None:
        """Put what was computed in copies where it belongs."""
        for original, moved in zip(self._originals, self.parameters, strict=True):
            if moved is not original:
                original[...] = moved


def _fitted(array: Array, like: Array) -> Array:
    """Return `array`, or a copy, in the dtype and memory order of `like`."""
    return ordered_like(array if array.dtype == like.dtype else array.astype(like.dtype), like)
