"""Which operations a network computes its output by, seen while it computes it once."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from .. import autograd, functional
from ..autograd import Tensor, no_grad
from ..nn import Module
from ..nn.modes import evaluating


@dataclass(frozen=True)
class Operation:
    """A call of one of convkit's functions on tensors, the outermost one, that its input had a part in."""

    name: str
    arguments: dict[str, Any]
    result: Any


@dataclass
class Trace:
    """What a network did: its operations in their order, from `start` to `result`."""

    start: Tensor
    result: Any = None
    operations: list[Operation] = field(default_factory=list)


def trace(model: Module, start: Tensor) -> Trace:
    """Compute with a network, in evaluation mode and without gradients, and write down how.

    Only what depends on `start` is written down: all else is the same each time, whatever computes it. Functions are
    seen by whatever name or operator they are called, as a profiler sees them; so no other profiler can run meanwhile.
    """
    found = Trace(start)
    with evaluating(model), no_grad(), _watched(_Watcher(found)):
        found.result = model(start)
    return found


class _Watcher:
    def __init__(self, found: Trace) -> None:
        self.found = found
        # Tensors are known by their identity: none may be freed while others are made.
        self.known: dict[int, Tensor] = {id(found.start): found.start}
        self.outermost: FrameType | None = None
        self.arguments: dict[str, Any] = {}

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        if event == "call" and self.outermost is None and frame.f_code in _operations():
            self.outermost, self.arguments = frame, _arguments(frame)
        elif event == "return" and frame is self.outermost:
            self.outermost = None
            self.saw(_operations()[frame.f_code], result)

    def saw(self, name: str, result: Any) -> None:
        made = [tensor for tensor in tensors_in(result) if id(tensor) not in self.known]
        if made and any(id(tensor) in self.known for tensor in tensors_in(tuple(self.arguments.values()))):
            self.known.update((id(tensor), tensor) for tensor in made)
            self.found.operations.append(Operation(name, self.arguments, result))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Give the tensors of an argument or a result: one, or a sequence of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)


def _arguments(frame: FrameType) -> dict[str, Any]:
    """Return the arguments of a function that is about to begin, by name."""
    values = inspect.getargvalues(frame)
    names = [*values.args, values.varargs] if values.varargs else values.args
    return {name: values.locals[name] for name in names}


@functools.cache
def _operations() -> dict[CodeType, str]:
    """Return the name of each function on tensors by its code, which stays the same whatever name it is called by."""
    functions: list[Callable[..., Any]] = [vars(functional)[name] for name in functional.__all__]
    functions += filter(_is_operation, [*vars(autograd).values(), *vars(Tensor).values()])
    return {function.__code__: function.__name__ for function in functions}


def _is_operation(thing: object) -> bool:
    """Whether something of `autograd` or of tensors is a function at home in one of the modules of operations."""
    others = {
        f"{autograd.__name__}.{name}" for name in ("tensors", "recording", "pending", "pending_gradients", "grad_mode")
    }
    return inspect.isfunction(thing) and thing.__module__ not in others


@contextmanager
def _watched(watcher: _Watcher) -> Iterator[None]:
    before = sys.getprofile()
    sys.setprofile(watcher)
    try:
        yield
    finally:
        sys.setprofile(before)
