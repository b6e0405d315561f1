"""The base of all layers and networks."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ..autograd import Tensor
from ._naming import name_layer
from .hooks import RemovableHandle
from .parameter import Buffer, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    import numpy.typing as npt

    from .hooks import ForwardHook

    StateDict = dict[str, npt.NDArray[Any]]

T = TypeVar("T", Parameter, Buffer)


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` passed over with ``strict=False``."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A layer, or a network of them: what has parameters and turns inputs into outputs.

    Write one by assigning its parts as attributes in ``__init__``, and computing with them in ``forward``. A
    module's parameters, buffers and children are simply those of its attributes that are a `Parameter`, a `Buffer`
    or a `Module`, in the order in which they were assigned.

    Attributes
    ----------
    training : bool
        Whether the module is being trained; `train` and `eval` set it.
    config : dict
        How ``models.create`` makes this network again. Only networks of `convkit.models` have it.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import functional as F, nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv = nn.Conv2d(1, 4, 3)
    ...         self.fc = nn.Linear(4 * 6 * 6, 10)
    ...
    ...     def forward(self, x):
    ...         return self.fc(F.relu(self.conv(x)).flatten(1))
    >>> Net()(np.zeros((2, 1, 8, 8), np.float32)).shape
    (2, 10)
    """

    training: bool = True
    config: dict[str, Any]
    forward: Callable[..., Any]
    _forward_hooks: Mapping[RemovableHandle, ForwardHook] = MappingProxyType({})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs by ``forward``, and show them to the hooks; an error names the layer it comes from."""
        try:
            output = self.forward(*args, **kwargs)
        except (TypeError, ValueError) as error:
            name_layer(error, self)
            raise
        if self._forward_hooks:
            for hook in list(self._forward_hooks.values()):
                changed = hook(self, args, output)
                output = output if changed is None else changed
        return output

    def register_forward_hook(self, hook: ForwardHook) -> RemovableHandle:
        """Call ``hook(module, args, output)`` each time that this module has computed, after earlier hooks.

        Parameters
        ----------
        hook : function
            Gets this module, the tuple of its positional arguments, and its output. What it returns takes the
            output's place, unless it is None.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` takes the hook away, as does the end of a ``with`` block.

        Examples
        --------
        >>> import numpy as np
        >>> from convkit import nn
        >>> layer, seen = nn.Flatten(), []
        >>> with layer.register_forward_hook(lambda module, args, output: seen.append(output.shape)):
        ...     _ = layer(np.zeros((2, 1, 8, 8), np.float32))
        >>> seen
        [(2, 64)]
        """
        return RemovableHandle(vars(self).setdefault("_forward_hooks", {}), hook)

    def __setattr__(self, name: str, value: Any) -> None:
        part = self.__dict__.get(name)
        for kind in (Parameter, Buffer, Module):
            # Otherwise the part would drop out of the state unnoticed.
            if isinstance(part, kind) and not isinstance(value, kind | None):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {kind.__name__}: assign another, or None, "
                    f"not {type(value).__name__}"
                )
        object.__setattr__(self, name, value)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Assign a `Buffer`, or None, as attribute `name`."""
        setattr(self, name, None if tensor is None else Buffer(tensor.data, persistent))

    # What belongs to it.

    def _parts(self) -> Iterator[tuple[str, Module]]:
        # A module that has two names appears under both: it runs twice, and its state has both names.
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules among the attributes, each once, with their names."""
        yield from _once(self._parts())

    def children(self) -> Iterator[Module]:
        """Yield the modules among the attributes, each once."""
        for _, child in self.named_children():
            yield child

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield this module, whose name is empty, and all below it, each once, with names such as ``features.0``."""
        yield from _once(self._paths(""))

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield all parameters, here and below, each once, with names such as ``features.0.weight``."""
        yield from _once(self._tensors(Parameter))

    def parameters(self) -> Iterator[Parameter]:
        """Yield all parameters, here and below, each once."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Yield all buffers, here and below, each once, with their names."""
        yield from _once(self._tensors(Buffer))

    def buffers(self) -> Iterator[Buffer]:
        """Yield all buffers, here and below, each once."""
        for _, buffer in self.named_buffers():
            yield buffer

    def _paths(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, child in self._parts():
            yield from child._paths(f"{prefix}.{name}" if prefix else name)

    def _tensors(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        for path, module in self._paths(""):
            for name, value in vars(module).items():
                if isinstance(value, kind):
                    yield f"{path}.{name}" if path else name, value

    # Its state.

    def _state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        for path, module in self._paths(""):
            own = [(name, value) for name, value in vars(module).items() if isinstance(value, Parameter | Buffer)]
            own.sort(key=lambda item: isinstance(item[1], Buffer))  # PyTorch's order: parameters first
            for name, tensor in own:
                if isinstance(tensor, Parameter) or tensor.persistent:
                    state[f"{path}.{name}" if path else name] = tensor
        return state

    def state_dict(self) -> StateDict:
        """Copy all parameters and persistent buffers.

        Returns
        -------
        dict of str to ndarray
            In C order, under the names that PyTorch gives them in the same network.
        """
        return {name: np.array(tensor.data, order="C") for name, tensor in self._state().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values into the parameters and persistent buffers, whose memory and dtype stay.

        Parameters
        ----------
        state_dict : dict of str to array_like
            What `state_dict` returned, here or in PyTorch.
        strict : bool, default True
            Refuse names that are missing or unexpected; otherwise return them.

        Returns
        -------
        IncompatibleKeys
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        ValueError
            If names, shapes or kinds of dtype do not fit; the message lists all that do not, and nothing is loaded.
        """
        state = self._state()
        missing = [name for name in state if name not in state_dict]
        unexpected = [name for name in state_dict if name not in state]
        values = {name: np.asarray(state_dict[name]) for name in state if name in state_dict}
        problems = [f"{name} is missing" for name in missing if strict]
        problems += [f"{name} is unexpected" for name in unexpected if strict]
        problems += [
            _misfit(name, value, state[name]) for name, value in values.items() if not _fits(value, state[name])
        ]
        if problems:
            raise ValueError(
                f"load_state_dict: state_dict does not fit this {type(self).__name__}: {'; '.join(problems)}"
            )
        for name, value in values.items():
            state[name].data[...] = value
        return IncompatibleKeys(missing, unexpected)

    # What is done to all of it.

    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Call `fn` with each module below this one, then this one, and return it."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Put this module and all below it into training, or out of it, and return it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Put this module and all below it out of training, and return it."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Learn all parameters, or freeze them, and return the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Take the gradients away from all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.data[...] = 0

    def float(self) -> Self:
        """Convert all parameters and buffers of floats to float32, and return the module."""
        return self._convert(np.float32)

    def double(self) -> Self:
        """Convert all parameters and buffers of floats to float64, and return the module."""
        return self._convert(np.float64)

    def _convert(self, dtype: npt.DTypeLike) -> Self:
        tensors = [*self.parameters(), *self.buffers()]
        for tensor in [*tensors, *(tensor.grad for tensor in tensors if tensor.grad is not None)]:
            if tensor.dtype.kind == "f":
                tensor.data = tensor.data.astype(dtype, order="K", copy=False)
        return self

    # How it looks.

    def extra_repr(self) -> str:
        """Return what ``repr`` shows in the parentheses; layers override it."""
        return ""

    def takes(self) -> str:
        """Return which input would fit, for error messages; layers override it."""
        return ""

    def __repr__(self) -> str:
        name, inside = type(self).__name__, self.extra_repr()
        children = "\n".join(f"({key}): {child!r}" for key, child in self._parts())
        if not children:
            return f"{name}({inside})"
        body = "\n".join(part for part in (inside, children) if part)
        return f"{name}(\n  {body.replace(chr(10), chr(10) + '  ')}\n)"


def _once(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen = set()
    for name, value in named:
        if value not in seen:
            seen.add(value)
            yield name, value


def _fits(value: npt.NDArray[Any], tensor: Tensor) -> bool:
    return value.shape == tensor.shape and np.can_cast(value.dtype, tensor.dtype, "same_kind")


def _misfit(name: str, value: npt.NDArray[Any], tensor: Tensor) -> str:
    return f"{name} is {value.dtype} {value.shape}, but must be {tensor.dtype} {tensor.shape}"
