"""The same network in PyTorch: names, arguments and `forward` are PyTorch's, so nothing needs to be written twice."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections import OrderedDict
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

from ..nn import Module, Parameter, Sequential
from ..nn.hooks import is_leaf
from .workload import Workload


def as_torch(network: Module) -> Any:
    """Make a network of PyTorch, with the same weights.

    Parameters
    ----------
    network : Module
        Made of layers that PyTorch has under the same name. A module with a ``forward`` of its own may do with its
        parts and their results what PyTorch allows too: call them, and compute by operators and methods. It may not
        have parameters of its own, and may not call functions of convkit.

    Returns
    -------
    torch.nn.Module
        Its state dict has the same keys and values.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError
        If PyTorch has no layer of this name, or a module has parameters beside its layers.

    Examples
    --------
    >>> from importlib.util import find_spec
    >>> from convkit import models
    >>> if find_spec("torch"):
    ...     assert list(as_torch(models.resnet20()).state_dict()) == list(models.resnet20().state_dict())
    """
    torch = import_module("torch")
    twin = _translated(network, torch.nn)
    twin.load_state_dict({name: torch.from_numpy(value) for name, value in network.state_dict().items()})
    return twin


def _translated(module: Module, nn: Any) -> Any:
    if is_leaf(module) and not isinstance(module, Sequential):
        return _layer(module, nn)
    parts = OrderedDict((n, _translated(part, nn)) for n, part in vars(module).items() if isinstance(part, Module))
    if type(module) is Sequential:
        return nn.Sequential(parts)
    values = {n: value for n, value in vars(module).items() if n not in parts and n != "training" and n[0] != "_"}
    if any(isinstance(value, Parameter) for value in values.values()):
        raise ValueError(f"{type(module).__name__} has parameters beside its layers: it cannot be had in PyTorch")
    # Its own `forward`, run on PyTorch's tensors: these have the same operators and methods.
    twin = type(type(module).__name__, (nn.Module,), {"forward": type(module).forward})()
    for name, value in (values | parts).items():
        setattr(twin, name, value)
    return twin


def _layer(module: Module, nn: Any) -> Any:
    """Make a layer of the same name from those attributes that are arguments there."""
    name = type(module).__name__
    kind = getattr(nn, name, None)
    if kind is None or type(module).__module__.partition(".")[0] != "convkit":
        raise ValueError(f"PyTorch has no layer {name}")
    arguments = {n: getattr(module, n) for n in inspect.signature(kind).parameters if hasattr(module, n)}
    if "bias" in arguments:
        arguments["bias"] = arguments["bias"] is not None
    return kind(**arguments)


def as_onnx(workload: Workload) -> bytes:
    """Return the network of `workload`, for its batch, as PyTorch exports it to ONNX."""
    torch = import_module("torch")
    network = as_torch(workload.network()).eval()
    images = torch.from_numpy(workload.images())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of operations that nobody asks for
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(network, (images,), dynamo=True, verbose=False)
    serialized: bytes = exported.model_proto.SerializeToString()
    return serialized
