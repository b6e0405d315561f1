"""DataLoader: the epochs of a data set as batches, in an order that a seed decides."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _random
from .dataset import Dataset, gatherer
from .prefetch import prefetched
from .samplers import RandomSampler, Sampler, SequentialSampler

if TYPE_CHECKING:
    from .transforms import Transform

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
    sampler : Sampler, optional
        Decides the items of an epoch and their order, in place of `shuffle`: for example a `WeightedRandomSampler`.
    transform : callable, optional
        What becomes of the images, the first field of a batch: for example `transforms.RandomCrop`. Called in the
        background thread with the array and a generator of random numbers.
    num_workers : int, default 1
        Background threads, of use up to `prefetch`; 0 prepares each batch when it is asked for. With more than one, the
        data set is asked from several threads at once.

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
    The order of epoch *e* depends on `seed` and *e* alone, and what is random in a transform on these and the number of
    the batch: never on what came before or on threads. So training that goes on from a checkpoint sees the batches,
    to the bit, that it would have seen.

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
        sampler: Sampler | None = None,
        transform: Transform | None = None,
        num_workers: int = 1,
    ) -> None:
        self.dataset = dataset
        self.batch_size = _at_least(1, "batch_size", batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = int(_random.generator().integers(2**63)) if seed is None else _at_least(0, "seed", seed)
        self.prefetch = _at_least(0, "prefetch", prefetch)
        self.num_workers = _at_least(0, "num_workers", num_workers)
        self.sampler = _checked(sampler, shuffle)
        self.transform = transform
        self.epoch = 0
        self._gather = gatherer(dataset)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(len(self._items()), self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        self.epoch += 1
        order = self._items().order(np.random.default_rng([self.seed, epoch]))

        def load(number: int) -> Batch:
            return self._load(order[number * self.batch_size : (number + 1) * self.batch_size], epoch, number)

        numbers = range(len(self))
        if self.prefetch and self.num_workers:
            return prefetched(load, numbers, self.prefetch, self.num_workers)
        return (load(number) for number in numbers)

    def _items(self) -> Sampler:
        if self.sampler is not None:
            return self.sampler
        return RandomSampler(self.dataset) if self.shuffle else SequentialSampler(self.dataset)

    def _load(self, indices: NDArray[np.int64], epoch: int, number: int) -> Batch:
        batch = self._gather(indices)
        if self.transform is None:
            return batch
        # A branch of its own for each batch, apart from the one that decides the order.
        branch = np.random.SeedSequence([self.seed, epoch], spawn_key=(number,))
        return self.transform(batch[0], np.random.default_rng(branch)), *batch[1:]

    def state_dict(self) -> dict[str, int]:
        """Return what decides the orders to come."""
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on as the loader would have from which `state` was taken."""
        self.seed = _at_least(0, "seed", state["seed"])
        self.epoch = _at_least(0, "epoch", state["epoch"])


def _checked(sampler: Sampler | None, shuffle: bool) -> Sampler | None:
    if sampler is not None and not hasattr(sampler, "order"):
        raise TypeError(f"DataLoader: sampler must have a method order(generator), got {type(sampler).__name__}")
    if sampler is not None and shuffle:
        raise ValueError("DataLoader: sampler decides the order, so shuffle must be False")
    return sampler


def _at_least(least: int, name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"DataLoader: {name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"DataLoader: {name} must be at least {least}, got {number}")
    return number
