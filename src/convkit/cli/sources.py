"""What ``convkit train --data`` can name: data sets, and folders of pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import CIFAR10, MNIST, Digits, FashionMNIST, ImageDataset, ImageFolder, ImageSpec, Subset, stratified_split
from ..data.images import pixel_statistics

if TYPE_CHECKING:
    from .runs import Settings

Part = ImageDataset | Subset

FOLDER_OPTIONS = {"image_size": "--image-size", "channels": "--grey or --colour", "test_fraction": "--test-fraction"}


@dataclass(frozen=True)
class Images:
    """A training set, a test set, and how the pictures of both look."""

    train: Part
    test: Part
    spec: ImageSpec


@dataclass(frozen=True)
class Source:
    """Where images come from, and how long and in what batches a network is trained on them."""

    load: Callable[[argparse.Namespace, Settings], Images]
    epochs: int
    batch_size: int


def source(data: str) -> Source:
    """Return the source of a name that `data_set` gave."""
    return SOURCES.get(data, _FOLDER)


def data_set(text: str) -> str:
    """Parse the name of a data set, or of a folder, which is then absolute, for argparse."""
    if text in SOURCES:
        return text
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a folder with one sub-folder a class, nor one of {', '.join(SOURCES)}"
        )
    return str(Path(text).resolve())


def check_options(args: argparse.Namespace, data: str) -> None:
    """Refuse options of folders for a data set that has its own image size, channels and test set."""
    for name, option in FOLDER_OPTIONS.items():
        if data in SOURCES and getattr(args, name) is not None:
            raise ValueError(f"{option}: for a folder of pictures, not for {data}")


def _digits(args: argparse.Namespace, settings: Settings) -> Images:
    train = Digits(train=True)
    return Images(train, Digits(train=False), train.spec)


def _from_files(kind: type[MNIST | CIFAR10], args: argparse.Namespace, settings: Settings) -> Images:
    train, test = (kind(root=args.data_dir, train=part, download=args.download) for part in (True, False))
    return Images(train, test, train.spec)


def _from_folder(args: argparse.Namespace, settings: Settings) -> Images:
    """Cut a folder into a training and a test set, unless it is cut already into ``train`` and ``test``."""
    root = Path(settings.data)
    size = None if settings.image_size is None else (settings.image_size[0], settings.image_size[1])
    if (root / "train").is_dir() and (root / "test").is_dir():
        return _two_folders(root, size, settings)
    folder = ImageFolder(root, size, settings.channels, progress=True)
    fraction = settings.test_fraction
    train, test = stratified_split(folder, [1 - fraction, fraction], settings.seed)
    if not len(test):
        raise ValueError(f"{root}: of its {len(folder)} images none is left to test with: raise --test-fraction")
    # What the network knows of its images comes from those it is trained on.
    mean, std = pixel_statistics(folder.data[train.indices])
    images = ImageDataset(folder.data, folder.targets, replace(folder.spec, mean=mean, std=std))
    return Images(Subset(images, train.indices), Subset(images, test.indices), images.spec)


def _two_folders(root: Path, size: tuple[int, int] | None, settings: Settings) -> Images:
    train = ImageFolder(root / "train", size, settings.channels, progress=True)
    spec = replace(train.spec, dataset=root.name)
    test = ImageFolder(root / "test", spec.image_size, spec.channels, progress=True)
    if test.classes != train.classes:
        raise ValueError(f"{root}: train and test must have the same classes, got {train.classes} and {test.classes}")
    return Images(train, ImageDataset(test.data, test.targets, train.spec), spec)


SOURCES = {
    "digits": Source(_digits, epochs=20, batch_size=32),
    "mnist": Source(partial(_from_files, MNIST), epochs=5, batch_size=100),
    "fashion-mnist": Source(partial(_from_files, FashionMNIST), epochs=5, batch_size=100),
    "cifar10": Source(partial(_from_files, CIFAR10), epochs=10, batch_size=100),
}
_FOLDER = Source(_from_folder, epochs=10, batch_size=50)
