"""DataLoader: the epochs of a data set as batches, in an order that a seed decides."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _random
from .dataset import Dataset, collate
from .prefetch import prefetched

Batch = tuple[NDArray[Any], ...]


class DataLoader:
    """Iterate over a data set in batches, prepared in the background.

    Each ``for`` loop over the loader is one epoch.

    Parameters
    ----------
    dataset : Dataset
        Where the items come from; see `Dataset` for how it can gather batches at once.
    batch_size : int, default 1
        Items in a batch; the last one of an epoch may have fewer.
    shuffle : bool, default False
        Whether each epoch has a new random order.
    drop_last : bool, default False
        Whether to leave out a last batch that has fewer items.
    seed : int, optional
        Decides the order of every epoch. Without it, one is drawn from convkit's generator, so that
        `convkit.manual_seed` decides.
    prefetch : int, default 2
        Batches prepared ahead by a background thread; 0 prepares each batch when it is asked for.

    Attributes
    ----------
    epoch : int
        How many epochs have been begun. Set it to go back, or on, to another one.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or too small.

    Notes
    -----
    The order of epoch *e* depends on `seed` and *e* alone, never on what came before, so training that goes on from
    a checkpoint sees the batches it would have seen.

    Examples
    --------
    >>> from convkit.data import Digits
    >>> loader = DataLoader(Digits(train=True), batch_size=100, shuffle=True, seed=0)
    >>> len(loader)
    15
    >>> for images, labels in loader:
    ...     break
    >>> images.shape, images.dtype.name, labels.shape, labels.dtype.name
    ((100, 1, 8, 8), 'float32', (100,), 'int64')
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        prefetch: int = 2,
    ) -> None:
        self.dataset = dataset
        self.batch_size = _at_least(1, "batch_size", batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = int(_random.generator().integers(2**63)) if seed is None else _at_least(0, "seed", seed)
        self.prefetch = _at_least(0, "prefetch", prefetch)
        self.epoch = 0
        self._load = getattr(dataset, "batch", None) or partial(collate, dataset)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def __iter__(self) -> Iterator[Batch]:
        order = self._order(self.epoch)
        self.epoch += 1
        cuts = [order[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self))]
        return prefetched(self._load, cuts, self.prefetch) if self.prefetch else (self._load(cut) for cut in cuts)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))

    def state_dict(self) -> dict[str, int]:
        """Return what decides the orders to come."""
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on as the loader would have from which `state` was taken."""
        self.seed = _at_least(0, "seed", state["seed"])
        self.epoch = _at_least(0, "epoch", state["epoch"])


def _at_least(least: int, name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"DataLoader: {name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"DataLoader: {name} must be at least {least}, got {number}")
    return number
