"""Everything that a training run needs to go on as if it had never stopped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .. import _random
from ..data import DataLoader
from ..nn import Module
from ..optim import Optimizer
from .metrics import EpochMetrics
from .tensor_file import Arrays, read_tensors, write_tensors

_ARRAY = "$array"


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Optimizer,
    loader: DataLoader,
    history: Sequence[EpochMetrics],
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

    Raises
    ------
    ImportError
        If safetensors is not installed.
    """
    arrays: Arrays = {f"model.{name}": array for name, array in model.state_dict().items()}
    about = {
        "optimizer": _pack(optimizer.state_dict(), "optimizer", arrays),
        "loader": loader.state_dict(),
        "random": _random.get_rng_state(),
        "history": [asdict(metrics) for metrics in history],
    }
    write_tensors(path, "checkpoint", arrays, about)


def load_checkpoint(
    path: str | os.PathLike[str], model: Module, optimizer: Optimizer, loader: DataLoader
) -> list[EpochMetrics]:
    """Put a training run back to where `save_checkpoint` found it.

    Parameters
    ----------
    path : path-like
        The file.
    model, optimizer, loader
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
    before = model.state_dict(), optimizer.state_dict(), loader.state_dict()
    try:
        history = [EpochMetrics(**metrics) for metrics in about["history"]]
        _restore(model, weights, optimizer, _unpack(about["optimizer"], arrays), loader, about["loader"])
        # Last, and whole or not at all: no draw of the caller's is lost to a file that does not fit.
        _random.set_rng_state(about["random"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _restore(model, before[0], optimizer, before[1], loader, before[2])
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: {reason}") from None
    return history


def _restore(
    model: Module, weights: Arrays, optimizer: Optimizer, options: Any, loader: DataLoader, order: dict[str, int]
) -> None:
    model.load_state_dict(weights)
    optimizer.load_state_dict(options)
    loader.load_state_dict(order)


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
