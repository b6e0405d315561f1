"""`compile`, and the network that it gives."""

from __future__ import annotations

import os
import threading
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from .._memory import empty
from .._precision import float32_precision, get_float32_precision
from .._threads import get_num_threads
from ..autograd import Tensor, no_grad
from ..nn import Module
from ..nn.modes import evaluating
from ..ops._arrays import contiguous, need_memory
from . import files
from .fusing import fuse
from .graph import Graph
from .lowering import RefusedError, lower
from .programs import Program, Programs
from .tracing import trace

Array = NDArray[Any]

# A thread's share of the images is cut so that values, from one call to the next, stay in its second-level cache; or
# take as much memory as the weights, which each piece reads again.
_CACHE = 512 * 1024
# One thread too few for as many as a fifth of the time is worse than all threads at each call.
_LEAST_SHARE = 0.8
_MOST_PLANS = 32


class _Plan(NamedTuple):
    """How a batch of one size is cut: pieces of one image more, and then the others."""

    larger: Program
    larger_count: int
    smaller: Program
    smaller_count: int


class CompiledModel:
    """A network that only computes: made by `compile` or `load_compiled`.

    Call it with images of the size that it was compiled for, as many as there are. It may be called by several
    threads at a time.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit as ck
    >>> model = ck.nn.Sequential(ck.nn.Conv2d(1, 2, 3), ck.nn.BatchNorm2d(2), ck.nn.ReLU())
    >>> compiled = ck.compile(model, np.zeros((1, 1, 8, 8), np.float32))
    >>> compiled
    CompiledModel((N, 1, 8, 8) -> (N, 2, 6, 6), float32: conv2d+relu)
    >>> compiled(np.zeros((5, 1, 8, 8), np.float32)).shape
    (5, 2, 6, 6)
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._programs = Programs(graph)
        self._plans: dict[tuple[int, bool, int], _Plan] = {}
        self._lock = threading.Lock()

    @overload
    def __call__(self, input: Tensor) -> Tensor: ...
    @overload
    def __call__(self, input: Array) -> Array: ...
    def __call__(self, input: Tensor | Array) -> Tensor | Array:
        """Compute the network's output for images (N, C, H, W): a tensor if they are one, else an ndarray."""
        if isinstance(input, Tensor):
            return Tensor(self._run(input.data))
        return self._run(input)

    def _run(self, x: Array) -> Array:
        shape = self.graph.input_shape
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(f"CompiledModel: input must be a Tensor or ndarray of {self.graph.dtype}, got {found}")
        if x.shape[1:] != shape:
            raise ValueError(
                f"CompiledModel: input has shape {x.shape} but the model was compiled for {_batch_of(shape)}"
            )
        flat, in_c_order = _flat(x.astype(self.graph.dtype, copy=False))
        rows = _rows(self.graph.output_shape)
        out = empty((len(x), *rows), self.graph.dtype)
        if len(x):
            self._compute(flat, in_c_order, len(x), out)
        return out.transpose(0, 3, 1, 2) if len(rows) == 3 else out

    def _compute(self, flat: Array, in_c_order: bool, images: int, out: Array) -> None:
        threads = get_num_threads()
        plan = self._plan(images, in_c_order, threads)
        larger, smaller = (plan.larger.handle, plan.larger_count), (plan.smaller.handle, plan.smaller_count)
        need_memory("CompiledModel", self._programs.run(*larger, *smaller, flat, out.reshape(-1), threads))

    def _plan(self, images: int, in_c_order: bool, threads: int) -> _Plan:
        key = (images, in_c_order, threads)
        plan = self._plans.get(key)
        if plan is None:
            with self._lock:
                plan = self._made_plan(images, in_c_order, threads)
                if len(self._plans) >= _MOST_PLANS:
                    self._plans = {}
                self._plans[key] = plan
        return plan

    def _made_plan(self, images: int, in_c_order: bool, threads: int) -> _Plan:
        one = self._programs.program(1, in_c_order)
        room = max(_CACHE // self.graph.dtype.itemsize, self._programs.weight_size)
        pieces = _pieces(images, threads, max(1, room // max(1, one.arena)))
        smaller = self._programs.program(images // pieces, in_c_order)
        larger, count = smaller, images % pieces
        if count:
            larger = self._programs.program(images // pieces + 1, in_c_order)
        return _Plan(larger, count, smaller, pieces - count)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file that `load_compiled` reads.

        Parameters
        ----------
        path : path-like
            The file, usually ``*.safetensors``; replaced whole.

        Raises
        ------
        ImportError
            If safetensors is not installed.

        Notes
        -----
        Weights are in it as they are after folding, but not as they are packed: it can be loaded on any machine.
        """
        files.save(path, self.graph)

    def __repr__(self) -> str:
        names = [
            "+".join(filter(None, (node.op, "add" if node.residual is not None else "", node.rectifier)))
            for node in self.graph.nodes
        ]
        shapes = f"{_batch_of(self.graph.input_shape)} -> {_batch_of(self.graph.output_shape)}"
        return f"CompiledModel({shapes}, {self.graph.dtype}: {', '.join(names)})"


def _pieces(images: int, threads: int, most: int) -> int:
    """Into how many pieces of at most `most` images a batch is cut, so that threads finish together."""
    share = -(-images // threads)
    if images < _LEAST_SHARE * share * threads:
        return -(-images // (most * threads))
    return min(images, -(-share // most) * threads)


def _flat(x: Array) -> tuple[Array, bool]:
    """Return the elements as a vector, and whether they are in C order; otherwise they lie channels-last."""
    if x.ndim == 4 and x.flags.aligned:
        last = x.transpose(0, 2, 3, 1)
        if last.flags.c_contiguous:
            return last.reshape(-1), False
    return contiguous(x).reshape(-1), x.ndim == 4


def _rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape as it lies in memory."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def _batch_of(shape: tuple[int, ...]) -> str:
    return f"(N, {', '.join(map(str, shape))})" if shape else "(N,)"


def compile(model: Module, example: Tensor | Array, precision: str | None = None) -> CompiledModel:
    """Turn a network into one that only computes, and does so faster.

    Parameters
    ----------
    model : Module
        The network. It stays as it is, and what is compiled does not change with it.
    example : Tensor or ndarray, shape (N, C, H, W) or (N, F), float32 or float64
        Images as the network will usually get them, at least one: kernels are chosen for so many at a time.
    precision : {'highest', 'high', 'medium'}, optional
        How precisely float32 convolutions compute, as for `convkit.set_float32_precision`; by default as is in force.

    Returns
    -------
    CompiledModel
        Called with any number of such images, it gives what ``model.eval()`` would.

    Raises
    ------
    TypeError
        If `model` is not a Module, or `example` is not of float32 or float64.
    ValueError
        If `precision` is unknown, or the network does what cannot be compiled; the message names it.

    Notes
    -----
    The network computes `example`, and the functions that it calls are written down: its Python is not looked at, so
    every decision that it takes because of the images' values, shapes or number is taken then, once and for all.
    Batch norm is folded into the weights of the layer before it, in double precision; activations and additions are
    done with the layer before them; weights are packed; and all values share one arena, planned for each number of
    images. A run is one call into C, which goes through the images in pieces that fit a core's cache, one thread a
    piece. Of fewer images than threads, all threads compute each operation; a convolution whose maxima are taken
    next is cut into bands of rows, which each thread pools itself. The same bits come out for any number of
    threads, and for an image whatever others are with it.

    Results differ from the network's own by roundings: the scale of batch norm is rounded into the weights, so that
    the error of each layer stays within the bound of `convkit.ops.conv2d`. What was compiled is compared with the
    network for `example` and for random numbers, and refused where they differ by more than 1e-4 (float64: 1e-10;
    ``medium``: 5e-2) of the result's root mean square.

    Examples
    --------
    >>> import numpy as np
    >>> import convkit as ck
    >>> model = ck.models.convnet()
    >>> images = np.zeros((2, 1, 28, 28), np.float32)
    >>> compiled = ck.compile(model, images)
    >>> bool(np.allclose(compiled(images), model.eval()(images).data, atol=1e-5))
    True
    """
    if not isinstance(model, Module):
        raise TypeError(f"compile: model must be a Module, got {type(model).__name__}")
    start = _start(example)
    with float32_precision(get_float32_precision() if precision is None else precision):
        try:
            compiled = CompiledModel(fuse(lower(trace(model, start))))
        except RefusedError as error:
            raise ValueError(f"compile: {error}") from None
        _compare(model, compiled, start.data)
    return compiled


def load_compiled(path: str | os.PathLike[str]) -> CompiledModel:
    """Load a network that `CompiledModel.save` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    CompiledModel
        Gives, with the same kernels, the bits that the saved one gave.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If the file is broken, or its parts do not fit together; the message names the file.
    """
    return CompiledModel(files.load(path))


def _start(example: Tensor | Array) -> Tensor:
    values = example.data if isinstance(example, Tensor) else example
    if not isinstance(values, np.ndarray) or values.dtype not in (np.float32, np.float64):
        found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(f"compile: example must be a Tensor or ndarray of float32 or float64, got {found}")
    if values.ndim not in (2, 4) or values.size == 0:
        raise ValueError(f"compile: example has shape {values.shape}, but must be (N, C, H, W) or (N, F), with N > 0")
    return Tensor(values)


def _bound(graph: Graph) -> float:
    """Return the root mean square of a difference that roundings can make, relative to that of the result."""
    if graph.dtype == np.float64:
        return 1e-10
    return 5e-2 if graph.precision == "medium" else 1e-4


def _compare(model: Module, compiled: CompiledModel, example: Array) -> None:
    """Refuse what computes anything else than the network does."""
    others = np.random.default_rng(0).standard_normal(example.shape, dtype=np.float32).astype(example.dtype)
    for name, images in (("the example", example), ("random images", others), ("other random images", -others)):
        with evaluating(model), no_grad():
            expected = model(Tensor(images)).data
        found = compiled(images)
        if expected.shape != found.shape or _difference(found, expected) > _bound(compiled.graph):
            raise ValueError(
                f"compile: the compiled network and the model differ for {name}: forward computes something outside of "
                f"convkit's functions on tensors, or decides by the values of the images what to compute"
            )


def _difference(found: Array, expected: Array) -> float:
    """Return the root mean square of the difference, relative to the expected one's; of finite numbers."""
    if not np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return float("inf")
    finite = np.isfinite(expected)
    values = expected[finite].astype(np.float64)
    return float(np.linalg.norm(found[finite] - values)) / max(float(np.linalg.norm(values)), 1e-30)
