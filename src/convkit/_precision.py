"""How precisely float32 convolutions compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: From the most precise to the fastest.
PRECISIONS = ("highest", "high", "medium")

_chosen = "highest"  # by set_float32_precision, for the process
_scoped: ContextVar[str | None] = ContextVar("convkit_float32_precision", default=None)  # by float32_precision
_of_bfloat16: ContextVar[bool] = ContextVar("convkit_operands_of_bfloat16", default=False)


def _checked(name: str, precision: str) -> str:
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ValueError(f"{name}: precision={precision!r} must be 'highest', 'high' or 'medium'")
    return precision


def get_float32_precision() -> str:
    """Return how precisely float32 convolutions and linear layers compute.

    Returns
    -------
    {'highest', 'high', 'medium'}
        What `float32_precision` or `set_float32_precision` asked for; else 'highest'.

    Examples
    --------
    >>> with float32_precision("high"):
    ...     get_float32_precision()
    'high'
    """
    return _scoped.get() or _chosen


def set_float32_precision(precision: str) -> None:
    """Set how precisely float32 convolutions and linear layers compute, for the whole process.

    Parameters
    ----------
    precision : {'highest', 'high', 'medium'}
        The RMS error, relative to float64, that is promised: 'highest', the default, no more than that of a plain
        float32 convolution (about 4e-7 to 1e-6); 'high', at most 1e-5; 'medium', at most 5e-3, that of bfloat16.

    Raises
    ------
    ValueError
        If `precision` is none of these.

    See Also
    --------
    convkit.ops.conv2d_plan : tells which algorithm a convolution runs under the precision in force.

    Notes
    -----
    A promise is a bound: where this machine has no faster way to compute with less precision, results are more precise.
    Gradients are computed with the precision that is in force when they are, not with that of the forward pass.
    float64 is not concerned.
    """
    global _chosen
    _chosen = _checked("set_float32_precision", precision)


@contextmanager
def float32_precision(precision: str) -> Iterator[None]:
    """Run a block with another precision of float32; other Python threads do not see it.

    Parameters
    ----------
    precision : {'highest', 'high', 'medium'}
        As for `set_float32_precision`.

    Raises
    ------
    ValueError
        If `precision` is none of these.

    Examples
    --------
    >>> with float32_precision("medium"):
    ...     get_float32_precision()
    'medium'
    """
    token = _scoped.set(_checked("float32_precision", precision))
    try:
        yield
    finally:
        _scoped.reset(token)


def operands_are_bfloat16() -> bool:
    """Return whether float32 operands came as bfloat16: a single part of each is all there is to multiply."""
    return _of_bfloat16.get()


@contextmanager
def operands_of_bfloat16() -> Iterator[None]:
    """Run a block whose float32 operands came as bfloat16."""
    token = _of_bfloat16.set(True)
    try:
        yield
    finally:
        _of_bfloat16.reset(token)
