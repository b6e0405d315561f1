"""How long the gradients of recorded operations take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .tape import Node


def next_number() -> int:
    """Return a number above those of all nodes that are recorded already, and below those of all to come."""
    return next(Node._numbers)


@contextmanager
def gradients_watched(tell: Callable[[int, float], None]) -> Iterator[None]:
    """Call ``tell(number, seconds)``, until the end of the block, when a node has computed its gradients."""
    nodes: Any = Node  # for a while, the class has another method
    compute = nodes.gradients

    def timed(node: Node, incoming: Any) -> Any:
        start = time.perf_counter()
        gradients = compute(node, incoming)
        tell(node.number, time.perf_counter() - start)
        return gradients

    nodes.gradients = timed
    try:
        yield
    finally:
        nodes.gradients = compute
