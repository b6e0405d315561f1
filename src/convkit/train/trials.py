"""Computing with a network, and leaving no trace of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import _random
from .checkpoint import Stateful


@contextmanager
def undone(*parts: Stateful) -> Iterator[None]:
    """Put the states of `parts`, and the random numbers, back to where they were before the block.

    Parameters
    ----------
    *parts : Module, Optimizer, DataLoader
        What the block changes; it may also end by an error or Ctrl-C.
    """
    before = [(part, part.state_dict()) for part in parts]
    random = _random.get_rng_state()
    try:
        yield
    finally:
        for part, state in before:
            part.load_state_dict(state)
        _random.set_rng_state(random)
