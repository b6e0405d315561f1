"""The switch that says whether operations are recorded; each thread has its own."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

P = ParamSpec("P")
R = TypeVar("R")


class _Recording(threading.local):
    enabled = True


_recording = _Recording()


def is_grad_enabled() -> bool:
    """Tell whether operations of this thread are recorded at the moment."""
    return _recording.enabled


class _SetRecording:
    """Switch recording for a ``with`` block, or for every call of a decorated function."""

    _enabled: bool

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> Self:
        self._before.append(_recording.enabled)
        _recording.enabled = self._enabled
        return self

    def __exit__(self, *_: object) -> None:
        _recording.enabled = self._before.pop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def switched(*args: P.args, **kwargs: P.kwargs) -> R:
            # A switch of its own for each call: the function may run in several threads at once.
            with type(self)():
                return function(*args, **kwargs)

        return switched


class no_grad(_SetRecording):  # noqa: N801 (PyTorch's name)
    """Record nothing, in this thread: for inference, and for changing parameters by hand.

    A context manager, and with parentheses a decorator.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([1.0, 2.0], requires_grad=True)
    >>> with ck.no_grad():
    ...     y = 2 * x
    >>> y.requires_grad
    False
    """

    _enabled = False


class enable_grad(_SetRecording):  # noqa: N801 (PyTorch's name)
    """Record again, inside a block or a function that runs under `no_grad`.

    A context manager, and with parentheses a decorator.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([1.0, 2.0], requires_grad=True)
    >>> with ck.no_grad(), ck.enable_grad():
    ...     y = 2 * x
    >>> y.requires_grad
    True
    """

    _enabled = True
