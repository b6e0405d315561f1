"""Arrays and what there is to say about them, in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._extras import require
from .._files import replacing

Arrays = dict[str, NDArray[Any]]

# safetensors keeps its metadata in no fixed order; a single key leaves it none to choose, so equal content makes
# equal files.
_KEY = "convkit"


def write_tensors(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, NDArray[Any]], about: Any) -> None:
    """Write a file that replaces `path` whole.

    Parameters
    ----------
    path : path-like
        The file.
    kind : str
        What the file is, ``"model"`` or ``"checkpoint"``; `read_tensors` asks for it again.
    arrays : dict of str to ndarray
        Any shapes and orders.
    about : dict
        Anything that JSON can hold.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    """
    # Here, since the package's own module is above this one.
    from .. import __version__

    safetensors = require("safetensors.numpy", "saving networks")
    text = json.dumps({"kind": kind, "version": __version__, **about}, sort_keys=True)
    # safetensors stores memory as it lies, whatever the strides.
    packed = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = safetensors.save(packed, metadata={_KEY: text})
    with replacing(path) as file:
        file.write(content)


def read_tensors(path: str | os.PathLike[str], kind: str) -> tuple[Arrays, dict[str, Any]]:
    """Read a file that `write_tensors` wrote.

    Parameters
    ----------
    path : path-like
        The file.
    kind : str
        What the file must be.

    Returns
    -------
    arrays : dict of str to ndarray
        The arrays, in C order.
    about : dict
        What was said about them.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If it is not a whole safetensors file, or not one of this `kind`.
    """
    safetensors = require("safetensors", "loading networks")
    with open(path, "rb"):  # a file that is missing or locked gets Python's own error
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
    except (safetensors.SafetensorError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not a whole safetensors file of NumPy's dtypes: {error}") from None
    return arrays, _checked(path, kind, metadata.get(_KEY))


def _checked(path: str | os.PathLike[str], kind: str, text: str | None) -> dict[str, Any]:
    if text is None:
        raise ValueError(f"{path}: lacks convkit's metadata: a {kind} must be one that convkit wrote")
    try:
        about = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: convkit's metadata is not JSON: {error}") from None
    found = about.get("kind") if isinstance(about, dict) else None
    if found != kind:
        raise ValueError(f"{path}: must hold a {kind}, but holds a {found}")
    return dict(about)
