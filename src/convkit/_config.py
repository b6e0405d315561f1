"""What this convkit is made of, and how it would run here."""

import platform
import sys
from typing import TypedDict

import numpy as np

from . import _dispatch
from ._kernels import _cpu
from ._precision import get_float32_precision
from ._threads import get_num_threads


class Config(TypedDict):
    """The result of `config`."""

    isa: str
    isas_built: tuple[str, ...]
    isas_supported: tuple[str, ...]
    threads: int
    openmp: bool
    float32_precision: str


def config() -> Config:
    """Return what was built, what this machine can run, and what is in use.

    Returns
    -------
    dict
        ``isa``, the instruction set in use; ``isas_built``; ``isas_supported`` by this machine, best first;
        ``threads``, the number that kernels run on now; ``openmp``, whether kernels were built with it;
        ``float32_precision``, the one in force now.

    Examples
    --------
    >>> config()["isa"] in config()["isas_supported"]
    True
    """
    return {
        "isa": _dispatch.isa,
        "isas_built": _dispatch.isas_built,
        "isas_supported": _dispatch.isas_supported,
        "threads": get_num_threads(),
        "openmp": bool(_cpu.openmp_version),
        "float32_precision": get_float32_precision(),
    }


def show_config() -> None:
    """Print `config`, and the versions of what convkit runs on, for people and for bug reports."""
    from . import __version__

    lines = {
        "convkit": __version__,
        **config(),
        "numpy": np.__version__,
        "python": f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}",
    }
    for name, value in lines.items():
        print(f"{name:<18} {' '.join(value) if isinstance(value, tuple) else value}")
