"""How far training is, on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from .._extras import require
from .metrics import EpochMetrics

Item = TypeVar("Item")


class WithBar(Generic[Item]):
    """Batches that show a bar on standard error while they pass, if that is a terminal.

    Parameters
    ----------
    batches : iterable
        What passes; its length is the length of the bar.
    title : str
        What the bar is about.
    status : object
        Its ``str`` stands behind the bar, and is asked for anew after each batch.

    Raises
    ------
    ImportError
        If tqdm is not installed.
    """

    def __init__(self, batches: Iterable[Item], title: str, status: object = "") -> None:
        self._tqdm = require("tqdm", "the progress bar").tqdm
        self._batches = batches
        self._title = title
        self._status = status

    # A loop owns this generator, and nothing else does: leaving the loop closes the bar, and what is under it.
    def __iter__(self) -> Iterator[Item]:
        options = {"desc": self._title, "unit": "batch", "leave": False, "disable": None, "dynamic_ncols": True}
        with self._tqdm(self._batches, **options) as bar:
            for batch in bar:
                yield batch
                bar.set_postfix_str(str(self._status), refresh=False)


def summary(metrics: EpochMetrics, epochs: int) -> str:
    """Put an epoch into one line.

    Examples
    --------
    >>> summary(EpochMetrics(3, 0.25, 0.925, 0.5, 0.875, 1.23), epochs=20)
    'epoch  3/20  loss 0.2500  accuracy 92.50%  test loss 0.5000  test accuracy 87.50%  1.2 s'
    """
    parts = [
        f"epoch {metrics.epoch:>{len(str(epochs))}}/{epochs}",
        f"loss {metrics.train_loss:.4f}",
        f"accuracy {metrics.train_accuracy:.2%}",
    ]
    if metrics.test_loss is not None and metrics.test_accuracy is not None:
        parts += [f"test loss {metrics.test_loss:.4f}", f"test accuracy {metrics.test_accuracy:.2%}"]
    return "  ".join([*parts, f"{metrics.seconds:.1f} s"])
