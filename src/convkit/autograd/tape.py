"""The tape: a node for each recorded operation, and the walk that takes a gradient back along them."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ._arrays import reduced
from .pending import Pending
from .pending_gradients import PendingGradient, SummedGradient, settled, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .tensors import Tensor

    Array: TypeAlias = NDArray[Any]
    Target: TypeAlias = "Node | Tensor"
    JointGradient: TypeAlias = Callable[[Any], Sequence[Any]]


class Node:
    """One recorded operation: the gradient of its output goes in, those of its inputs come out.

    A node holds none of the operation's tensors but leaves, which collect gradients. What the gradients are
    computed from is held by the function that computes them, so an array that no gradient needs is free to go
    as soon as the forward pass lets go of it.

    Parameters
    ----------
    name : str
        The operation, for messages.
    output : ndarray or Pending
        Its result; only shape and dtype are kept, and whether it is still to be computed: then the gradients may be,
        too.
    targets : tuple of Node, Tensor or None
        Where the gradient of each input goes: to the node that made the input, into a leaf, or nowhere.
    gradients : function
        Turns the gradient of `output` into one gradient for each of `targets`.
    takes_pending : bool
        Whether that function takes a gradient that waits though `output` does not.
    """

    __slots__ = ("_gradients", "_takes_pending", "dtype", "name", "number", "shape", "targets")

    _numbers = itertools.count()

    def __init__(
        self,
        name: str,
        output: Array | Pending,
        targets: tuple[Target | None, ...],
        gradients: JointGradient,
        takes_pending: bool = False,
    ) -> None:
        self.name = name
        self.number = next(Node._numbers)
        self.shape: tuple[int, ...] = output.shape
        self.dtype: np.dtype[Any] = output.dtype
        self.targets = targets
        self._gradients: JointGradient | None = gradients
        self._takes_pending = takes_pending or (isinstance(output, Pending) and not output.is_computed)

    def gradients(self, incoming: Any) -> Sequence[Any]:
        """Compute the gradients of the inputs from that of the output."""
        if self._gradients is None:
            raise RuntimeError(
                f"backward: what {self.name} kept for its gradient was freed by an earlier backward; "
                "compute the result again, or call the earlier backward with retain_graph=True"
            )
        return self._gradients(incoming if self._takes_pending else settled(incoming))

    def free(self) -> None:
        """Let go of everything that was kept for the gradients."""
        self._gradients = None
        self.targets = ()

    def __repr__(self) -> str:
        return f"<{self.name}>"


@np.errstate(all="ignore")
def gradients_of_leaves(root: Target, gradient: Array, retain_graph: bool) -> dict[Tensor, Array]:
    """Walk from `root` back to the leaves, and return the gradient that arrives at each.

    Nodes are taken from the newest to the oldest. The inputs of an operation exist before it does, so when a
    node's turn comes everything that used its output has been passed, and its gradient is complete.
    """
    gradients: dict[Any, Any] = {root: gradient}  # of nodes still to come, and of leaves
    queue = [(-root.number, root)] if isinstance(root, Node) else []
    while queue:
        _, node = heapq.heappop(queue)
        incoming = gradients.pop(node)
        for target, computed in zip(node.targets, node.gradients(incoming), strict=True):
            if target is None:
                continue
            gradient = _fitted(computed, target, node)
            if target in gradients:
                both = SummedGradient(gradients[target], gradient)
                gradients[target] = both if isinstance(target, Node) else both.value()
            elif isinstance(target, Node):
                gradients[target] = shared(gradient) if computed is incoming else gradient
                heapq.heappush(queue, (-target.number, target))
            else:
                gradients[target] = _own(gradient, incoming)
        if not retain_graph:
            node.free()
    return gradients


def _fitted(gradient: Any, target: Target, node: Node) -> Any:
    """Undo broadcasting and promotion: `gradient` in the shape and dtype of what it is the gradient of."""
    if isinstance(gradient, PendingGradient):
        return gradient  # nothing that waits broadcasts
    gradient = np.asarray(gradient)
    if gradient.shape != target.shape:
        gradient = _summed(gradient, target.shape, node)
    if gradient.dtype != target.dtype:
        gradient = gradient.astype(target.dtype)
    return gradient


def _summed(gradient: Array, shape: tuple[int, ...], node: Node) -> Array:
    added = gradient.ndim - len(shape)
    kept = gradient.shape[added:]
    if added < 0 or any(small not in (1, large) for small, large in zip(shape, kept, strict=True)):
        raise RuntimeError(f"backward: {node.name} made a gradient {gradient.shape} for an input {shape}")
    stretched = [added + axis for axis, size in enumerate(shape) if size != kept[axis]]
    return reduced(np.add, gradient, (*range(added), *stretched)).reshape(shape)


def _own(gradient: Any, incoming: Any) -> Array:
    """Give a leaf an array of its own: gradients passed straight on, or spread by a view, are shared."""
    array: Array = settled(gradient)
    view = isinstance(incoming, np.ndarray) and np.may_share_memory(array, incoming)
    if gradient is incoming or view or not array.flags.writeable:
        return array.copy(order="K")
    return array
