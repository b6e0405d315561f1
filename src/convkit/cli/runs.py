"""The folder of a run: its name, its settings, what is in it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

from .._files import replacing

# Files by name or pattern; the last only with --tensorboard.
CONTENTS = {
    "model.safetensors": "the trained network",
    "metrics.csv": "loss and accuracy of each epoch",
    "curves.png": "the same as curves",
    "filters.png": "filters of the first layer",
    "confusion.png": "which classes were taken for which",
    "checkpoint.safetensors": "to go on with --resume",
    "settings.json": "what was trained, and how",
    "events.out.tfevents.*": "for tensorboard --logdir",
}


@dataclass(frozen=True)
class Settings:
    """What decides how a run goes; kept in the run's ``settings.json``."""

    data: str
    model: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    augment: list[str] = field(default_factory=list)
    balance: str = "none"
    image_size: list[int] | None = None
    channels: int | None = None
    test_fraction: float = 0.2
    schedule: str = "none"
    patience: int | None = None
    clip_grad_norm: float | None = None
    tensorboard: bool = False


def new_folder(out: Path | None, settings: Settings) -> Path:
    """Make the folder of a new run, never one that holds anything.

    Parameters
    ----------
    out : Path or None
        Where the user wants it; otherwise ``runs/DATA-MODEL``, with -2, -3, ... behind it if there are others.
    settings : Settings
        Whose data and model it is named after.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If `out` is a file, or a folder that is not empty.
    """
    folder = _claimed(settings) if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: choose another --out, or go on with --resume {folder}")
    return folder


def _claimed(settings: Settings) -> Path:
    name = f"{Path(settings.data).name}-{settings.model}"
    Path("runs").mkdir(exist_ok=True)
    for number in count(1):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() never ends")


def save_settings(folder: Path, settings: Settings) -> None:
    """Write ``settings.json`` into the folder of a run."""
    with replacing(folder / "settings.json") as file:
        file.write((json.dumps(asdict(settings), indent=2) + "\n").encode())


def load_settings(folder: Path) -> Settings:
    """Read ``settings.json`` from the folder of a run.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is not what `save_settings` wrote.
    """
    path = folder / "settings.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a run: it has no settings.json")
    try:
        return Settings(**json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not the settings of a run: {error}") from None


def model_file(path: Path) -> Path:
    """Find the trained network that a user names by its file or by the folder of its run.

    Raises
    ------
    FileNotFoundError
        If there is none, or the run has not come to its end.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.exists() and (path / "settings.json").exists():
        raise FileNotFoundError(f"{path} has no {file.name} yet: finish it by convkit train --resume {path}")
    if path.is_dir() and not file.exists():
        raise FileNotFoundError(f"{path} holds no {file.name}")
    if not file.is_file():
        raise FileNotFoundError(f"{path} is not the folder of a run, nor a model.safetensors")
    return file
