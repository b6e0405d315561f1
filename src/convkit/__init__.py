"""convkit: a convolution engine for CPUs. NumPy arrays in, trained networks out.

Each floor is a way in of its own, and imports only the floors below it:

- `convkit.train`: trainer, checkpoints, figures; and the command ``convkit``
- `convkit.models`: the networks of the articles
- `convkit.nn`, `convkit.optim`, `convkit.data`: layers, optimizers, batches
- `convkit.functional`: differentiable operations on `Tensor`
- `convkit.ops`: operations on NumPy arrays, without a tape; `convkit.filters`, made by hand, to try them with
"""

from . import data, filters, functional, models, nn, ops, optim, train
from ._config import config, show_config
from ._memory import empty_cache, memory_stats
from ._random import manual_seed
from ._threads import get_num_threads, num_threads, set_num_threads
from .autograd import Tensor, enable_grad, is_grad_enabled, no_grad, tensor

__version__ = "0.1.0"

__all__ = [
    "Tensor",
    "config",
    "data",
    "empty_cache",
    "enable_grad",
    "filters",
    "functional",
    "get_num_threads",
    "is_grad_enabled",
    "manual_seed",
    "memory_stats",
    "models",
    "nn",
    "no_grad",
    "num_threads",
    "ops",
    "optim",
    "set_num_threads",
    "show_config",
    "tensor",
    "train",
]
