"""convkit: a convolution engine for CPUs. NumPy arrays in, trained networks out."""

from . import ops
from ._config import config, show_config
from ._threads import get_num_threads, num_threads, set_num_threads

__version__ = "0.1.0"

__all__ = ["config", "get_num_threads", "num_threads", "ops", "set_num_threads", "show_config"]
