"""Parts of data sets, and cutting a data set into parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from .. import _random
from .dataset import Array, Dataset, gatherer
from .labels import labels_of

if TYPE_CHECKING:
    Seed = int | np.random.Generator | None


class Subset:
    """Some items of a data set.

    Parameters
    ----------
    dataset : Dataset
        Where the items come from.
    indices : array_like of int, shape (N,)
        Which items, in this order.

    Attributes
    ----------
    dataset
        As given.
    indices : ndarray of int64, shape (N,)
        As given.
    targets : ndarray of int64, shape (N,)
        The labels of these items.

    Raises
    ------
    IndexError
        If there is no such item.
    ValueError
        If `indices` are not whole numbers in one row.

    Examples
    --------
    >>> from convkit.data import TensorDataset
    >>> subset = Subset(TensorDataset([0.5, 0.25, 0.125], [7, 8, 9]), [2, 0])
    >>> len(subset), subset.targets
    (2, array([9, 7]))
    """

    def __init__(self, dataset: Dataset, indices: npt.ArrayLike) -> None:
        self.dataset = dataset
        self.indices = _whole_numbers(indices)
        wrong = np.flatnonzero((self.indices < -len(dataset)) | (self.indices >= len(dataset)))
        if len(wrong):
            raise IndexError(f"Subset: there is no item {self.indices[wrong[0]]} in a data set of {len(dataset)}")
        self._gather = gatherer(dataset)

    @property
    def targets(self) -> NDArray[np.int64]:
        """The labels of these items."""
        return labels_of(self.dataset)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.dataset[int(self.indices[index])]

    def batch(self, indices: NDArray[np.int64]) -> tuple[Array, ...]:
        """Gather many items at once; `indices` count within this part."""
        return self._gather(self.indices[indices])


def random_split(dataset: Dataset, lengths: Sequence[float], generator: Seed = None) -> list[Subset]:
    """Cut a data set into parts at random.

    Parameters
    ----------
    dataset : Dataset
        What to cut.
    lengths : sequence of int or float
        How many items each part gets, adding up to all; or which share, adding up to 1: items left over by rounding
        down go one each to the first parts.
    generator : int or numpy.random.Generator, optional
        A seed, or what to draw from; convkit's own generator if not given.

    Returns
    -------
    list of Subset
        One for each length; no item is in two.

    Raises
    ------
    ValueError
        If `lengths` are negative, or do not add up.

    Examples
    --------
    >>> from convkit.data import Digits
    >>> [len(part) for part in random_split(Digits(), [0.8, 0.2], generator=0)]
    [1154, 288]
    """
    sizes = _sizes("random_split", len(dataset), lengths)
    return _cut(dataset, _drawn_from(generator).permutation(len(dataset)), sizes)


def stratified_split(dataset: Dataset, lengths: Sequence[float], generator: Seed = None) -> list[Subset]:
    """Cut a data set into parts at random, with the classes in the same proportions in all of them.

    Parameters
    ----------
    dataset : Dataset
        What to cut; its labels are its ``targets``, or the last field of its items.
    lengths : sequence of int or float
        As for `random_split`.
    generator : int or numpy.random.Generator, optional
        A seed, or what to draw from; convkit's own generator if not given.

    Returns
    -------
    list of Subset
        One for each length; no item is in two.

    Raises
    ------
    ValueError
        If `lengths` are negative, or do not add up, or labels are not whole numbers.

    Notes
    -----
    The n items of a class, in random order, get the places 1/2n, 3/2n, ... in a line from 0 to 1, on which all classes
    are laid over each other; then the line is cut. So the lengths are exact, and classes that can be shared out evenly
    are.

    Examples
    --------
    >>> from convkit.data import TensorDataset
    >>> letters = TensorDataset(np.arange(10), [0] * 8 + [1] * 2)
    >>> [part.targets.tolist() for part in stratified_split(letters, [0.5, 0.5], generator=0)]
    [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    """
    sizes = _sizes("stratified_split", len(dataset), lengths)
    labels = labels_of(dataset)
    random = _drawn_from(generator)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (random.permutation(len(members)) + 0.5) / len(members)
    return _cut(dataset, np.argsort(place, kind="stable"), sizes)


def _cut(dataset: Dataset, order: NDArray[np.int64], sizes: list[int]) -> list[Subset]:
    """Give each part its items in the order of the data set, so that files are read as they lie."""
    return [Subset(dataset, np.sort(part)) for part in np.split(order, np.cumsum(sizes)[:-1])]


def _sizes(name: str, count: int, lengths: Sequence[float]) -> list[int]:
    values = list(lengths)
    if not values or min(values) < 0:
        raise ValueError(f"{name}: lengths must be one or more numbers that are not negative, got {values}")
    if sum(values) == count and all(value == int(value) for value in values):
        return [int(value) for value in values]
    if abs(sum(values) - 1) > 1e-9:
        raise ValueError(f"{name}: lengths must add up to {count} items, or to 1 as shares, got {values}")
    sizes = [int(count * value) for value in values]
    for index in range(count - sum(sizes)):
        sizes[index % len(sizes)] += 1
    return sizes


def _drawn_from(generator: Seed) -> np.random.Generator:
    return _random.generator() if generator is None else np.random.default_rng(generator)


def _whole_numbers(indices: npt.ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(indices)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"Subset: indices must be whole numbers in one row, got {array.dtype} of {array.shape}")
    return array.astype(np.int64)
