"""The one source of random numbers: initial weights, dropout masks and, by default, shuffling draw from it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_generator: np.random.Generator | None = None
_lock = threading.Lock()


def generator() -> np.random.Generator:
    """Return the generator that everything in convkit draws from.

    It starts from the operating system's entropy and is always the same object, so a reference that was kept
    follows later calls of `manual_seed`.
    """
    global _generator
    if _generator is None:
        # numpy.random is a noticeable part of NumPy's own import time, so the first draw pays for it.
        from numpy.random import PCG64, Generator

        with _lock:
            if _generator is None:
                _generator = Generator(PCG64())
    return _generator


def manual_seed(seed: int) -> np.random.Generator:
    """Start convkit's random numbers anew from `seed`.

    Parameters
    ----------
    seed : int
        At least 0, of any size.

    Returns
    -------
    numpy.random.Generator
        The generator that convkit draws from.

    Raises
    ------
    TypeError, ValueError
        If `seed` is not an integer, or negative.

    Examples
    --------
    >>> import convkit as ck
    >>> first = ck.manual_seed(0).random()
    >>> ck.manual_seed(0).random() == first
    True
    """
    from numpy.random import PCG64

    try:
        seed = seed.__index__()
    except AttributeError:
        raise TypeError(f"manual_seed: seed must be an integer, got {seed!r}") from None
    if seed < 0:
        raise ValueError(f"manual_seed: seed must be at least 0, got {seed}")
    random = generator()
    random.bit_generator.state = PCG64(seed).state
    return random


def get_rng_state() -> dict[str, Any]:
    """Return the generator's state: a dictionary of strings and integers, which JSON can hold."""
    return dict(generator().bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Go back to a state that `get_rng_state` returned.

    Parameters
    ----------
    state : dict
        What `get_rng_state` returned, possibly after a trip through JSON.

    Raises
    ------
    ValueError
        If `state` is not the state of this generator; the generator is then left as it was.
    """
    from numpy.random import PCG64

    checked = PCG64(0)
    try:
        checked.state = state  # type: ignore[assignment]
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"set_rng_state: state is not one that get_rng_state returned: {error!r}") from None
    generator().bit_generator.state = checked.state
