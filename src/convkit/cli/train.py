"""``convkit train``: from a data set to a trained network, in one folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _random, models, optim
from .._extras import require
from .._threads import set_num_threads
from ..data import CIFAR10, MNIST, DataLoader, Digits, FashionMNIST, ImageDataset
from ..nn import CrossEntropyLoss, Module
from .arguments import integer, positive
from .runs import CONTENTS, Settings, load_settings, new_folder, save_settings

if TYPE_CHECKING:
    from ..train import EpochMetrics, Score
    from .arguments import Commands


@dataclass(frozen=True)
class _Source:
    """A data set that can be named on the command line, and what trains well on it."""

    load: Callable[[argparse.Namespace, bool], ImageDataset]
    epochs: int
    batch_size: int


def _from_files(kind: type[MNIST | CIFAR10], args: argparse.Namespace, train: bool) -> ImageDataset:
    return kind(root=args.data_dir, train=train, download=args.download)


_SOURCES = {
    "digits": _Source(lambda _, train: Digits(train), epochs=20, batch_size=32),
    "mnist": _Source(partial(_from_files, MNIST), epochs=5, batch_size=100),
    "fashion-mnist": _Source(partial(_from_files, FashionMNIST), epochs=5, batch_size=100),
    "cifar10": _Source(partial(_from_files, CIFAR10), epochs=10, batch_size=100),
}
_TEST_BATCH_SIZE = 500


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "train",
        help="Train a network; without arguments, on the digits that ship with convkit.",
        description="Train a network; without arguments, on the digits that ship with convkit. Everything goes into "
        "one folder: the network, its metrics, figures, and a checkpoint after each epoch.",
        epilog="The same seed gives the same network, to the bit, whatever the number of threads.",
    )
    parser.add_argument("--data", choices=_SOURCES, help="data set (default: digits)")
    parser.add_argument("--model", choices=models.names(), help="network (default: convnet)")
    parser.add_argument(
        "--epochs", type=integer(1), metavar="N", help=f"passes over the training set (default: {_defaults('epochs')})"
    )
    parser.add_argument(
        "--batch-size", type=integer(1), metavar="N", help=f"images in a batch (default: {_defaults('batch_size')})"
    )
    parser.add_argument("--lr", type=positive, metavar="RATE", help="learning rate of Adam (default: 0.001)")
    parser.add_argument("--seed", type=integer(0), metavar="N", help="decides everything that is random (default: 0)")
    parser.add_argument(
        "--threads", type=integer(1), metavar="N", help="threads (default: as many as this process may use)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="new folder for the run (default: runs/DATA-MODEL, then -2, -3, ...)"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with the files of the data set")
    parser.add_argument("--download", action="store_true", help="download the data set if it is not on this machine")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN_DIR", help="go on with a run from its last checkpoint; --epochs may be more"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train, and leave everything in the folder of the run."""
    # Better now than after an hour of training.
    for module, purpose in (("tqdm", "the progress bar"), ("matplotlib", "drawing figures"), ("safetensors", "saving")):
        require(module, purpose)
    if args.threads is not None:
        set_num_threads(args.threads)
    settings = _new_settings(args) if args.resume is None else _resumed_settings(args)
    source = _SOURCES[settings.data]
    train_set, test_set = source.load(args, True), source.load(args, False)
    model = _new_model(settings, train_set)
    folder = args.resume or new_folder(args.out, settings)
    print(f"{settings.model} on {train_set.spec.dataset}: {len(train_set)} images to train, {len(test_set)} to test")
    test_loader = DataLoader(test_set, _TEST_BATCH_SIZE)
    history = _fit(folder, settings, model, train_set, test_loader, resume=args.resume is not None)
    _finish(folder, model, history, test_loader, test_set)


def _new_settings(args: argparse.Namespace) -> Settings:
    data = args.data or "digits"
    return Settings(
        data=data,
        model=args.model or "convnet",
        epochs=args.epochs or _SOURCES[data].epochs,
        batch_size=args.batch_size or _SOURCES[data].batch_size,
        lr=args.lr or 0.001,
        seed=args.seed or 0,
    )


def _resumed_settings(args: argparse.Namespace) -> Settings:
    """Take the settings of the run; only the number of epochs may be another."""
    settings = load_settings(args.resume)
    if args.out is not None:
        raise ValueError(f"--out {args.out} does not go with --resume, which goes on in {args.resume}")
    for name in ("data", "model", "batch_size", "lr", "seed"):
        given, kept = getattr(args, name), getattr(settings, name)
        if given not in (None, kept):
            raise ValueError(f"--{name.replace('_', '-')} {given} does not fit {args.resume}, which has {kept}")
    if args.epochs is None:
        return settings
    settings = replace(settings, epochs=args.epochs)
    save_settings(args.resume, settings)
    return settings


def _new_model(settings: Settings, dataset: ImageDataset) -> Module:
    _random.manual_seed(settings.seed)
    spec = dataset.spec
    return models.create(
        settings.model, num_classes=len(spec.classes), in_channels=spec.channels, image_size=spec.image_size
    )


def _fit(
    folder: Path, settings: Settings, model: Module, train_set: ImageDataset, test_loader: DataLoader, resume: bool
) -> list[EpochMetrics]:
    from ..train import Trainer

    optimizer = optim.Adam(model.parameters(), lr=settings.lr)
    loader = DataLoader(train_set, settings.batch_size, shuffle=True, seed=settings.seed)
    trainer = Trainer(model, optimizer, run_dir=folder)
    try:
        return trainer.fit(loader, test_loader, settings.epochs, resume)
    except KeyboardInterrupt:
        if (folder / "checkpoint.safetensors").exists():
            print(
                f"\nthe last whole epoch is in {folder}; go on with: convkit train --resume {folder}", file=sys.stderr
            )
        raise


def _finish(
    folder: Path, model: Module, history: list[EpochMetrics], test_loader: DataLoader, test_set: ImageDataset
) -> None:
    """Save the network and draw the figures, then tell how good it is and where things are."""
    from ..train import evaluate, figures, save_model

    score = evaluate(model, test_loader, CrossEntropyLoss())
    save_model(folder / "model.safetensors", model, test_set.spec)
    first_layer = next(parameter.data for parameter in model.parameters() if parameter.ndim == 4)
    figures.save(figures.curves(history), folder / "curves.png")
    figures.save(figures.filters(first_layer), folder / "filters.png")
    figures.save(figures.confusion(score.confusion, test_set.classes), folder / "confusion.png")
    print(_report(folder, score))


def _report(folder: Path, score: Score) -> str:
    width = max(len(name) for name in CONTENTS)
    files = [f"  {name:<{width}}  {what}" for name, what in CONTENTS.items()]
    accuracy = f"test accuracy {score.accuracy:.2%}: {score.confusion.trace()} of {score.count} images"
    return "\n".join([accuracy, f"{folder}/", *files, f"next: convkit predict {folder} IMAGE..."])


def _defaults(name: str) -> str:
    return ", ".join(f"{getattr(source, name)} for {data}" for data, source in _SOURCES.items())
