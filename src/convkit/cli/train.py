"""``convkit train``: from a data set to a trained network, in one folder."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _random, models, optim
from .._extras import require
from .._threads import set_num_threads
from ..data import DataLoader, ImageSpec, WeightedRandomSampler, class_weights
from ..nn import CrossEntropyLoss, Module
from .arguments import fraction, image_size, integer, positive
from .augment import AUGMENTATIONS, augmentation
from .runs import CONTENTS, Settings, load_settings, new_folder, save_settings
from .schedules import SCHEDULES, schedule
from .sources import FOLDER_OPTIONS, SOURCES, Images, check_options, data_set, source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..train import Callback, EpochMetrics, Score
    from .arguments import Commands

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
    _add_data_options(parser.add_argument_group("data"))
    _add_folder_options(parser.add_argument_group("a folder of pictures"))
    _add_training_options(parser.add_argument_group("training"))
    _add_run_options(parser.add_argument_group("the run"))
    parser.set_defaults(run=run)


def _add_data_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        type=data_set,
        help=f"data set: {', '.join(SOURCES)} (default: digits), or a folder of pictures with one sub-folder a class",
    )
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with the files of the data set")
    group.add_argument("--download", action="store_true", help="download the data set if it is not on this machine")


def _add_folder_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--image-size",
        type=image_size,
        metavar="SIZE",
        help="resize pictures to SIZE or HEIGHTxWIDTH pixels (default: all must have the same size)",
    )
    channels = group.add_mutually_exclusive_group()
    for option, other, number in (("--grey", "--gray", 1), ("--colour", "--color", 3)):
        channels.add_argument(
            option,
            other,
            dest="channels",
            action="store_const",
            const=number,
            help=f"read all pictures in {option[2:]} (default: grey if all files are)",
        )
    group.add_argument(
        "--test-fraction",
        type=fraction,
        metavar="SHARE",
        help="share of each class to test with, unless the folder holds the folders train and test (default: 0.2)",
    )


def _add_training_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", choices=models.names(), help="network (default: convnet)")
    group.add_argument(
        "--epochs", type=integer(1), metavar="N", help=f"passes over the training set (default: {_defaults('epochs')})"
    )
    group.add_argument(
        "--batch-size", type=integer(1), metavar="N", help=f"images in a batch (default: {_defaults('batch_size')})"
    )
    group.add_argument("--lr", type=positive, metavar="RATE", help="learning rate of Adam (default: 0.001)")
    group.add_argument(
        "--schedule",
        choices=("none", *SCHEDULES),
        help="let the learning rate change with each batch: step makes it a tenth after each third of the epochs; "
        "cosine lets it fall to 0 along half a cosine; one-cycle lets it rise to RATE for three tenths of the time "
        "and fall to almost 0 for the rest (default: none, a steady rate)",
    )
    group.add_argument(
        "--patience",
        type=integer(0),
        metavar="N",
        help="stop after more than N epochs without a lower test loss, and keep the network of the best epoch "
        "(default: all epochs, and the network of the last)",
    )
    group.add_argument(
        "--clip-grad-norm",
        type=positive,
        metavar="NORM",
        help="before each step, scale all gradients together down to at most this norm (default: as they are)",
    )
    group.add_argument(
        "--augment",
        nargs="+",
        choices=AUGMENTATIONS,
        help="change the training images at random: move them by up to an eighth, swap left and right, paint "
        "rectangles over parts (default: nothing)",
    )
    group.add_argument(
        "--balance",
        choices=("none", "weights", "sampling"),
        help="let rare classes count as much as others: weigh them in the loss, or show them more often "
        "(default: none)",
    )
    group.add_argument("--seed", type=integer(0), metavar="N", help="decides everything that is random (default: 0)")


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--threads", type=integer(1), metavar="N", help="threads (default: as many as this process may use)"
    )
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="new folder for the run (default: runs/DATA-MODEL, then -2, -3, ...)"
    )
    group.add_argument(
        "--tensorboard",
        action="store_true",
        default=None,
        help="also write graph, curves, histograms and pictures for tensorboard --logdir RUN_DIR",
    )
    group.add_argument(
        "--resume",
        type=Path,
        metavar="RUN_DIR",
        help="go on with a run from its last checkpoint; without a schedule, --epochs may be more",
    )


def run(args: argparse.Namespace) -> None:
    """Train, and leave everything in the folder of the run."""
    if args.threads is not None:
        set_num_threads(args.threads)
    settings = _new_settings(args) if args.resume is None else _resumed_settings(args)
    _require_extras(settings)
    images = source(settings.data).load(args, settings)
    model = _new_model(settings, images.spec)
    folder = new_folder(args.out, settings) if args.resume is None else args.resume
    save_settings(folder, settings)
    print(f"{settings.model} on {images.spec.dataset}: {len(images.train)} images to train, {len(images.test)} to test")
    test_loader = DataLoader(images.test, _TEST_BATCH_SIZE)
    history = _fit(folder, settings, model, images, test_loader, resume=args.resume is not None)
    _finish(folder, model, history, test_loader, images.spec)


def _require_extras(settings: Settings) -> None:
    """Miss what is missing now, not after an hour of training."""
    needed = {"tqdm": "the progress bar", "matplotlib": "drawing figures", "safetensors": "saving"}
    if settings.tensorboard:
        needed |= {"tensorboardX": "--tensorboard", "PIL": "--tensorboard"}
    for module, purpose in needed.items():
        require(module, purpose)


def _new_settings(args: argparse.Namespace) -> Settings:
    """Take what was given, and the defaults of the data set for what was not."""
    data = args.data or "digits"
    check_options(args, data)
    defaults: dict[str, Any] = {
        "data": data,
        "model": "convnet",
        "epochs": source(data).epochs,
        "batch_size": source(data).batch_size,
        "lr": 0.001,
        "seed": 0,
    }
    return Settings(**defaults | _given(args))


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that are on the command line."""
    values = {field.name: getattr(args, field.name) for field in fields(Settings)}
    return {name: value for name, value in values.items() if value is not None}


