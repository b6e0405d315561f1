"""The two ways through the kernel of functions of one element: their value, and what becomes of a gradient."""

from ... import _shapes
from ..._dispatch import kernel
from ..._shapes import Array
from ..._threads import get_num_threads
from .._arrays import dense, empty_like, flat, ordered_like


def value(op: str, input: Array, p: float = 0.0, q: float = 0.0, *, kind: str | None = None) -> Array:
    """Return the activation of `input`; `kind` is what the kernel calls it, if not as the op."""
    _shapes.array(op, "input", input)
    input = dense(input)
    output = empty_like(input)
    activation = kernel("activation", input.dtype)
    activation.forward(activation.KINDS[kind or op], flat(input), flat(output), p, q, get_num_threads())
    return output


def gradient(
    of: str,
    grad_output: Array,
    name: str,
    value: Array,
    p: float = 0.0,
    q: float = 0.0,
    *,
    kind: str | None = None,
    overwrite: bool = False,
) -> Array:
    """Return the gradient of activation `of`; `value` is the forward pass's input or output, as `name` says.

    `grad_output` may be written over, if so said.
    """
    op = f"{of}_backward"
    _shapes.array(op, name, value)
    _shapes.array(op, "grad_output", grad_output, None, value, name)
    _shapes.same_shape(op, "grad_output", grad_output.shape, value.shape)
    value = dense(value)
    grad = ordered_like(grad_output, value)
    grad_input = grad if overwrite else empty_like(value)
    activation = kernel("activation", value.dtype)
    activation.backward(
        activation.KINDS[kind or of], flat(grad), flat(value), flat(grad_input), p, q, get_num_threads()
    )
    return grad_input
