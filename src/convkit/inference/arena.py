"""Where values lie while a program runs: in one arena, whose places are used again and again."""

from __future__ import annotations

import math
from typing import NamedTuple

from .graph import INPUT, Graph, Node

#: Places begin at multiples of so many elements: a cache line or two.
_ALIGNMENT = 16

#: Memories of a program, as in program.pyx.
X, OUT, ARENA = 0, 1, 2


class Place(NamedTuple):
    """Where a value begins."""

    memory: int
    offset: int  # in elements


class Arena(NamedTuple):
    """Places of all values of a graph."""

    places: dict[int, Place]
    size: int  # in elements


def place_values(graph: Graph, images: int) -> Arena:
    """Give each value a place that no other one has while it is needed.

    Parameters
    ----------
    graph : Graph
        In the order in which it will run.
    images : int
        How many at a time.

    Returns
    -------
    Arena
        The network's input and output lie outside of it.

    Notes
    -----
    Values come in the order of the program, each at the lowest place that is free from when it is made until it was
    read for the last time. An activation that reads a value for the last time writes over it. What a convolution reads
    is needed until its output is pooled, where both are done together.
    """
    last = _last_reads(graph)
    places = {INPUT: Place(X, 0), graph.output: Place(OUT, 0)}
    taken: dict[int, tuple[int, int]] = {}  # where each value that is still needed begins and ends
    size = 0
    for index, node in enumerate(graph.nodes):
        if node.output not in places:
            start = _over(node, index, last, taken)
            if start is None:
                start = _lowest(sorted(taken.values()), images * math.prod(node.shape))
            taken[node.output] = (start, start + images * math.prod(node.shape))
            places[node.output] = Place(ARENA, start)
            size = max(size, _aligned(taken[node.output][1]))
        taken = {value: where for value, where in taken.items() if last.get(value, index) > index}
    return Arena(places, size)


def _last_reads(graph: Graph) -> dict[int, int]:
    """Return the index of the last operation that needs each value."""
    last: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        for value in node.reads:
            last[value] = max(last.get(value, 0), index + graph.is_pooled(node))
    return last


def _over(node: Node, index: int, last: dict[int, int], taken: dict[int, tuple[int, int]]) -> int | None:
    source = node.inputs[0]
    if node.op == "activation" and last[source] == index and source in taken:
        return taken[source][0]
    return None


def _lowest(taken: list[tuple[int, int]], size: int) -> int:
    start = 0
    for begin, end in taken:
        if start + size <= begin:
            break
        start = max(start, _aligned(end))
    return start


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
