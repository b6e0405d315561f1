"""convkit: a convolution engine for CPUs. NumPy arrays in, trained networks out.

Each floor is a way in of its own, and imports only the floors below it:

- `convkit.inference`: `compile`, for networks that are done with training; and the command ``convkit``
- `convkit.train`: trainer, checkpoints, figures
- `convkit.models`: the networks of the articles
- `convkit.nn`, `convkit.optim`, `convkit.data`: layers, optimizers, batches
- `convkit.functional`: differentiable operations on `Tensor`, those of ``torch.nn.functional``; those of ``torch``
  itself, such as `exp`, `sum` and `cat`, are here
- `convkit.ops`: operations on NumPy arrays, without a tape; `convkit.filters`, made by hand, to try them with
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import ops
from ._config import config, show_config
from ._fusion import fusion, get_fusion, set_fusion
from ._memory import empty_cache, memory_stats
from ._precision import float32_precision, get_float32_precision, set_float32_precision
from ._random import manual_seed
from ._threads import get_num_threads, num_threads, set_num_threads
from .autograd import (
    Tensor,
    abs,
    add,
    amax,
    amin,
    argmax,
    argmin,
    broadcast_to,
    cat,
    clamp,
    clone,
    cos,
    div,
    enable_grad,
    eq,
    exp,
    expm1,
    flatten,
    ge,
    gt,
    is_grad_enabled,
    le,
    log,
    log1p,
    logsumexp,
    lt,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    mul,
    ne,
    neg,
    no_grad,
    permute,
    pow,
    prod,
    reshape,
    rsqrt,
    sin,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    sum,
    tan,
    tensor,
    transpose,
    unsqueeze,
    var,
    where,
)

if TYPE_CHECKING:
    from . import data, filters, functional, inference, models, nn, optim, train
    from .inference import CompiledModel, compile, load_compiled

__version__ = "0.1.0"

__all__ = [
    "CompiledModel",
    "Tensor",
    "abs",
    "add",
    "amax",
    "amin",
    "argmax",
    "argmin",
    "broadcast_to",
    "cat",
    "clamp",
    "clone",
    "compile",
    "config",
    "cos",
    "data",
    "div",
    "empty_cache",
    "enable_grad",
    "eq",
    "exp",
    "expm1",
    "filters",
    "flatten",
    "float32_precision",
    "functional",
    "fusion",
    "ge",
    "get_float32_precision",
    "get_fusion",
    "get_num_threads",
    "gt",
    "inference",
    "is_grad_enabled",
    "le",
    "load_compiled",
    "log",
    "log1p",
    "logsumexp",
    "lt",
    "manual_seed",
    "matmul",
    "max",
    "maximum",
    "mean",
    "memory_stats",
    "min",
    "minimum",
    "models",
    "mul",
    "ne",
    "neg",
    "nn",
    "no_grad",
    "num_threads",
    "ops",
    "optim",
    "permute",
    "pow",
    "prod",
    "reshape",
    "rsqrt",
    "set_float32_precision",
    "set_fusion",
    "set_num_threads",
    "show_config",
    "sin",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "tan",
    "tensor",
    "train",
    "transpose",
    "unsqueeze",
    "var",
    "where",
]

#: Imported when they are first asked for: who needs one of them does not wait for the others.
_LATER = frozenset({"data", "filters", "functional", "inference", "models", "nn", "optim", "train"})
_OF_INFERENCE = frozenset({"CompiledModel", "compile", "load_compiled"})


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return import_module(f".{name}", __name__)
    if name in _OF_INFERENCE:
        return getattr(import_module(".inference", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
