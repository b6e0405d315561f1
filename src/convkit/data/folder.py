"""Folders of pictures, with one sub-folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _shapes
from .._extras import require
from .._shapes import Pair
from .._threads import get_num_threads
from .images import ImageDataset, ImageSpec, pixel_statistics
from .pictures import read_pixels
from .prefetch import prefetched

IMG_EXTENSIONS = (
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip

Sample = tuple[Path, int]


class ImageFolder(ImageDataset):
    """The pictures in a folder that has one sub-folder a class, all read into memory.

    Parameters
    ----------
    root : path-like
        The folder. Its sub-folders are the classes; the pictures are in them, at any depth.
    image_size : int or pair of int, optional
        Height and width in pixels, to which every picture is resized. If not given, all must have the same size.
    channels : {1, 3}, optional
        Make every picture grey (1) or coloured (3). If not given, all are grey if every file is, and else coloured.
    workers : int, optional
        Threads that read; by default as many as `convkit.get_num_threads`.
    progress : bool, default False
        Whether to show a bar while reading.

    Attributes
    ----------
    data : ndarray of uint8, shape (N, H, W, C)
        The pictures, 0 to 255.
    targets : ndarray of int64, shape (N,)
        Their classes.
    classes : tuple of str
        Names of the sub-folders, sorted; a label is an index into it.
    class_to_idx : dict
        The label of each class.
    samples : list of (Path, int)
        File and label of each picture: class after class, names sorted.
    spec : ImageSpec
        What a network must know of the pictures; mean and standard deviation are those of all of them.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a class has no picture.
    ImportError
        If Pillow is not installed, or tqdm for `progress`.
    TypeError, ValueError
        If an argument is out of its range, the folder has fewer than two classes, a picture cannot be read, or
        pictures of different sizes get no `image_size`. The message names the folder or the file.

    See Also
    --------
    stratified_split : Cuts it into a training and a test set.

    Notes
    -----
    As torchvision's class of this name, it goes by the names of files: those that end in one of ``IMG_EXTENSIONS``,
    in any case, are pictures. Files and folders whose names begin with a dot are skipped. A picture of another shape
    than `image_size` is stretched.

    Examples
    --------
    >>> faces = ImageFolder("faces", image_size=64)  # doctest: +SKIP
    >>> faces  # doctest: +SKIP
    <faces: 13165 images of 1x64x64, 2 classes>
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        image_size: Pair | None = None,
        channels: int | None = None,
        workers: int | None = None,
        progress: bool = False,
    ) -> None:
        size = None if image_size is None else _shapes.pair("ImageFolder", "image_size", image_size, 1)
        if channels not in (None, 1, 3):
            raise ValueError(f"ImageFolder: channels must be 1 or 3, got {channels!r}")
        threads = get_num_threads() if workers is None else _shapes.integer("ImageFolder", "workers", workers, 1)
        classes, self.samples = find_samples(Path(root))
        data = _read([path for path, _ in self.samples], size, channels, threads, progress)
        mean, std = pixel_statistics(data)
        spec = ImageSpec(
            dataset=Path(root).resolve().name,
            classes=classes,
            channels=data.shape[3],
            image_size=(data.shape[1], data.shape[2]),
            mean=mean,
            std=std,
            dark_background=False,
        )
        super().__init__(data, np.array([label for _, label in self.samples]), spec)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class."""
        return {name: label for label, name in enumerate(self.classes)}


def find_samples(root: Path) -> tuple[tuple[str, ...], list[Sample]]:
    """Find the classes and the picture files of a folder, without opening any.

    Parameters
    ----------
    root : Path
        A folder with one sub-folder a class.

    Returns
    -------
    classes : tuple of str
        Sorted.
    samples : list of (Path, int)
        File and label of each picture.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a class has no picture.
    ValueError
        If there are fewer than two classes.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder")
    classes = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not _hidden(entry)))
    if len(classes) < 2:
        found = f"only {classes[0]}" if classes else "none"
        raise ValueError(f"{root}: needs at least two sub-folders with pictures, one for each class, found {found}")
    samples: list[Sample] = []
    for label, name in enumerate(classes):
        pictures = sorted(_pictures(root / name))
        if not pictures:
            raise FileNotFoundError(f"{root / name}: holds no picture, {', '.join(IMG_EXTENSIONS)}")
        samples += [(path, label) for path in pictures]
    return classes, samples


def _pictures(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if _hidden(entry):
            continue
        if entry.is_dir():
            yield from _pictures(entry)
        elif entry.suffix.lower() in IMG_EXTENSIONS:
            yield entry


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _read(
    paths: list[Path], image_size: tuple[int, int] | None, channels: int | None, workers: int, progress: bool
) -> NDArray[np.uint8]:
    """Read all pictures, in order; the first one that cannot be read, or has another size, stops it."""
    read = partial(read_pixels, channels=channels, image_size=image_size)
    pictures: list[NDArray[np.uint8]] = []
    loaded = _shown(prefetched(read, paths, 8 * workers, workers), len(paths), progress)
    for path, picture in zip(paths, loaded, strict=True):
        pictures.append(picture)
        if picture.shape[:2] != pictures[0].shape[:2]:
            (height, width), (first_height, first_width) = picture.shape[:2], pictures[0].shape[:2]
            raise ValueError(
                f"{path}: is {height}x{width} pixels, but {paths[0]} is {first_height}x{first_width}: "
                "name one size for all (image_size, --image-size)"
            )
    data = np.empty((len(pictures), *pictures[0].shape[:2], max(picture.shape[2] for picture in pictures)), np.uint8)
    for row, picture in zip(data, pictures, strict=True):
        row[:] = picture  # grey spreads over three channels where others have colour
    return data


def _shown(pictures: Iterator[NDArray[np.uint8]], count: int, progress: bool) -> Any:
    if not progress:
        return pictures
    tqdm = require("tqdm", "the progress bar").tqdm
    return tqdm(pictures, "reading pictures", count, unit="", leave=False, disable=None, dynamic_ncols=True)
