"""Whether operations may wait for each other, to be computed together."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_chosen = True  # by set_fusion, for the process
_scoped: ContextVar[bool | None] = ContextVar("convkit_fusion", default=None)  # by fusion, for a context


def _checked(name: str, enabled: bool) -> bool:
    if not isinstance(enabled, bool):
        raise TypeError(f"{name}: enabled={enabled!r} must be True or False")
    return enabled


def get_fusion() -> bool:
    """Return whether operations are fused.

    Returns
    -------
    bool
        What `fusion` or `set_fusion` asked for; else True.

    Examples
    --------
    >>> get_fusion()
    True
    """
    scoped = _scoped.get()
    return _chosen if scoped is None else scoped


def set_fusion(enabled: bool) -> None:
    """Turn fusion on or off, for the whole process.

    Parameters
    ----------
    enabled : bool
        Whether to fuse operations; see `fusion`.

    Raises
    ------
    TypeError
        If `enabled` is not a bool.
    """
    global _chosen
    _chosen = _checked("set_fusion", enabled)


@contextmanager
def fusion(enabled: bool) -> Iterator[None]:
    """Turn fusion on or off in a block, for debugging; other Python threads do not see it.

    Parameters
    ----------
    enabled : bool
        Whether to fuse operations.

    Raises
    ------
    TypeError
        If `enabled` is not a bool.

    Notes
    -----
    Batch norms, sums of images and rectifying activations of what convolutions and poolings give are computed when
    somebody reads them, in one pass for several; a max-pooling computes them as it scans its windows, a convolution
    those of a batch norm as it stages its input, and what lies between is then never in memory. Gradients go back the
    same way. Every tensor shows the values that it has without fusion, gradients come out with the same bits, and each
    operation has its own node on the tape.

    Examples
    --------
    >>> with fusion(False):
    ...     get_fusion()
    False
    """
    token = _scoped.set(_checked("fusion", enabled))
    try:
        yield
    finally:
        _scoped.reset(token)
