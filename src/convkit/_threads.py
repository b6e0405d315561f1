"""How many threads kernels run on."""

import math
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ._kernels import _cpu

#: More threads than this, and the operating system may refuse some of them, which OpenMP answers by ending the process.
MOST_THREADS = 1024

_chosen: int | None = None  # by set_num_threads, for the process
_scoped: ContextVar[int | None] = ContextVar("convkit_num_threads", default=None)  # by num_threads, for a context


def _read(*path: str | os.PathLike[str]) -> str:
    with open(os.path.join(*path)) as file:  # pathlib would be a tenth of convkit's import
        return file.read()


def _quota(groups: str | os.PathLike[str] = "/sys/fs/cgroup") -> float:
    """Return the processors that the container's quota allows, infinite where there is none (cgroup v2, then v1)."""
    try:
        quota, period = _read(groups, "cpu.max").split()
    except (OSError, ValueError):
        try:
            quota = _read(groups, "cpu/cpu.cfs_quota_us")
            period = _read(groups, "cpu/cpu.cfs_period_us")
        except OSError:
            return math.inf
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return math.inf
    return limit if limit > 0 else math.inf


_limit = None if math.isinf(_quota()) else max(1, math.ceil(_quota()))


def _checked(name: str, n: int) -> int:
    if isinstance(n, bool):
        raise TypeError(f"{name}: n={n!r} must be an integer, the number of threads")
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{name}: n={n!r} must be an integer, the number of threads") from None
    if count < 1:
        raise ValueError(f"{name}: n={count} must be at least 1")
    if count > MOST_THREADS:
        raise ValueError(f"{name}: n={count} must be at most {MOST_THREADS}")
    return count


def get_num_threads() -> int:
    """Return the number of threads that kernels run on.

    Returns
    -------
    int
        What `num_threads` or `set_num_threads` asked for; else what OpenMP offers (``OMP_NUM_THREADS``, the
        process's affinity, threadpoolctl), but no more than the container's processor quota.

    Examples
    --------
    >>> with num_threads(1):
    ...     get_num_threads()
    1
    """
    chosen = _scoped.get() or _chosen
    if chosen is None:
        chosen = min(_cpu.available_threads(), MOST_THREADS)
        if _limit is not None:
            chosen = min(chosen, _limit)
    count: int = _cpu.usable_threads(chosen)
    return count


def set_num_threads(n: int) -> None:
    """Set the number of threads that kernels run on, for the whole process.

    Results do not depend on it: every op gives the same bits on any number of threads.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer, or out of range.
    """
    global _chosen
    _chosen = _checked("set_num_threads", n)


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Run a block with another number of threads; other Python threads do not see it.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer, or out of range.

    Examples
    --------
    >>> with num_threads(1):
    ...     get_num_threads()
    1
    """
    token = _scoped.set(_checked("num_threads", n))
    try:
        yield
    finally:
        _scoped.reset(token)
