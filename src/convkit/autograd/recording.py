"""`record`, with which every operation on tensors ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np

# Tensors have operators, operators record, and recording makes tensors: a circle, so these two modules look each
# other's names up when they are called.
from . import tensors
from .grad_mode import is_grad_enabled
from .pending import Pending
from .tape import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tape import Array, JointGradient, Target
    from .tensors import Tensor

    Gradient: TypeAlias = Callable[[Array], Any]


def record(name: str, output: Any, *edges: tuple[object, Gradient], takes_pending: bool = False) -> Tensor:
    """Return `output` as a tensor, and remember how its gradient reaches the inputs.

    This is all that a differentiable operation needs::

        def exp(input):
            output = np.exp(input.data)
            return record("exp", output, (input, lambda grad: grad * output))

    Parameters
    ----------
    name : str
        What the operation is called in messages.
    output : ndarray or Pending
        The result.
    *edges : (input, function)
        An input, and the function that turns the gradient of `output` into the gradient of that input. The
        functions of inputs that need no gradient are dropped, with all they hold, so each should refer only to
        what it needs. A gradient in the shape of `output` is summed down to the shape of an input that was
        broadcast.
    takes_pending : bool
        Whether the functions take a gradient that waits (`pending_gradients`) as it is. They always do where
        `output` is still to be computed; the others are given arrays.

    Returns
    -------
    Tensor
    """
    result = result_tensor(output)
    if is_grad_enabled():
        needed = [(gradient_target(input), function) for input, function in edges if _needs_gradient(input)]
        if needed:
            targets, functions = zip(*needed, strict=True)
            _attach(result, name, targets, lambda grad: [function(grad) for function in functions], takes_pending)
    return result


def record_joint(name: str, output: Any, inputs: tuple[object, ...], gradients: JointGradient) -> Tensor:
    """Do what `record` does, for an operation whose gradients all come out of one computation.

    Parameters
    ----------
    name, output
        As for `record`.
    inputs : tuple
        The inputs; those that need no gradient, or are no tensors, are passed over.
    gradients : function
        Turns the gradient of `output` into a gradient for each of `inputs`.

    Returns
    -------
    Tensor
    """
    result = result_tensor(output)
    if is_grad_enabled():
        targets = tuple([gradient_target(input) if _needs_gradient(input) else None for input in inputs])
        if any(target is not None for target in targets):
            _attach(result, name, targets, gradients)
    return result


def passed_on(grad: Array) -> Array:
    """Return the gradient as it came: that of an input which is in the output as it is."""
    return grad


def arrays(*inputs: Any) -> list[Any]:
    """Return the arrays of tensors. What is no tensor (an ndarray, None) comes back as it is, for `ops` to check."""
    return [input.data if isinstance(input, tensors.Tensor) else input for input in inputs]


def borrowed(*inputs: Any) -> list[Any]:
    """Do what `arrays` does, for operations that neither change nor hand out what they read, nor views of it."""
    return [_borrowed(input._data) if isinstance(input, tensors.Tensor) else input for input in inputs]


def pending_of(input: Any) -> Pending | None:
    """Return what a tensor holds, if nobody has seen its values."""
    data = input._data if isinstance(input, tensors.Tensor) else None
    return data if isinstance(data, Pending) else None


def result_tensor(output: Any) -> Tensor:
    """Make a tensor of an operation's result: past ``Tensor()``, for there is nothing to check."""
    result = tensors.Tensor.__new__(tensors.Tensor)
    result._data = output if isinstance(output, Pending) else np.asarray(output)
    result._grad = None
    result._grad_fn = None
    result._requires_grad = False
    return result


def gradient_target(tensor: Tensor) -> Target:
    """Return where a gradient of `tensor` goes: its node, not itself, which would keep its array alive."""
    return tensor if tensor._grad_fn is None else tensor._grad_fn


def _attach(
    result: Tensor,
    name: str,
    targets: tuple[Target | None, ...],
    gradients: JointGradient,
    takes_pending: bool = False,
) -> None:
    result._grad_fn = Node(name, result._data, targets, gradients, takes_pending)
    result._requires_grad = True


def _borrowed(data: Array | Pending) -> Array:
    return data.value() if isinstance(data, Pending) else data


def _needs_gradient(input: object) -> TypeGuard[Tensor]:
    return isinstance(input, tensors.Tensor) and input._requires_grad
