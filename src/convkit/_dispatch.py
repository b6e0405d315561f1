"""Which compiled variant of the kernels this process uses: decided once, at import."""

import functools
import importlib
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ._kernels import _cpu

#: Kernels' folders by element type; bfloat16, of which NumPy knows nothing, is handed over as its bits.
_SUFFIXES = {"f": "f32", "d": "f64", "H": "bf16"}

#: Instruction sets whose kernels are but additions to those of another.
_EXTENDS = {"amx": "x86_v4", "avx512_bf16": "x86_v4"}


def choose(wanted: str, built: Sequence[str], supported: Sequence[str]) -> str:
    """Choose an instruction set.

    Parameters
    ----------
    wanted : str
        Value of ``CONVKIT_ISA``: a name, or "" or "auto" for the best.
    built : sequence of str
        Instruction sets that this build of convkit has.
    supported : sequence of str
        Instruction sets that this machine can run, the best first.

    Returns
    -------
    str
        One that is in both.

    Raises
    ------
    ImportError
        If the name is unknown to this build, or the machine cannot run it.

    Examples
    --------
    >>> choose("", ["baseline", "x86_v3"], ["x86_v4", "x86_v3", "baseline"])
    'x86_v3'
    """
    name = wanted.strip().lower()
    usable = [isa for isa in supported if isa in built]
    has = f"this build has {', '.join(built)}; this machine can run {', '.join(supported)}"
    if name in ("", "auto"):
        if not usable:
            raise ImportError(f"convkit has no kernels for this machine: {has}")
        return usable[0]
    if name not in built:
        raise ImportError(f"CONVKIT_ISA={wanted!r} is not an instruction set that convkit was built for: {has}")
    if name not in usable:
        raise ImportError(f"CONVKIT_ISA={wanted!r} is not supported by this machine: {has}")
    return name


def _supported() -> tuple[str, ...]:
    """Return what the processor can run, less AMX where the operating system refuses its tiles."""
    found: tuple[str, ...] = _cpu.isas_supported()
    if "amx" in found and not _cpu.permit_amx():
        return tuple(isa for isa in found if isa != "amx")
    return found


isas_built: tuple[str, ...] = _cpu.isas_built
isas_supported = _supported()
isa = choose(os.environ.get("CONVKIT_ISA", ""), isas_built, isas_supported)


def variant(name: str, dtype: "np.dtype[Any]", isa: str) -> ModuleType:
    """Import kernel `name` for an element type and an instruction set that this machine supports."""
    if isa not in isas_supported:
        raise ImportError(f"{isa!r} is not supported by this machine, which can run {', '.join(isas_supported)}")
    suffix = _SUFFIXES[dtype.char]
    if isa in _EXTENDS and f"{isa}_{suffix}.{name}" not in _cpu.own_kernels:
        isa = _EXTENDS[isa]
    return importlib.import_module(f"convkit._kernels.{isa}_{suffix}.{name}")


@functools.cache
def _chosen(name: str, char: str) -> ModuleType:
    return variant(name, np.dtype(char), isa)


def kernel(name: str, dtype: "np.dtype[Any]") -> ModuleType:
    """Return the module of kernel `name` for an element type; it is loaded when it is first asked for."""
    return _chosen(name, dtype.char)


def tile_shape(dtype: "np.dtype[np.floating]") -> tuple[int, int]:
    """Return (rows, lanes) of the register tile: sizes at which kernels take another path."""
    rows, lanes = kernel("conv2d", np.dtype(dtype)).TILE
    return rows, lanes
