"""Where the time of a training step goes, layer by layer."""

from __future__ import annotations

import math
import statistics
import time
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..autograd import Tensor
from ..autograd.timing import gradients_watched, next_number
from ..nn import Module, Parameter
from ..nn._geometry import multiply_adds
from ..nn.hooks import is_leaf
from .machine import LEAST_CALLS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..optim import Optimizer

#: Names of what is no layer. No layer can have them, for a space is in them.
LOSS, OPTIMIZER, REST = "the loss", "the optimizer", "between layers"


@dataclass(frozen=True)
class Work:
    """What a layer must do at least, in one pass.

    Parameters
    ----------
    operations : int
        Multiplications with weights, and their additions.
    traffic : int
        Bytes of what it reads and writes, each once.
    """

    operations: int = 0
    traffic: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.traffic + other.traffic)

    def least_seconds(self, peak: float, bandwidth: float) -> float:
        """Return the time that a machine needs which computes or moves data without a pause: the roofline."""
        return max(self.operations / peak, self.traffic / bandwidth)


@dataclass(frozen=True)
class LayerTime:
    """One row: a layer, what a module computes beside its layers, or one of the names above.

    Parameters
    ----------
    name : str
        Its path in the network.
    kind : str
        Its class.
    forward, backward : float
        Seconds; the optimizer's are in `forward`. Work that is put off until another layer reads the result counts
        where it is done.
    forward_work, backward_work : Work
        What it must do at least.
    """

    name: str
    kind: str
    forward: float
    backward: float
    forward_work: Work = Work()
    backward_work: Work = Work()

    @property
    def seconds(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward

    @property
    def operations(self) -> int:
        """Forward and backward."""
        return self.forward_work.operations + self.backward_work.operations

    def least_seconds(self, peak: float, bandwidth: float) -> float:
        """Return what the roofline allows for both passes."""
        return sum(work.least_seconds(peak, bandwidth) for work in (self.forward_work, self.backward_work))


def layer_times(
    model: Module,
    loss_fn: Module,
    optimizer: Optimizer,
    images: NDArray[Any],
    labels: NDArray[Any],
    seconds: float = 1.0,
) -> list[LayerTime]:
    """Train for some steps on one batch, and tell how long each layer takes.

    Parameters
    ----------
    model : Module
        The network; a `Sequential` or a class with a ``forward``. It is changed by the steps.
    loss_fn : Module
        Mean loss from outputs and labels.
    optimizer : Optimizer
        Made for the network's parameters.
    images : ndarray, shape (N, C, H, W)
        The batch.
    labels : ndarray, shape (N,)
        Its classes.
    seconds : float, default 1.0
        How long to train; three steps at the least.

    Returns
    -------
    list of LayerTime
        In the order of their first call; then the loss, the optimizer, and what is left: Python, the tape, which adds
        up gradients that come by several ways, and the stopwatch, which takes a few microseconds a layer. Each time is
        the median of the steps.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn, optim
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> images, labels = np.ones((3, 1, 2, 2), np.float32), np.zeros(3, np.int64)
    >>> rows = layer_times(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), images, labels, 0.0)
    >>> [row.name for row in rows]
    ['0', '1', 'the loss', 'the optimizer', 'between layers']
    >>> rows[1].forward_work.operations
    48
    """
    watched = {**dict(model.named_modules()), LOSS: loss_fn}
    steps: list[_Step] = []
    started = time.perf_counter()
    while len(steps) < LEAST_CALLS + 1 or time.perf_counter() - started < seconds:
        step = _Step()
        with step.watching(watched):
            start = time.perf_counter()
            loss = loss_fn(model(Tensor(images)), labels)
            optimizer.zero_grad()
            backward = time.perf_counter()
            loss.backward()
            update = time.perf_counter()
            optimizer.step()
            end = time.perf_counter()
        step.add_rest(backward - start, update - backward)
        step.forward[OPTIMIZER] = end - update
        steps.append(step)
    return _rows(steps[1:], watched)  # without the one that warmed up


class _Step:
    """One step: who was at work, when, and for how long."""

    def __init__(self) -> None:
        self.forward: dict[str, float] = defaultdict(float)
        self.backward: dict[str, float] = defaultdict(float)
        self.works: dict[str, list[Work]] = {}
        self._running = [REST]
        self._inside = [0.0]  # of each that is running: seconds that its parts took
        self._turns: list[int] = []  # numbers of nodes, in rising order, ...
        self.owners: list[str] = []  # ... and who has recorded from there on

    @contextmanager
    def watching(self, modules: dict[str, Module]) -> Iterator[None]:
        """Time the `forward` of all modules, and the gradients of what they record, until the end of the block."""
        # Not hooks: these come after a layer alone, and would read what it may leave to the next to compute.
        originals = [(module, vars(module).get("forward")) for module in modules.values()]
        try:
            for name, module in modules.items():
                module.forward = partial(self._timed, name, module, module.forward)
            with gradients_watched(self._add_backward):
                yield
        finally:
            for module, original in originals:
                del module.forward
                if original is not None:
                    module.forward = original

    def _timed(self, name: str, module: Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
        self._turn(name)
        self._running.append(name)
        self._inside.append(0.0)
        start = time.perf_counter()
        output = forward(*args, **kwargs)
        elapsed = time.perf_counter() - start
        self._running.pop()
        self._turn(self._running[-1])
        self.forward[name] += elapsed - self._inside.pop()
        self._inside[-1] += elapsed
        if is_leaf(module) and name not in self.works and name != LOSS and isinstance(output, Tensor):
            self.works[name] = _works(module, args[0], output)
        return output

    def _turn(self, name: str) -> None:
        self._turns.append(next_number())
        self.owners.append(name)

    def _add_backward(self, number: int, seconds: float) -> None:
        self.backward[self.owners[bisect(self._turns, number) - 1]] += seconds

    def add_rest(self, forward: float, backward: float) -> None:
        """Tell how long both passes took as a whole."""
        self.forward[REST] = forward - sum(self.forward.values())
        self.backward[REST] = backward - sum(self.backward.values())


def _works(layer: Module, input: Any, output: Tensor) -> list[Work]:
    """Return what a layer must do, forward and backward."""
    own = sum(value.data.nbytes for value in vars(layer).values() if isinstance(value, Parameter))
    # Their shapes alone: values may not have been computed yet.
    read, written = (math.prod(x.shape) * x.dtype.itemsize for x in (input, output))
    operations = 2 * multiply_adds(layer, input.shape, output.shape)
    gradients = isinstance(input, Tensor) and input.requires_grad
    learned = any(isinstance(value, Parameter) for value in vars(layer).values())
    if not (gradients or learned):
        return [Work(operations, read + own + written), Work()]
    backward = Work(operations * (gradients + learned), written + read + read * gradients + own * 2)
    return [Work(operations, read + own + written), backward]


def _rows(steps: Sequence[_Step], modules: dict[str, Module]) -> list[LayerTime]:
    rows = []
    layers = [name for name in steps[0].owners if name in modules and name != LOSS]
    for name in dict.fromkeys([*layers, LOSS, OPTIMIZER, REST]):
        forward = statistics.median(step.forward[name] for step in steps)
        backward = statistics.median(step.backward[name] for step in steps)
        if name not in layers:
            rows.append(LayerTime(name, "", forward, backward))
        elif is_leaf(modules[name]) or backward:  # a container that computes nothing has only its calls
            works = steps[0].works.get(name, ())
            rows.append(LayerTime(name, type(modules[name]).__name__, forward, backward, *works))
    return rows
