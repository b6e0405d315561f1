"""Functions that look on while a network computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from .module import Module

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


def leaves(model: Module) -> Iterator[tuple[str, Module]]:
    """Find the modules without modules in them, which do the computing, and their names."""
    return ((name, module) for name, module in model.named_modules() if is_leaf(module))


def is_leaf(module: Module) -> bool:
    """Whether there is no module in a module."""
    return not any(True for _ in module.children())  # an empty Sequential is a module, and false


@contextmanager
def watched(modules: Iterable[tuple[str, Module]], watch: Callable[..., None]) -> Iterator[None]:
    """Call ``watch(name, module, args, output)``, until the end of the block, when one of these modules has computed.

    Parameters
    ----------
    modules : iterable of (str, Module)
        Which, such as ``model.named_modules()`` or ``leaves(model)``.
    watch : function
        Looks on; it returns nothing.
    """
    with ExitStack() as hooks:
        for name, module in modules:
            hooks.enter_context(module.register_forward_hook(partial(watch, name)))
        yield
