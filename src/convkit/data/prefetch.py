"""Preparing the next results in a background thread while the caller works on the last one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


def prefetched(load: Callable[[Key], Result], keys: Iterable[Key], depth: int, workers: int = 1) -> Iterator[Result]:
    """Yield ``load(key)`` for one key after the other, with up to `depth` results prepared ahead.

    Results are in the order of their keys, however many threads load them. What `load` raises is raised here, in its
    turn. The threads end with this generator: after the last key, or when a loop over it is left by ``break``, an
    exception or Ctrl-C.

    Parameters
    ----------
    load : callable
        Makes one result; called in a background thread, and never twice at once unless there are more `workers`.
    keys : iterable
        Arguments for `load`, drawn in the caller's thread.
    depth : int
        At least 1.
    workers : int, default 1
        Threads that load; more than `depth` have nothing to do.

    Yields
    ------
    result
        What `load` returned.
    """
    # concurrent.futures pulls in logging, which `import convkit` does without.
    from concurrent.futures import ThreadPoolExecutor

    process = os.getpid()
    keys = iter(keys)
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="convkit-prefetch")
    try:
        pending = deque(pool.submit(load, key) for key in islice(keys, depth))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(load, key) for key in islice(keys, 1))
            yield result
            # A fork copies this generator but not its thread: waiting for it would never end.
            if os.getpid() != process:
                raise RuntimeError("this iteration was begun before os.fork(): begin a new one in the child process")
    finally:
        pool.shutdown(cancel_futures=True)
