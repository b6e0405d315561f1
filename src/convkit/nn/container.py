"""Modules made of modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from .module import Module

if TYPE_CHECKING:
    from collections.abc import Iterator


class Sequential(Module):
    """Modules that pass their outputs on, one after the other.

    Parameters
    ----------
    *args : Module, or one dict of str to Module
        The modules in order. They are named ``0``, ``1``, ..., or by the keys of the dictionary.

    Raises
    ------
    TypeError
        If something is not a module.
    ValueError
        If a name has a dot in it, or is that of something a module has.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> model(np.zeros((2, 1, 8, 8), np.float32)).shape
    (2, 10)
    >>> model
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=64, out_features=10, bias=True)
    )
    """

    def __init__(self, *args: Module | dict[str, Module]) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], dict):
            named = args[0]
        else:
            named = {str(i): module for i, module in enumerate(args)}  # type: ignore[misc]
        for name, module in named.items():
            self._add(name, module)

    def _add(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"Sequential: {name!r} must be a Module, not {type(module).__name__}")
        if "." in name or hasattr(self, name):
            raise ValueError(f"Sequential: {name!r} cannot name a module: it has a dot, or modules have it already")
        setattr(self, name, module)

    def append(self, module: Module) -> Sequential:
        """Add a module at the end, and return this one."""
        self._add(str(len(self)), module)
        return self

    def forward(self, input: Any) -> Any:
        """Pass `input` through all modules."""
        for module in self:
            input = module(input)
        return input

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self._parts())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module | Sequential:
        if isinstance(index, slice):
            return Sequential(dict(list(self._parts())[index]))
        return list(self)[index]
