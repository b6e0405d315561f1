"""What a data set is, and the plainest one: arrays of equal length."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Dataset(Protocol):
    """Anything with a length whose items are tuples, usually ``(image, label)``.

    An image is a float32 array of shape (C, H, W), a label an int. A data set that can gather many items at once
    also has ``batch(indices)``, which takes an int64 array of shape (N,) and returns a tuple of arrays whose first
    axis is N; `DataLoader` then uses it instead of collecting items one by one.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, ...]: ...


class TensorDataset:
    """A data set made of arrays whose first axes go together, for example images and labels.

    Parameters
    ----------
    *tensors : array_like
        One or more arrays of the same length N. They are not copied.

    Raises
    ------
    ValueError
        If no array is given, one has no axes, or the lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((3, 1, 8, 8), np.float32)
    >>> dataset = TensorDataset(images, [7, 8, 9])
    >>> len(dataset)
    3
    >>> image, label = dataset[1]
    >>> image.shape, int(label)
    ((1, 8, 8), 8)
    """

    tensors: tuple[Array, ...]

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset: needs at least one array")
        self.tensors = tuple(np.asarray(tensor) for tensor in tensors)
        shapes = [tensor.shape for tensor in self.tensors]
        if () in shapes or len({shape[0] for shape in shapes}) > 1:
            raise ValueError(f"TensorDataset: arrays must share the length of their first axis, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def batch(self, indices: NDArray[np.int64]) -> tuple[Array, ...]:
        """Gather the items at `indices` of every array at once."""
        return tuple(tensor[indices] for tensor in self.tensors)


def gatherer(dataset: Dataset) -> Callable[[NDArray[np.int64]], tuple[Array, ...]]:
    """Return what gathers many items of a data set at once: its own ``batch``, or `collate`."""
    return getattr(dataset, "batch", None) or partial(collate, dataset)


def collate(dataset: Dataset, indices: NDArray[np.int64]) -> tuple[Array, ...]:
    """Collect items one by one and stack them, field by field.

    Parameters
    ----------
    dataset : Dataset
        Where the items come from.
    indices : ndarray of int64, shape (N,)
        Which items, in this order.

    Returns
    -------
    tuple of ndarray
        One array for each field of an item; the first axis is N.

    Raises
    ------
    ValueError
        If the items do not all have the same fields and shapes.
    """
    items = [dataset[int(index)] for index in indices]
    layout = _layout(items[0])
    for index, item in zip(indices, items, strict=True):
        if _layout(item) != layout:
            raise ValueError(
                f"DataLoader: items of a batch must have the same shapes, but item {indices[0]} has {layout} "
                f"and item {index} has {_layout(item)}"
            )
    return tuple(np.stack(field) for field in zip(*items, strict=True))


def _layout(item: tuple[Any, ...]) -> list[tuple[int, ...]]:
    return [np.shape(field) for field in item]
