"""What ``convkit train --augment`` can name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..data.transforms import Compose, RandomCrop, RandomErasing, RandomHorizontalFlip

if TYPE_CHECKING:
    from ..data.transforms import Transform

Size = tuple[int, int]


def _crop(image_size: Size) -> Transform:
    """Move an image by up to an eighth of its size: 4 pixels of 32."""
    height, width = image_size
    return RandomCrop(image_size, padding=(-(-width // 8), -(-height // 8)))


# In the order in which they are applied.
AUGMENTATIONS: dict[str, Callable[[Size], Transform]] = {
    "crop": _crop,
    "flip": lambda _: RandomHorizontalFlip(),
    "erase": lambda _: RandomErasing(),
}


def augmentation(names: Sequence[str], image_size: Size) -> Transform | None:
    """Return a transform that does all that is named, or None for nothing."""
    chosen = [make(image_size) for name, make in AUGMENTATIONS.items() if name in names]
    return Compose(chosen) if chosen else None
