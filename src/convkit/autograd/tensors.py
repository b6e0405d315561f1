"""Tensors: arrays that remember how they were computed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from .. import _shapes
from ..ops._arrays import channels_first
from . import recording
from ._arrays import added, base_slope, checked_array, exponent_slope, floats, promoted
from .tape import gradients_of_leaves

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import DTypeLike

    from .tape import Array, Node

    Operand: TypeAlias = "Tensor | Array | float"
    Dim: TypeAlias = int | tuple[int, ...] | None


class Tensor:
    """An array that remembers how it was computed, so that gradients can flow back to where it came from.

    Parameters
    ----------
    data : array_like
        The values. An ndarray is not copied: tensor and array share their memory, as two tensors do. Python numbers,
        and lists of them, become float32 or int64.
    requires_grad : bool, default False
        Whether to compute a gradient for this tensor; needs float32 or float64.
    dtype : dtype, optional
        Convert to this dtype: float32, float64, an integer type or bool.

    Raises
    ------
    TypeError
        If `data` is of another dtype, or `requires_grad` is asked of integers.

    See Also
    --------
    tensor : always copies.

    Notes
    -----
    ``+ - * / **`` and comparisons work element by element, with broadcasting; a number takes on the dtype of
    the tensor it meets. Results keep the memory order of their operands.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> loss = (x**2).sum()
    >>> loss.backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "_data", "_grad", "_grad_fn", "_requires_grad")

    # NumPy's operators step back, so that ``array * tensor`` is a tensor too.
    __array_ufunc__ = None

    def __init__(self, data: Any, requires_grad: bool = False, dtype: DTypeLike | None = None) -> None:
        (values,) = recording.arrays(data)
        self._data = checked_array(values, dtype)
        self._grad: Tensor | None = None
        self._grad_fn: Node | None = None
        self._requires_grad = False
        self.requires_grad = requires_grad

    @property
    def data(self) -> Array:
        """The values: an ndarray, not a copy. Assigning replaces it."""
        return self._data

    @data.setter
    def data(self, data: Array) -> None:
        self._data = checked_array(data, None)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has added up in this leaf so far; None before the first."""
        return self._grad

    @grad.setter
    def grad(self, grad: Tensor | None) -> None:
        if grad is not None:
            if not isinstance(grad, Tensor):
                raise TypeError(f"grad: must be a Tensor or None, got {type(grad).__name__}")
            if grad.shape != self.shape or grad.dtype != self.dtype:
                raise ValueError(
                    f"grad: a {grad.dtype} gradient {grad.shape} does not fit a {self.dtype} tensor {self.shape}"
                )
        self._grad = grad

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is wanted here, or needed on the way to a tensor that wants one."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: only float32 and float64 have gradients, this is {self.dtype}")
        if not requires_grad and self._grad_fn is not None:
            raise RuntimeError("requires_grad: cannot be taken from a computed tensor; use detach()")
        self._requires_grad = bool(requires_grad)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` and return this tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad_fn(self) -> Node | None:
        """The node of the operation that computed this tensor; None for leaves."""
        return self._grad_fn

    @property
    def is_leaf(self) -> bool:
        """Whether this tensor was made by hand, not computed: only leaves collect a `grad`."""
        return self._grad_fn is None

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the values."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.data.ndim

    def size(self, dim: int | None = None) -> tuple[int, ...] | int:
        """Return the shape, or the size of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """Return the number of elements."""
        return self.data.size

    def item(self) -> Any:
        """Return the only element, as a Python number."""
        if self.numel() != 1:
            raise ValueError(f"item: needs a tensor of one element, this one has shape {self.shape}")
        return self.data.item()

    def numpy(self) -> Array:
        """Return the values as an ndarray, without a copy.

        Raises
        ------
        RuntimeError
            If the tensor requires a gradient, since NumPy would not record what is done with it.
        """
        if self._requires_grad:
            raise RuntimeError("numpy: this tensor requires a gradient; use tensor.detach().numpy()")
        return self.data

    def detach(self) -> Tensor:
        """Return a tensor with the same memory that gradients do not flow through."""
        return recording.result_tensor(self.data)

    def backward(self, gradient: Tensor | Array | None = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor, with respect to each leaf it was computed from, to the leaf's `grad`.

        Parameters
        ----------
        gradient : Tensor or ndarray, optional
            The gradient to start from, in the shape of this tensor. A tensor of one element starts from 1.
        retain_graph : bool, default False
            Keep what the operations kept for their gradients, so that `backward` can be called again.
            Otherwise it is freed on the way.

        Raises
        ------
        RuntimeError
            If nothing here requires a gradient, or what is needed was freed by an earlier `backward`.
        ValueError
            If `gradient` is missing where it is needed, or has another shape.

        Notes
        -----
        `grad` changes at the very end: a walk that is interrupted leaves every `grad` as it was.
        """
        if not self._requires_grad:
            raise RuntimeError(
                "backward: this tensor requires no gradient: it was computed under no_grad, or from tensors none "
                "of which has requires_grad=True"
            )
        start = self._starting_gradient(gradient)
        for leaf, arrived in gradients_of_leaves(recording.gradient_target(self), start, retain_graph).items():
            if leaf._grad is None:
                leaf._grad = recording.result_tensor(arrived)
            else:
                total = leaf._grad.data
                np.add(total, arrived, out=total)

    def _starting_gradient(self, gradient: Tensor | Array | None) -> Array:
        if gradient is None:
            if self.numel() != 1:
                raise ValueError(
                    f"backward: only a tensor of one element can start from gradient 1, this one has shape "
                    f"{self.shape}; pass gradient"
                )
            return np.ones_like(self.data)
        start = np.array(recording.arrays(gradient)[0], dtype=self.dtype)
        if start.shape != self.shape:
            raise ValueError(f"backward: gradient has shape {start.shape}, the tensor has {self.shape}")
        return start

    # Arithmetic. Each gradient function refers only to the arrays it needs.

    def __add__(self, other: Operand) -> Tensor:
        a, b = _operands(self, other)
        return recording.record("add", added(a, b), (self, _passed_on), (other, _passed_on))

    __radd__ = __add__

    def __sub__(self, other: Operand) -> Tensor:
        a, b = _operands(self, other)
        return recording.record("sub", a - b, (self, _passed_on), (other, np.negative))

    def __rsub__(self, other: Operand) -> Tensor:
        a, b = _operands(self, other)
        return recording.record("sub", b - a, (self, np.negative))

    def __mul__(self, other: Operand) -> Tensor:
        a, b = _operands(self, other)
        return recording.record("mul", a * b, (self, lambda grad: grad * b), (other, lambda grad: grad * a))

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> Tensor:
        return _divided(self, other, *floats(*_operands(self, other)))

    def __rtruediv__(self, other: Operand) -> Tensor:
        a, b = floats(*_operands(self, other))
        return _divided(other, self, b, a)

    def __pow__(self, exponent: Operand) -> Tensor:
        return _raised(self, exponent, *_operands(self, exponent))

    def __rpow__(self, base: Operand) -> Tensor:
        a, b = _operands(self, base)
        return _raised(base, self, b, a)

    def __neg__(self) -> Tensor:
        return recording.record("neg", -self.data, (self, np.negative))

    # Comparisons: tensors of bools, which have no gradient.

    def __lt__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        a, b = _operands(self, other)
        return recording.result_tensor(a < b)

    def __le__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        a, b = _operands(self, other)
        return recording.result_tensor(a <= b)

    def __gt__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        a, b = _operands(self, other)
        return recording.result_tensor(a > b)

    def __ge__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        a, b = _operands(self, other)
        return recording.result_tensor(a >= b)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        a, b = _operands(self, cast("Operand", other))
        return recording.result_tensor(a == b)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        a, b = _operands(self, cast("Operand", other))
        return recording.result_tensor(a != b)

    __hash__ = object.__hash__

    # Reductions and shapes.

    def sum(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Add up all elements, or those along `dim`.

        Parameters
        ----------
        dim : int or tuple of int, optional
            The dimensions to add along; all by default.
        keepdim : bool, default False
            Keep those dimensions, with size 1.

        Returns
        -------
        Tensor
        """
        shape = self.shape

        def spread(grad: Array) -> Array:
            if dim is not None and not keepdim:
                grad = np.expand_dims(grad, dim)
            return np.broadcast_to(grad, shape)

        return recording.record("sum", self.data.sum(axis=dim, keepdims=keepdim), (self, spread))

    def mean(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Average all elements, or those along `dim`; arguments as for `sum`.

        Raises
        ------
        TypeError
            If the tensor is not of floats.
        """
        if self.dtype.kind != "f":
            raise TypeError(f"mean: needs float32 or float64, this is {self.dtype}")
        total = self.sum(dim, keepdim)
        return total / (self.numel() / total.numel())

    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        """Return the same elements, in C order, in another shape; one size may be -1, meaning what is left."""
        before = self.shape
        sizes = shape[0] if len(shape) == 1 else shape
        output = self.data.reshape(cast("tuple[int, ...]", sizes))
        return recording.record("reshape", output, (self, lambda grad: grad.reshape(before)))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Make one dimension of those from `start_dim` to `end_dim`, both included."""
        start = _shapes.axis("flatten", "start_dim", start_dim, max(self.ndim, 1))
        end = _shapes.axis("flatten", "end_dim", end_dim, max(self.ndim, 1))
        if start > end:
            raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {self.shape}")
        before, shape = self.shape, self.shape or (1,)
        # Where channels join others, they have to come first; height and width alone join as they lie.
        data = channels_first(self.data) if start < min(end, 2) else self.data
        output = data.reshape((*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))
        return recording.record("flatten", output, (self, lambda grad: grad.reshape(before)))

    # What Python and NumPy expect.

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=cast("bool", copy))

    def __repr__(self) -> str:
        parts = [np.array2string(self.data, separator=", ", prefix="tensor(")]
        if self.dtype not in (np.float32, np.int64, np.bool_):
            parts.append(f"dtype={self.dtype}")
        if self._grad_fn is not None:
            parts.append(f"grad_fn={self._grad_fn}")
        elif self._requires_grad:
            parts.append("requires_grad=True")
        return f"tensor({', '.join(parts)})"


def tensor(data: Any, *, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Copy `data` into a new tensor.

    Parameters
    ----------
    data : array_like
        The values.
    dtype : dtype, optional
        float32, float64, an integer type or bool; by default that of an ndarray, and float32 or int64 for
        Python numbers.
    requires_grad : bool, default False
        Whether to compute a gradient for this tensor.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        As for `Tensor`.

    Examples
    --------
    >>> import convkit as ck
    >>> ck.tensor([[1, 2], [3, 4]], dtype="float64")
    tensor([[1., 2.],
            [3., 4.]], dtype=float64)
    """
    (values,) = recording.arrays(data)
    return Tensor(checked_array(values, dtype).copy(order="K"), requires_grad)


_OPERANDS = (Tensor, np.ndarray, np.generic, int, float)


def _operands(tensor: Tensor, other: Operand) -> tuple[Array, Array]:
    if not isinstance(other, _OPERANDS):
        raise TypeError(f"a Tensor meets tensors, ndarrays and numbers in operators, not {type(other).__name__}")
    return promoted(tensor.data, other.data if isinstance(other, Tensor) else other)


def _passed_on(grad: Array) -> Array:
    return grad


def _divided(dividend: Operand, divisor: Operand, a: Array, b: Array) -> Tensor:
    return recording.record(
        "div", a / b, (dividend, lambda grad: grad / b), (divisor, lambda grad: -grad * (a / b / b))
    )


def _raised(base: Operand, exponent: Operand, a: Array, b: Array) -> Tensor:
    power = a**b
    return recording.record(
        "pow",
        power,
        (base, lambda grad: grad * base_slope(a, b)),
        (exponent, lambda grad: grad * exponent_slope(a, power)),
    )
