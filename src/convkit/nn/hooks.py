"""Functions that look on while a network computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    ForwardHook: TypeAlias = Callable[[Any, tuple[Any, ...], Any], Any]


class RemovableHandle:
    """What takes a hook away again: by `remove`, or at the end of a ``with`` block.

    Parameters
    ----------
    hooks : dict of RemovableHandle to function
        Where the hook goes.
    hook : function
        The hook.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    >>> with model[0].register_forward_hook(lambda module, args, output: print(output.shape)):
    ...     _ = model(np.zeros((2, 1, 8, 8), np.float32))
    (2, 4, 6, 6)
    >>> _ = model(np.zeros((2, 1, 8, 8), np.float32))
    """

    def __init__(self, hooks: dict[RemovableHandle, ForwardHook], hook: ForwardHook) -> None:
        self._hooks = hooks
        hooks[self] = hook

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        self._hooks.pop(self, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()
