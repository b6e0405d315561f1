"""Tensors: arrays that remember how they were computed."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from . import (
    arithmetic,
    comparison,
    conversion,
    elementwise,
    extremes,
    indexing,
    matrices,
    recording,
    reductions,
    shapes,
)
from ._arrays import checked_array
from ._operands import is_operand
from .pending import Pending
from .tape import gradients_of_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import DTypeLike

    from ._operands import Operand
    from .tape import Array, Node


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
    the tensor it meets. Results keep the memory order of their operands. ``@`` multiplies matrices, ``tensor[...]``
    chooses elements. Functions such as `exp` and `sum` are methods and functions of the package: ``x.exp()`` is
    ``ck.exp(x)``.

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
        self._data: Array | Pending = checked_array(values, dtype)
        self._grad: Tensor | None = None
        self._grad_fn: Node | None = None
        self._requires_grad = False
        self.requires_grad = requires_grad

    @property
    def data(self) -> Array:
        """The values: an ndarray, not a copy. Assigning replaces it.

        Operations may wait to be computed together (see `fusion`); whoever reads the values has them computed.
        """
        data = self._data
        if isinstance(data, Pending):
            data = self._data = data.show()
        return data

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
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the values."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    def size(self, dim: int | None = None) -> tuple[int, ...] | int:
        """Return the shape, or the size of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """Return the number of elements."""
        return self._data.size

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

    # Operations: the functions of the modules beside this one, whose first argument the tensor is.

    add = arithmetic.add
    sub = arithmetic.sub
    mul = arithmetic.mul
    div = arithmetic.div
    pow = arithmetic.pow
    neg = arithmetic.neg
    maximum = arithmetic.maximum
    minimum = arithmetic.minimum
    matmul = matrices.matmul

    abs = elementwise.abs
    clamp = elementwise.clamp
    cos = elementwise.cos
    exp = elementwise.exp
    expm1 = elementwise.expm1
    log = elementwise.log
    log1p = elementwise.log1p
    rsqrt = elementwise.rsqrt
    sin = elementwise.sin
    sqrt = elementwise.sqrt
    square = elementwise.square
    tan = elementwise.tan

    eq = comparison.eq
    ne = comparison.ne
    lt = comparison.lt
    le = comparison.le
    gt = comparison.gt
    ge = comparison.ge

    sum = reductions.sum
    mean = reductions.mean
    var = reductions.var
    std = reductions.std
    prod = reductions.prod
    amax = extremes.amax
    amin = extremes.amin
    max = extremes.max
    min = extremes.min
    argmax = extremes.argmax
    argmin = extremes.argmin
    logsumexp = reductions.logsumexp

    reshape = shapes.reshape
    view = shapes.reshape  # how elements lie in memory is convkit's own affair, so both may have to copy
    flatten = shapes.flatten
    transpose = shapes.transpose
    permute = shapes.permute
    squeeze = shapes.squeeze
    unsqueeze = shapes.unsqueeze
    broadcast_to = shapes.broadcast_to
    expand = shapes.expand

    @property
    def T(self) -> Tensor:  # noqa: N802 (PyTorch's and NumPy's name)
        """The tensor with its dimensions in the opposite order."""
        return self.permute(tuple(range(self.ndim))[::-1])

    clone = conversion.clone
    to = conversion.to
    float = conversion.float
    double = conversion.double

    # Operators.

    __add__ = arithmetic.add
    __sub__ = arithmetic.sub
    __mul__ = arithmetic.mul
    __truediv__ = arithmetic.div
    __pow__ = arithmetic.pow
    __matmul__ = matrices.matmul
    __neg__ = arithmetic.neg
    __abs__ = elementwise.abs
    __getitem__ = indexing.getitem

    def __radd__(self, other: Operand) -> Tensor:
        return arithmetic.add(other, self)

    def __rsub__(self, other: Operand) -> Tensor:
        return arithmetic.sub(other, self)

    def __rmul__(self, other: Operand) -> Tensor:
        return arithmetic.mul(other, self)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return arithmetic.div(other, self)

    def __rpow__(self, other: Operand) -> Tensor:
        return arithmetic.pow(other, self)

    def __rmatmul__(self, other: Array) -> Tensor:
        return matrices.matmul(other, self)

    __lt__ = comparison.lt
    __le__ = comparison.le
    __gt__ = comparison.gt
    __ge__ = comparison.ge

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return comparison.eq(self, cast("Operand", other)) if is_operand(other) else NotImplemented

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return comparison.ne(self, cast("Operand", other)) if is_operand(other) else NotImplemented

    __hash__ = object.__hash__

    # What Python and NumPy expect.

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> builtins.float:
        return builtins.float(self.item())

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
