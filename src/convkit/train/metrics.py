"""What is measured while training: loss and accuracy of each epoch, and which classes are taken for which."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._files import replacing


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch came to.

    Parameters
    ----------
    epoch : int
        From 1.
    train_loss, train_accuracy : float
        Mean loss, and share of images classified right, from 0 to 1, over the epoch's batches while training.
    test_loss, test_accuracy : float or None
        The same over the test set after the epoch; None without a test set.
    seconds : float
        Time that the epoch took, testing included.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class BatchMetrics:
    """What one batch came to.

    Parameters
    ----------
    epoch, batch : int
        From 1; batches are counted within the epoch.
    loss : float
        Mean loss of the batch, before the step that it led to.
    """

    epoch: int
    batch: int
    loss: float


class Score:
    """Loss, accuracy and confusion over any number of batches.

    Attributes
    ----------
    confusion : ndarray of int64, shape (K, K)
        How often each class was taken for each; row: the right class, column: the predicted one.

    Examples
    --------
    >>> import numpy as np
    >>> score = Score()
    >>> score.add(0.5, np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
    >>> score.loss, score.accuracy
    (0.5, 0.5)
    >>> score.confusion
    array([[1, 1],
           [0, 0]])
    >>> score.recall, score.balanced_accuracy
    (array([0.5, nan]), 0.5)
    """

    def __init__(self) -> None:
        # The first batch tells K: adding it makes (1, 1) into (K, K).
        self.confusion: NDArray[np.int64] = np.zeros((1, 1), np.int64)
        self._total_loss = 0.0

    def add(self, loss: float, outputs: NDArray[Any], labels: NDArray[np.int64]) -> None:
        """Count a batch.

        Parameters
        ----------
        loss : float
            Mean loss of the batch.
        outputs : ndarray, shape (N, K)
            What the network says of each class; the largest is its answer.
        labels : ndarray of int64, shape (N,)
            The right classes.
        """
        classes = outputs.shape[1]
        pairs = np.bincount(labels * classes + outputs.argmax(axis=1), minlength=classes**2)
        self.confusion = self.confusion + pairs.reshape(classes, classes)
        self._total_loss += loss * len(labels)

    @property
    def count(self) -> int:
        """Number of images so far."""
        return int(self.confusion.sum())

    @property
    def loss(self) -> float:
        """Mean over all images; NaN without any."""
        return self._total_loss / self.count if self.count else math.nan

    @property
    def accuracy(self) -> float:
        """Share of images classified right, from 0 to 1; NaN without any."""
        return int(self.confusion.trace()) / self.count if self.count else math.nan

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of each class's images classified right, shape (K,), from 0 to 1; NaN where there are none."""
        counts = self.confusion.sum(axis=1)
        return np.where(counts > 0, self.confusion.diagonal() / np.maximum(counts, 1), math.nan)

    @property
    def balanced_accuracy(self) -> float:
        """Mean `recall` of the classes that have images: each counts the same, however rare; NaN without any."""
        recall = self.recall[~np.isnan(self.recall)]
        return float(recall.mean()) if len(recall) else math.nan

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, accuracy {self.accuracy:.2%}"


def write_csv(path: str | os.PathLike[str], history: Sequence[EpochMetrics]) -> None:
    """Write one row an epoch, under a row of names; a measure that is None is an empty cell."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(field.name for field in fields(EpochMetrics))
    for metrics in history:
        rows.writerow(f"{value:.6g}" if isinstance(value, float) else value for value in astuple(metrics))
    with replacing(path) as file:
        file.write(text.getvalue().encode())
