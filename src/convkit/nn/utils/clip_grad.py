"""Gradients that are made smaller, so that no step of training is too long."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..._dispatch import kernel
from ..._threads import get_num_threads
from ...autograd import Tensor
from ...ops._arrays import dense, need_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._shapes import Array


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients down together, so that their norm is at most `max_norm`.

    Parameters
    ----------
    parameters : Tensor, or iterable of Tensor
        Whose gradients are scaled, in place; those that have none are passed over.
    max_norm : float
        The largest norm, of all gradients as one vector, that is left as it is.
    norm_type : float, default 2.0
        Which norm; infinity takes the largest magnitude.
    error_if_nonfinite : bool, default False
        Refuse gradients with NaN or infinity, before any is changed. Otherwise they make all gradients NaN or 0.

    Returns
    -------
    Tensor, shape ()
        The norm before scaling.

    Raises
    ------
    RuntimeError
        If `error_if_nonfinite` and the norm is NaN or infinite.
    ValueError
        If `max_norm` is negative or `norm_type` not positive.

    Notes
    -----
    All gradients are multiplied by ``min(max_norm/(norm + 1e-6), 1)``. The norm is summed in float64. R. Pascanu,
    T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([3.0, 4.0], requires_grad=True)
    >>> (x**2 / 2).sum().backward()
    >>> ck.nn.utils.clip_grad_norm_([x], max_norm=1)
    tensor(5.)
    >>> x.grad.data.round(3)
    array([0.6, 0.8], dtype=float32)
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm={max_norm!r} must be at least 0")
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type={norm_type!r} must be above 0")
    gradients = _gradients(parameters)
    norm = _norm(gradients, norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(
            f"clip_grad_norm_: the norm of all gradients is {norm}; one of them has NaN or infinity. "
            "error_if_nonfinite=False scales them anyway"
        )
    # A NaN must stay one, which Python's min would drop.
    scale = np.minimum(max_norm / (norm + 1e-6), 1)
    if scale != 1:
        _in_place("scale", gradients, float(scale))
    return Tensor(np.asarray(norm, dtype=np.result_type(*gradients) if gradients else np.float32))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cut each element of all gradients off at `clip_value`, on both sides.

    Parameters
    ----------
    parameters : Tensor, or iterable of Tensor
        Whose gradients are cut, in place; those that have none are passed over.
    clip_value : float
        The largest magnitude that is left as it is.

    Raises
    ------
    ValueError
        If `clip_value` is negative.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([3.0, -0.25], requires_grad=True)
    >>> (x**2).sum().backward()
    >>> ck.nn.utils.clip_grad_value_([x], 1)
    >>> x.grad
    tensor([ 1. , -0.5])
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value={clip_value!r} must be at least 0")
    _in_place("clamp", _gradients(parameters), clip_value)


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Array]:
    tensors = [parameters] if isinstance(parameters, Tensor) else parameters
    return [tensor.grad.data for tensor in tensors if tensor.grad is not None]


def _norm(gradients: list[Array], norm_type: float) -> float:
    """Return the norm of all gradients as one vector; its sums have the same bits for any number of threads."""
    if math.isinf(norm_type):
        return float(np.max([np.abs(gradient).max(initial=0) for gradient in gradients], initial=0))
    if norm_type == 2:
        return math.sqrt(sum(_square_sum(alike) for alike in _by_dtype(gradients)))
    sums = [float((np.abs(gradient, dtype=np.float64) ** norm_type).sum()) for gradient in gradients]
    return float(sum(sums) ** (1 / norm_type))


def _square_sum(gradients: list[Array]) -> float:
    out = np.empty(1)
    clip = kernel("clip_grad", gradients[0].dtype)
    need_memory("clip_grad_norm_", clip.square_sum([dense(x) for x in gradients], out, get_num_threads()))
    return float(out[0])


def _in_place(function: str, gradients: list[Array], value: float) -> None:
    """Let a kernel change all gradients; those that have gaps are changed in copies."""
    for alike in _by_dtype(gradients):
        arrays = [dense(gradient) for gradient in alike]
        change = getattr(kernel("clip_grad", alike[0].dtype), function)
        need_memory(function, change(arrays, value, get_num_threads()))
        for gradient, changed in zip(alike, arrays, strict=True):
            if changed is not gradient:
                gradient[...] = changed


def _by_dtype(gradients: list[Array]) -> list[list[Array]]:
    kinds: dict[str, list[Array]] = {}
    for gradient in gradients:
        kinds.setdefault(gradient.dtype.char, []).append(gradient)
    return list(kinds.values())
