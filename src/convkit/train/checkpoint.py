"""Everything that a training run needs to go on as if it had never stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from .. import _random
from ..data import DataLoader
from ..nn import Module
from ..optim import Optimizer
from .metrics import EpochMetrics
from .tensor_file import Arrays, read_tensors, write_tensors

_ARRAY = "$array"
_NO_PARTS: dict[str, Stateful] = {}


class Stateful(Protocol):
    """What a checkpoint can keep."""

    def state_dict(self) -> Any:
        """Return a tree of dictionaries, lists, ndarrays and what JSON can hold."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Go back to what `state_dict` returned."""


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Optimizer,
    loader: DataLoader,
    history: Sequence[EpochMetrics],
    parts: Mapping[str, Stateful] = _NO_PARTS,
) -> None:
    """Save a training run between two epochs.

    Parameters
    ----------
    path : path-like
        The file; replaced whole.
    model, optimizer, loader
        What is trained, how, and on which batches; all three have a ``state_dict``.
    history : sequence of EpochMetrics
        The epochs so far.
    parts : dict of str to Stateful, optional
        What else has a state, such as schedulers, by names that `load_checkpoint` asks for again.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    """
    arrays: Arrays = {f"model.{name}": array for name, array in model.state_dict().items()}
    stateful = _stateful(optimizer, loader, parts)
    about = {
        **{name: _pack(part.state_dict(), name, arrays) for name, part in stateful.items()},
        "parts": sorted(parts),
        "random": _random.get_rng_state(),
        "history": [asdict(metrics) for metrics in history],
    }
    write_tensors(path, "checkpoint", arrays, about)


def load_checkpoint(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Optimizer,
    loader: DataLoader,
    parts: Mapping[str, Stateful] = _NO_PARTS,
) -> list[EpochMetrics]:
    """Put a training run back to where `save_checkpoint` found it.

    Parameters
    ----------
    path : path-like
        The file.
    model, optimizer, loader, parts
        Made as they were for the run that was saved; their state is replaced.

    Returns
    -------
    list of EpochMetrics
        The epochs so far.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If the file is broken, or does not fit what it is loaded into; the message names the file, and everything is
        left as it was.
    """
    arrays, about = read_tensors(path, "checkpoint")
    weights = {name.removeprefix("model."): array for name, array in arrays.items() if name.startswith("model.")}
    stateful = _stateful(optimizer, loader, parts)
    before = model.state_dict(), {name: part.state_dict() for name, part in stateful.items()}
    try:
        history = [EpochMetrics(**metrics) for metrics in about["history"]]
        _check_parts(about.get("parts", []), sorted(parts))
        _restore(model, weights, stateful, {name: _unpack(about[name], arrays) for name in stateful})
        # Last, and whole or not at all: no draw of the caller's is lost to a file that does not fit.
        _random.set_rng_state(about["random"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _restore(model, before[0], stateful, before[1])
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: {reason}") from None
    return history


def _stateful(optimizer: Optimizer, loader: DataLoader, parts: Mapping[str, Stateful]) -> dict[str, Stateful]:
    return {"optimizer": optimizer, "loader": loader, **parts}


def _check_parts(saved: list[str], here: list[str]) -> None:
    if saved != here:
        told = [", ".join(names) or "neither scheduler nor callbacks" for names in (saved, here)]
        raise ValueError(f"was saved with {told[0]}, and here is {told[1]}")


def _restore(model: Module, weights: Arrays, stateful: Mapping[str, Stateful], states: Mapping[str, Any]) -> None:
    model.load_state_dict(weights)
    for name, part in stateful.items():
        part.load_state_dict(states[name])


def _pack(tree: Any, name: str, arrays: Arrays) -> Any:
    """Move the arrays of a tree of dicts and lists into `arrays`; what remains, JSON can hold."""
    if isinstance(tree, np.ndarray):
        arrays[name] = tree
        return {_ARRAY: name}
    if isinstance(tree, dict):
        return {key: _pack(value, f"{name}.{key}", arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_pack(value, f"{name}.{index}", arrays) for index, value in enumerate(tree)]
    return tree


def _unpack(tree: Any, arrays: Arrays) -> Any:
    """Put the arrays back; numbers that were keys stay strings and tuples lists, which optimizers expect."""
    if isinstance(tree, dict):
        if tree.keys() == {_ARRAY}:
            return arrays[tree[_ARRAY]]
        return {key: _unpack(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_unpack(value, arrays) for value in tree]
    return tree
