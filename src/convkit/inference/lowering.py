"""From the operations that a network was seen to do, to those that there are kernels for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _shapes
from .._precision import get_float32_precision
from ..autograd import Tensor
from .graph import INPUT, Graph, Node
from .tracing import Operation, Trace, tensors_in

Array = NDArray[Any]


class RefusedError(ValueError):
    """What a network does cannot be compiled."""


def lower(trace: Trace) -> Graph:
    """Return the operations that the result of `trace` takes; a `RefusedError` names one that is missing."""
    return _Lowering(trace).graph()


class _Lowering:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.images = trace.start.shape[0]
        self.values: dict[int, int] = {id(trace.start): INPUT}  # by the identity of their tensors
        self.nodes: list[Node] = []

    def graph(self) -> Graph:
        result = self.trace.result
        if not isinstance(result, Tensor):
            raise RefusedError(f"forward must return one tensor, but returned {type(result).__name__}")
        needed = _needed(self.trace)
        for operation in self.trace.operations:
            if any(id(tensor) in needed for tensor in tensors_in(operation.result)):
                self.lower(operation)
        if id(result) not in self.values or self.values[id(result)] == INPUT:
            raise RefusedError("forward must compute its result from its input by convkit's functions on tensors")
        start = self.trace.start
        return Graph(
            start.dtype,
            get_float32_precision(),
            self.images,
            start.shape[1:],
            tuple(self.nodes),
            self.values[id(result)],
            result.shape[1:],
        )

    def lower(self, operation: Operation) -> None:
        if operation.name not in _RULES:
            raise RefusedError(f"{operation.name} cannot be compiled")
        if not isinstance(operation.result, Tensor) or operation.result.shape[:1] != (self.images,):
            raise RefusedError(f"{operation.name} mixes images, or gives several results: this cannot be compiled")
        if operation.result.dtype != self.trace.start.dtype:
            raise RefusedError(f"{operation.name} changes the dtype: this cannot be compiled")
        _RULES[operation.name](self, operation, **operation.arguments)

    def value(self, tensor: object) -> int | None:
        """Return the number of a value that depends on the input; None for constants."""
        return self.values.get(id(tensor))

    def source(self, operation: Operation, tensor: object) -> int:
        value = self.value(tensor)
        if value is None:
            raise RefusedError(f"{operation.name} of a constant, with an argument that is not, cannot be compiled")
        return value

    def constant(self, operation: Operation, name: str, tensor: object) -> Array | None:
        """Return an argument that must not depend on the input, in float64."""
        if self.value(tensor) is not None:
            raise RefusedError(f"{operation.name} with a computed {name} cannot be compiled")
        return None if tensor is None else np.asarray(_data(tensor), np.float64)

    def add(
        self,
        operation: Operation,
        op: str,
        inputs: Sequence[int],
        options: dict[str, Any] | None = None,
        arrays: dict[str, Array | None] | None = None,
    ) -> None:
        """Append the node that makes the operation's result."""
        output = len(self.nodes) + 1
        kept = {name: array for name, array in (arrays or {}).items() if array is not None}
        self.nodes.append(Node(op, tuple(inputs), output, operation.result.shape[1:], options or {}, kept))
        self.values[id(operation.result)] = output

    def alias(self, operation: Operation, tensor: object) -> None:
        """Let the operation's result be its argument: they are the same in memory."""
        self.values[id(operation.result)] = self.source(operation, tensor)


def _needed(trace: Trace) -> set[int]:
    """Return the identities of the tensors that the result was computed from."""
    needed = {id(trace.result)}
    for operation in reversed(trace.operations):
        if any(id(tensor) in needed for tensor in tensors_in(operation.result)):
            needed.update(id(tensor) for tensor in tensors_in(tuple(operation.arguments.values())))
    return needed


