"""Augmentation: images a second, prepared in the caller's thread."""

import numpy as np

from convkit.data import DataLoader, ImageDataset, ImageSpec
from convkit.data.transforms import Compose, RandomCrop, RandomErasing, RandomHorizontalFlip

_IMAGES = 10_000
_SHAPES = {"fashion-mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
_CHANGES = ["none", "crop, flip", "crop, flip, erase"]


def noise(images: str) -> ImageDataset:
    """Make a data set of noise that has the shape of another."""
    height, width, channels = _SHAPES[images]
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (_IMAGES, height, width, channels), np.uint8)
    spec = ImageSpec(images, ("any",), channels, (height, width), (0.5,) * channels, (0.25,) * channels, False)
    return ImageDataset(pixels, np.zeros(_IMAGES, np.int64), spec)


class Augmentation:
    """One epoch of a shuffled data set in batches of 100: gathered, normalised and changed."""

    params = (list(_SHAPES), _CHANGES)
    param_names = ("images", "changes")

    def setup(self, images: str, changes: str) -> None:
        """Make images of noise, and their loader."""
        dataset = noise(images)
        size = dataset.spec.image_size
        steps = {"crop": RandomCrop(size, 4), "flip": RandomHorizontalFlip(), "erase": RandomErasing()}
        self.loader = DataLoader(
            dataset,
            batch_size=100,
            shuffle=True,
            seed=0,
            prefetch=0,
            transform=Compose([step for name, step in steps.items() if name in changes]),
        )

    def time_epoch(self, images: str, changes: str) -> None:
        """Pass once over 10,000 images."""
        for _ in self.loader:
            pass
