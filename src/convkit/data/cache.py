"""Where downloaded data lives, and how it gets there."""

from __future__ import annotations

import os
from pathlib import Path

from .._extras import require


def cache_folder() -> Path:
    """Return the folder for downloaded data.

    It is ``$CONVKIT_DATA_DIR``, else ``$XDG_CACHE_HOME/convkit``, else ``~/.cache/convkit``.
    """
    if folder := os.environ.get("CONVKIT_DATA_DIR"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convkit"


def home(root: str | os.PathLike[str] | None) -> Path:
    """Return the folder that a data set is looked for in: `root`, or the cache without it."""
    return cache_folder() if root is None else Path(root)


def address(dataset: str, published: str) -> str:
    """Return where the files of a data set are downloaded from: its folder on the mirror, if there is one."""
    mirror = os.environ.get("CONVKIT_DATA_URL")
    return f"{mirror.rstrip('/')}/{dataset}" if mirror else published


def download(url: str, path: Path, md5: str) -> None:
    """Download a file, with a progress bar, and keep it only if its checksum is right.

    Parameters
    ----------
    url : str
        Where it is; http or https.
    path : Path
        Where it goes; folders are made as needed. A file that is there already and has the right checksum stays.
    md5 : str
        Checksum, 32 hexadecimal digits.

    Raises
    ------
    ImportError
        If pooch or tqdm are not installed.
    ConnectionError
        If the file cannot be had, or not to its end.
    ValueError
        If the checksum is wrong.
    """
    pooch = require("pooch", "downloading data")
    require("tqdm", "the progress bar of a download")
    # pooch writes beside `path` and renames after checking, so no half or wrong file is ever left under its name.
    downloader = pooch.HTTPDownloader(progressbar=True, chunk_size=1 << 16)
    try:
        pooch.retrieve(url, known_hash=f"md5:{md5}", fname=path.name, path=path.parent, downloader=downloader)
    except OSError as error:
        raise ConnectionError(f"cannot download {url} to {path.parent}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{url}: refused, its MD5 checksum is not {md5}: {error}") from None
