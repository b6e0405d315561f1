"""What all networks ask of their arguments, and remember of them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from .. import _shapes, nn

M = TypeVar("M", bound=nn.Module)


class Arguments(NamedTuple):
    """The arguments that networks for images of one size have, after a check."""

    name: str
    num_classes: int
    in_channels: int
    image_size: tuple[int, int]

    def remembered_by(self, model: M) -> M:
        """Let `model` know how `models.create` makes it again; JSON has lists for pairs."""
        model.config = {**self._asdict(), "image_size": list(self.image_size)}
        return model


def checked(name: str, num_classes: int, in_channels: int, image_size: Any, least: int) -> Arguments:
    """Check the arguments of network `name`, whose images are at least `least` pixels high and wide."""
    height, width = _shapes.pair(name, "image_size", image_size, 1)
    if min(height, width) < least:
        raise ValueError(f"{name}: image_size={(height, width)} is too small: it must be at least ({least}, {least})")
    return Arguments(
        name,
        _shapes.integer(name, "num_classes", num_classes, 1),
        _shapes.integer(name, "in_channels", in_channels, 1),
        (height, width),
    )


def for_rectifiers(module: nn.Module) -> None:
    """Draw the weights of a convolution so that the variance of gradients stays through deep stacks of rectifiers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