def _data(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


# ---------------------------------------------------------------------------------------------------------------------
# One rule for each function: its own arguments, by name


Rule = Callable[..., None]


def _conv2d(
    t: _Lowering, o: Operation, input: Tensor, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> None:  # fmt: skip
    w, b = t.constant(o, "weight", weight), t.constant(o, "bias", bias)
    assert w is not None
    if b is not None and b.ndim == 3:
        raise RefusedError("conv2d with an untied bias cannot be compiled")
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    t.add(o, "conv2d", [t.source(o, input)], options, {"weight": w, "bias": np.zeros(len(w)) if b is None else b})


def _linear(t: _Lowering, o: Operation, input: Tensor, weight: Any, bias: Any) -> None:
    w, b = t.constant(o, "weight", weight), t.constant(o, "bias", bias)
    assert w is not None
    if len(input.shape) != 2:
        raise RefusedError(f"linear of shape {input.shape} cannot be compiled: only (N, in_features) can")
    t.add(o, "linear", [t.source(o, input)], {}, {"weight": w, "bias": np.zeros(len(w)) if b is None else b})


def _batch_norm(
    t: _Lowering, o: Operation, input: Tensor, running_mean: Any, running_var: Any, weight: Any, bias: Any,
    training: bool, momentum: float, eps: float,
) -> None:  # fmt: skip
    if training:
        raise RefusedError("batch_norm with the statistics of the batch cannot be compiled")
    mean, var = t.constant(o, "running_mean", running_mean), t.constant(o, "running_var", running_var)
    gamma, beta = t.constant(o, "weight", weight), t.constant(o, "bias", bias)
    assert mean is not None
    assert var is not None
    scale = (1.0 if gamma is None else gamma) / np.sqrt(var + eps)
    _scale(t, o, input, scale, (0.0 if beta is None else beta) - mean * scale)


def _scale(t: _Lowering, o: Operation, input: Any, scale: Any, shift: Any) -> None:
    """``input*scale + shift``, each a number or a vector of one for each channel."""
    ones = np.ones(o.result.shape[1])
    t.add(o, "scale", [t.source(o, input)], {}, {"scale": scale * ones, "shift": shift * ones})


def _by_channel(t: _Lowering, o: Operation, constant: Any) -> Array:
    """Return a constant operand as a number or a vector of one for each channel."""
    values = t.constant(o, "operand", constant)
    assert values is not None
    if values.size == 1:
        return values.reshape(())
    shape = (1,) * (o.result.ndim - values.ndim) + values.shape
    if values.size != o.result.shape[1] or shape[1] != values.size:
        raise RefusedError(
            f"{o.name} with a constant of shape {values.shape} cannot be compiled: only with a number, or one for each "
            f"channel"
        )
    return values.reshape(-1)


def _activation(name: str) -> Rule:
    def rule(t: _Lowering, o: Operation, input: Tensor, **parameters: Any) -> None:
        kind, (p, q) = name, [float(value) for value in [*parameters.values(), 0, 0][:2]] if name != "gelu" else (0, 0)
        if name == "gelu" and parameters["approximate"] == "tanh":
            kind = "gelu_tanh"
        t.add(o, "activation", [t.source(o, input)], {"kind": kind, "p": p, "q": q})

    return rule


def _pool(t: _Lowering, o: Operation, input: Tensor, **options: Any) -> None:
    t.add(o, o.name, [t.source(o, input)], options)


def _mean(t: _Lowering, o: Operation, input: Tensor, dim: Any, keepdim: bool) -> None:
    if input.ndim != 4 or sorted(_shapes.axes("mean", "dim", dim, input.ndim)) != [2, 3]:
        raise RefusedError(
            f"mean over dim={dim} of shape {input.shape} cannot be compiled: only over the pixels of images"
        )
    t.add(o, "adaptive_avg_pool2d", [t.source(o, input)], {"output_size": 1})


def _add(t: _Lowering, o: Operation, input: Any, other: Any) -> None:
    a, b = t.value(input), t.value(other)
    if a is None or b is None:
        _scale(t, o, other if a is None else input, 1.0, _by_channel(t, o, input if a is None else other))
        return
    if input.shape != other.shape:
        raise RefusedError(f"add of shapes {input.shape} and {other.shape} cannot be compiled: they must be the same")
    t.add(o, "add", [a, b])


def _sub(t: _Lowering, o: Operation, input: Any, other: Any) -> None:
    if t.value(input) is None:
        _scale(t, o, other, -1.0, _by_channel(t, o, input))
    else:
        _scale(t, o, input, 1.0, -_by_channel(t, o, other))


def _mul(t: _Lowering, o: Operation, input: Any, other: Any) -> None:
    first = t.value(input) is not None
    _scale(t, o, input if first else other, _by_channel(t, o, other if first else input), 0.0)


def _div(t: _Lowering, o: Operation, input: Any, other: Any) -> None:
    _scale(t, o, input, 1 / _by_channel(t, o, other), 0.0)


def _neg(t: _Lowering, o: Operation, input: Any) -> None:
    _scale(t, o, input, -1.0, 0.0)


def _cat(t: _Lowering, o: Operation, tensors: Sequence[Any], dim: int) -> None:
    if _shapes.axis("cat", "dim", dim, o.result.ndim) != 1 or o.result.ndim not in (2, 4):
        raise RefusedError(f"cat along dim={dim} of shape {o.result.shape} cannot be compiled: only along channels")
    t.add(o, "cat", [t.source(o, part) for part in tensors])


def _reshape(t: _Lowering, o: Operation, input: Tensor, **_: Any) -> None:
    before, after = input.shape, o.result.shape
    shorter, longer = sorted((before, after), key=len)
    if before == after or (len(shorter) == 2 and longer == (*shorter, 1, 1)):
        t.alias(o, input)
    elif len(before) == 4 and len(after) == 2:
        t.add(o, "flatten", [t.source(o, input)])
    else:
        raise RefusedError(f"{o.name} of shape {before} to {after} cannot be compiled: only to (N, features)")


def _same(t: _Lowering, o: Operation, input: Tensor, **_: Any) -> None:
    t.alias(o, input)


def _softmax(t: _Lowering, o: Operation, input: Tensor, dim: int) -> None:
    if _shapes.axis(o.name, "dim", dim, input.ndim) != 1:
        raise RefusedError(f"{o.name} over dim={dim} of shape {input.shape} cannot be compiled: only over channels")
    t.add(o, "softmax", [t.source(o, input)], {"logarithm": o.name == "log_softmax"})


_ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardsigmoid", "hardswish", "softplus", "gelu",
)  # fmt: skip

_RULES: dict[str, Rule] = {
    **{name: _activation(name) for name in _ACTIVATIONS},
    "adaptive_avg_pool2d": _pool,
    "adaptive_max_pool2d": _pool,
    "add": _add,
    "avg_pool2d": _pool,
    "batch_norm": _batch_norm,
    "cat": _cat,
    "clone": _same,
    "conv2d": _conv2d,
    "div": _div,
    "flatten": _reshape,
    "linear": _linear,
    "log_softmax": _softmax,
    "max_pool2d": _pool,
    "mean": _mean,
    "mul": _mul,
    "neg": _neg,
    "reshape": _reshape,
    "softmax": _softmax,
    "squeeze": _reshape,
    "sub": _sub,
    "unsqueeze": _reshape,
}
