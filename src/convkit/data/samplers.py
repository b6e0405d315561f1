"""In which order a `DataLoader` takes items, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from .. import _random, _shapes


class Sampler(Protocol):
    """Decides the items of an epoch.

    A `DataLoader` calls ``order`` with a generator that its seed and the epoch decide, so that training which goes on
    from a checkpoint sees the batches it would have seen.
    """

    def __len__(self) -> int:
        """Return the number of items in an epoch."""
        ...

    def order(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Return the items of one epoch, shape (N,)."""
        ...


class SequentialSampler:
    """All items, one after the other.

    Parameters
    ----------
    data_source : sized
        The data set.

    Examples
    --------
    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def order(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Return 0, 1, 2, ...; nothing is drawn."""
        return np.arange(len(self))


class RandomSampler:
    """All items in random order, or some of them drawn with replacement.

    Parameters
    ----------
    data_source : sized
        The data set.
    replacement : bool, default False
        Whether an item can come again before all others have come.
    num_samples : int, optional
        Items in an epoch; as many as there are if not given.

    Raises
    ------
    TypeError, ValueError
        If `num_samples` is not a positive whole number, or more than there are, without replacement.

    Examples
    --------
    >>> sorted(RandomSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Any, replacement: bool = False, num_samples: int | None = None) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self.num_samples = num_samples
        if num_samples is not None:
            _check_samples("RandomSampler", num_samples, len(data_source), replacement)

    def __len__(self) -> int:
        return len(self.data_source) if self.num_samples is None else self.num_samples

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(_random.generator()).tolist())

    def order(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Draw the items of one epoch."""
        if self.replacement:
            return generator.integers(len(self.data_source), size=len(self))
        return generator.permutation(len(self.data_source))[: len(self)]


class WeightedRandomSampler:
    """Items drawn at random, each as likely as its weight says.

    Parameters
    ----------
    weights : array_like, shape (N,)
        One weight an item, of any sum.
    num_samples : int
        Items in an epoch.
    replacement : bool, default True
        Whether an item can come again.

    Raises
    ------
    TypeError, ValueError
        If weights are negative, not finite, or all zero, or `num_samples` is not a positive whole number, or more than
        there are items of some weight, without replacement.

    See Also
    --------
    class_weights : Weights that make every class as likely as every other.

    Examples
    --------
    >>> list(WeightedRandomSampler([0, 0, 1], num_samples=4))
    [2, 2, 2, 2]
    """

    def __init__(self, weights: npt.ArrayLike, num_samples: int, replacement: bool = True) -> None:
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not np.isfinite(self.weights).all() or (self.weights < 0).any():
            raise ValueError("WeightedRandomSampler: weights must be finite numbers in one row, none negative")
        if not self.weights.any():
            raise ValueError("WeightedRandomSampler: at least one of weights must be above 0")
        _check_samples("WeightedRandomSampler", num_samples, int(np.count_nonzero(self.weights)), replacement)
        self.num_samples = num_samples
        self.replacement = replacement

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(_random.generator()).tolist())

    def order(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Draw the items of one epoch."""
        # Divided by the largest first, so that the sum cannot overflow.
        shares = self.weights / self.weights.max()
        return generator.choice(len(shares), self.num_samples, self.replacement, shares / shares.sum())


def _check_samples(name: str, num_samples: int, available: int, replacement: bool) -> None:
    _shapes.integer(name, "num_samples", num_samples, 1)
    if not replacement and num_samples > available:
        raise ValueError(
            f"{name}: num_samples={num_samples} is more than the {available} items there are: set replacement=True"
        )