def _resumed_settings(args: argparse.Namespace) -> Settings:
    """Take the settings of the run; only the number of epochs may be another."""
    settings = load_settings(args.resume)
    if args.out is not None:
        raise ValueError(f"--out {args.out} does not go with --resume, which goes on in {args.resume}")
    for name, given in _given(args).items():
        kept = getattr(settings, name)
        if name != "epochs" and given != kept:
            raise ValueError(f"{_option(name, given)} does not fit {args.resume}, which {_had(kept)}")
    if args.epochs is None:
        return settings
    if settings.schedule != "none" and args.epochs != settings.epochs:
        raise ValueError(
            f"--epochs {args.epochs} does not fit {args.resume}: its schedule, {settings.schedule}, was made for "
            f"{settings.epochs}, and a run with a schedule keeps its number of epochs"
        )
    return replace(settings, epochs=args.epochs)


def _option(name: str, given: Any) -> str:
    """Write a setting as on the command line."""
    value = [] if given is True else [_words(given)]
    return FOLDER_OPTIONS.get(name, " ".join([f"--{name.replace('_', '-')}", *value]))


def _had(kept: Any) -> str:
    if kept is None or kept is False or kept == []:
        return "was begun without it"
    return f"has {_words(kept)}"


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _new_model(settings: Settings, spec: ImageSpec) -> Module:
    _random.manual_seed(settings.seed)
    return models.create(
        settings.model, num_classes=len(spec.classes), in_channels=spec.channels, image_size=spec.image_size
    )


