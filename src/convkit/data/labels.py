"""The labels of a data set: reading them all, checking them, and weighing classes by how rare they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from .dataset import Dataset


def labels_of(dataset: Dataset) -> NDArray[np.int64]:
    """Return the labels of all items: its ``targets`` if it has them, else the last field of each item.

    Parameters
    ----------
    dataset : Dataset
        Items are read one by one where it has no ``targets``.

    Returns
    -------
    ndarray of int64, shape (N,)
        The labels.

    Raises
    ------
    ValueError
        If labels are not whole numbers, one an item.

    Examples
    --------
    >>> from convkit.data import TensorDataset
    >>> labels_of(TensorDataset([[0.5], [0.25]], [3, 1]))
    array([3, 1])
    """
    targets = getattr(dataset, "targets", None)
    if targets is None:
        targets = [dataset[index][-1] for index in range(len(dataset))]
    labels = np.asarray(targets)
    if labels.shape != (len(dataset),) or not (labels.dtype.kind in "iu" or labels.size == 0):
        raise ValueError(
            f"labels_of: {len(dataset)} items need whole numbers of shape ({len(dataset)},) as labels, "
            f"got {labels.dtype} {labels.shape}"
        )
    return labels.astype(np.int64)


def class_weights(targets: npt.ArrayLike, num_classes: int | None = None) -> NDArray[np.float32]:
    """Weigh classes so that each counts the same in all, however rare it is.

    Parameters
    ----------
    targets : array_like of int, shape (N,)
        The labels of a training set.
    num_classes : int, optional
        Number of classes K; one more than the largest label if not given.

    Returns
    -------
    ndarray of float32, shape (K,)
        The weight of each class, for `convkit.nn.CrossEntropyLoss`; the mean over all labels is 1. A class without
        any image has weight 0. ``class_weights(targets)[targets]`` are the weights for `WeightedRandomSampler`.

    Raises
    ------
    ValueError
        If there are no labels, or one is no class.

    Notes
    -----
    ``w[c] = N / (K n[c])``, with ``n[c]`` of N labels in class c, and K counting only classes that have labels: what
    scikit-learn calls balanced.

    Examples
    --------
    >>> class_weights([0, 0, 0, 1])
    array([0.6666667, 2.       ], dtype=float32)
    """
    labels = np.asarray(targets)
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise ValueError(f"class_weights: targets must be one or more labels, got {labels.dtype} {labels.shape}")
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    check_labels("class_weights", labels, classes)
    counts = np.bincount(labels, minlength=classes)
    present = counts > 0
    return np.where(present, len(labels) / (present.sum() * np.maximum(counts, 1)), 0).astype(np.float32)


def check_labels(source: object, labels: NDArray[Any], num_classes: int) -> None:
    """Refuse labels that are not classes; `source` is where they come from, for the message."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise ValueError(
            f"{source}: labels must be from 0 to {num_classes - 1}, found {labels[wrong[0]]} at index {wrong[0]}"
        )
