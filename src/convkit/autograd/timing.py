"""When the tape's nodes were recorded, and how long each takes to compute its gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .tape import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .tape import Array
    from .tensors import Tensor


def next_number() -> int:
    """Return a number above those of all nodes that are recorded already, and below those of all to come."""
    return next(Node._numbers)


def nodes_behind(tensor: Tensor) -> Iterator[Node]:
    """Yield each node that a backward from `tensor` will pass."""
    found = {tensor._grad_fn} if tensor._grad_fn is not None else set()
    waiting = list(found)
    while waiting:
        node = waiting.pop()
        yield node
        news = {target for target in node.targets if isinstance(target, Node)} - found
        found |= news
        waiting += news


def watch(node: Node, tell: Callable[[int, float], None]) -> None:
    """Call ``tell(number, seconds)`` when `node` has computed its gradients."""
    compute = node._gradients
    assert compute is not None

    def timed(incoming: Array) -> Sequence[Array]:
        start = time.perf_counter()
        gradients = compute(incoming)
        tell(node.number, time.perf_counter() - start)
        return gradients

    node._gradients = timed