def _fit(
    folder: Path, settings: Settings, model: Module, images: Images, test_loader: DataLoader, resume: bool
) -> list[EpochMetrics]:
    from ..train import EarlyStopping, Trainer

    weights = class_weights(images.train.targets, len(images.spec.classes))
    loss_fn = CrossEntropyLoss(weights if settings.balance == "weights" else None)
    optimizer = optim.Adam(model.parameters(), lr=settings.lr)
    train_loader = _train_loader(settings, images, weights)
    trainer = Trainer(
        model,
        optimizer,
        loss_fn,
        run_dir=folder,
        scheduler=schedule(settings.schedule, optimizer, settings.epochs, len(train_loader)),
        scheduler_every="batch",
        clip_grad_norm=settings.clip_grad_norm,
        callbacks=_callbacks(folder, settings, images),
    )
    try:
        history = trainer.fit(train_loader, test_loader, settings.epochs, resume)
    except KeyboardInterrupt:
        if (folder / "checkpoint.safetensors").exists():
            print(
                f"\nthe last whole epoch is in {folder}; go on with: convkit train --resume {folder}", file=sys.stderr
            )
        raise
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping) and callback.best_epoch:
            print(f"kept the network of epoch {callback.best_epoch}, whose test loss was the least")
    return history


def _callbacks(folder: Path, settings: Settings, images: Images) -> list[Callback]:
    from ..train import EarlyStopping, TensorBoard

    callbacks: list[Callback] = []
    if settings.patience is not None:
        callbacks.append(EarlyStopping(patience=settings.patience))
    if settings.tensorboard:
        callbacks.append(TensorBoard(folder, images.train.batch(np.arange(2))[0]))
    return callbacks


def _train_loader(settings: Settings, images: Images, weights: NDArray[np.float32]) -> DataLoader:
    sampler = None
    if settings.balance == "sampling":
        sampler = WeightedRandomSampler(weights[images.train.targets], len(images.train))
    return DataLoader(
        images.train,
        settings.batch_size,
        shuffle=sampler is None,
        seed=settings.seed,
        sampler=sampler,
        transform=augmentation(settings.augment, images.spec.image_size),
    )


def _finish(folder: Path, model: Module, history: list[EpochMetrics], test_loader: DataLoader, spec: ImageSpec) -> None:
    """Save the network and draw the figures, then tell how good it is and where things are."""
    from ..train import evaluate, figures, save_model

    score = evaluate(model, test_loader, CrossEntropyLoss())
    save_model(folder / "model.safetensors", model, spec)
    first_layer = next(parameter.data for parameter in model.parameters() if parameter.ndim == 4)
    figures.save(figures.curves(history), folder / "curves.png")
    figures.save(figures.filters(first_layer), folder / "filters.png")
    figures.save(figures.confusion(score.confusion, spec.classes), folder / "confusion.png")
    print(_report(folder, score, spec.classes))


def _report(folder: Path, score: Score, classes: tuple[str, ...]) -> str:
    contents = {name: what for name, what in CONTENTS.items() if any(folder.glob(name))}
    width = max(len(name) for name in contents)
    files = [f"  {name:<{width}}  {what}" for name, what in contents.items()]
    accuracy = f"test accuracy {score.accuracy:.2%}: {score.confusion.trace()} of {score.count} images"
    balanced = f"balanced accuracy {score.balanced_accuracy:.2%}, the mean over classes of:"
    next_step = f"next: convkit predict {folder} IMAGE..."
    return "\n".join([accuracy, balanced, *_recall(score, classes), f"{folder}/", *files, next_step])


def _recall(score: Score, classes: tuple[str, ...]) -> list[str]:
    """Tell how many images of each class were classified right."""
    width = max(len(name) for name in classes)
    rows = zip(classes, score.recall, score.confusion.diagonal(), score.confusion.sum(axis=1), strict=True)
    return [f"  {name:<{width}}  {recall:7.2%}  {right} of {count}" for name, recall, right, count in rows]


def _defaults(name: str) -> str:
    values = [f"{getattr(settings, name)} for {data}" for data, settings in SOURCES.items()]
    return ", ".join([*values, f"{getattr(source(''), name)} for a folder"])
