"""Writing files so that a reader, or a machine that lost power, finds the old one or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block ends, and is dropped if the block fails.

    The new content is written beside `path`, forced to the disk and renamed, so at every moment `path` is either
    the whole old file or the whole new one. A process that is killed inside the block leaves the old file, and
    beside it a hidden ``.NAME.*.part``.

    Parameters
    ----------
    path : path-like
        The file to make or replace; its folder must exist.

    Yields
    ------
    file : binary file
        Where to write.

    Raises
    ------
    OSError
        If writing or renaming fails; `path` is then as it was.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent} to write it into")
    part = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Force a rename to the disk: until the folder itself is written, a power cut can undo it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
