"""The graph of a computation, read off the tape."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from ...autograd import Node, Tensor, enable_grad
from ...nn import Module
from ...nn.hooks import watched
from ..trials import undone

Target: TypeAlias = Node | Tensor


class GraphNode(NamedTuple):
    """A tensor of a computation, and where it comes from."""

    #: Its name, with a slash after each scope: ``conv1/conv2d``.
    name: str
    #: The operation that made it, or for what was made by hand ``Parameter`` or ``Tensor``.
    op: str
    #: The names of the tensors that it was made from.
    inputs: tuple[str, ...]
    #: Its shape.
    shape: tuple[int, ...]
    #: The name of its dtype.
    dtype: str


def tensor_graph(tensor: Tensor, names: Mapping[str, Tensor] | None = None) -> list[GraphNode]:
    """Tell how a tensor was computed.

    Parameters
    ----------
    tensor : Tensor
        The result, before its `backward`, which takes the tape apart.
    names : dict of str to Tensor, optional
        What tensors on the way are called; the others get the names of their operations. A slash in a name makes a
        scope.

    Returns
    -------
    list of GraphNode
        Everything that the tensor was computed from, each after its inputs.

    Raises
    ------
    ValueError
        If nothing of it was recorded, or `backward` took it apart.

    Notes
    -----
    The tape knows what gradients flow through: constants, and tensors that require no gradient, are not in the graph.

    Examples
    --------
    >>> import convkit as ck
    >>> x = ck.tensor([1.0, 2.0], requires_grad=True)
    >>> for node in tensor_graph((3 * x).sum(), {"x": x}):
    ...     print(node.name, node.inputs, node.shape)
    x () (2,)
    mul ('x',) (2,)
    sum ('mul',) ()
    """
    return _Graph(tensor, {_target(known): name for name, known in (names or {}).items()}, {}).nodes()


def model_graph(model: Module, images: NDArray[Any]) -> list[GraphNode]:
    """Tell how a network computes, with its layers as scopes.

    Parameters
    ----------
    model : Module
        Run once, in the mode that it is in; its state, and the random numbers, are left as they were.
    images : ndarray
        What it takes, usually of shape (N, C, H, W) and float32.

    Returns
    -------
    list of GraphNode
        The operations of each layer, named ``layer/operation``, the parameters and the ``input``.

    Raises
    ------
    ValueError
        If `images` does not fit the network.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    >>> for node in model_graph(model, np.zeros((1, 4), np.float32)):
    ...     print(node.name, node.inputs)
    input ()
    0/weight ()
    0/bias ()
    0/linear ('input', '0/weight', '0/bias')
    1/relu ('0/linear',)
    """
    start = Tensor(images, requires_grad=True)
    scopes: dict[Node, str] = {}

    def claim(path: str, module: Module, args: tuple[Any, ...], output: Any) -> None:
        # The modules inside came before, so what is left between the arguments and the output is this one's own.
        border = {_target(argument) for argument in _tensors(args)}
        for node in _nodes_before(map(_target, _tensors(output)), {*border, *scopes}):
            scopes[node] = path.replace(".", "/")

    with undone(model), enable_grad(), watched(model.named_modules(), claim):
        output = model(start)
    names = {_target(parameter): path.replace(".", "/") for path, parameter in model.named_parameters()}
    return _Graph(output, {**names, start: "input"}, scopes).nodes()


class _Graph:
    """The tape behind a tensor, with a name for each thing on it."""

    def __init__(self, output: Tensor, names: Mapping[Target, str], scopes: Mapping[Node, str]) -> None:
        if not output.requires_grad:
            raise ValueError("graph: this tensor requires no gradient, so nothing of its computation was recorded")
        self._nodes = sorted(_nodes_before([_target(output)], set()), key=lambda node: node.number)
        if any(not node.targets for node in self._nodes):
            raise ValueError("graph: backward took the tape apart; read it before, or pass retain_graph=True")
        self._names: dict[Target, str] = dict(names)
        self._scopes = scopes
        # A scope and a node of the same name would be one thing to TensorBoard.
        self._used = set(self._names.values())
        for scope in [*scopes.values(), *(name.rpartition("/")[0] for name in names.values())]:
            self._used.update(itertools.accumulate(scope.split("/"), "{}/{}".format))

    def nodes(self) -> list[GraphNode]:
        found: dict[Target, GraphNode] = {}
        for node in self._nodes:
            inputs = [target for target in node.targets if target is not None]
            for leaf in inputs:
                if isinstance(leaf, Tensor) and leaf not in found:
                    found[leaf] = self._described(leaf, type(leaf).__name__, ())
            found[node] = self._described(node, node.name, tuple(self._names[target] for target in inputs))
        return list(found.values())

    def _described(self, target: Target, op: str, inputs: tuple[str, ...]) -> GraphNode:
        if target not in self._names:
            scope = self._scopes.get(target, "") if isinstance(target, Node) else ""
            self._names[target] = self._unused(f"{scope}/{op.lower()}".lstrip("/"))
        return GraphNode(self._names[target], op, inputs, target.shape, target.dtype.name)

    def _unused(self, name: str) -> str:
        free, number = name, 0
        while free in self._used:
            number += 1
            free = f"{name}_{number}"
        self._used.add(free)
        return free


def _nodes_before(targets: Iterable[Target], border: set[Target]) -> set[Node]:
    """Collect the nodes that `targets` were computed by, without those of `border` and what lies behind it."""
    found: set[Node] = set()
    waiting = list(targets)
    while waiting:
        target = waiting.pop()
        if isinstance(target, Node) and target not in found and target not in border:
            found.add(target)
            waiting += [before for before in target.targets if before is not None]
    return found


def _target(tensor: Tensor) -> Target:
    return tensor if tensor.grad_fn is None else tensor.grad_fn


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, tuple | list):
        return [tensor for value in values for tensor in _tensors(value)]
    return [values] if isinstance(values, Tensor) else []
