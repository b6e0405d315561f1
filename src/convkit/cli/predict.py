"""``convkit predict``: what pictures show."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .arguments import integer
from .runs import model_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .arguments import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "predict",
        help="Tell what pictures show, with probabilities.",
        description="Tell what pictures show, with probabilities.",
        epilog="Pictures are made grey or coloured, and resized, as the network was trained. Data sets such as digits, "
        "mnist and fashion-mnist are light on a dark background: for networks trained on them, a picture whose "
        "outermost pixels are on average lighter than middle grey, such as ink on paper, has light and dark swapped, "
        "and the output says so; --invert decides otherwise.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="folder of a run, or a model.safetensors")
    parser.add_argument("images", metavar="IMAGE", type=Path, nargs="+", help="picture file: PNG, JPEG, ...")
    parser.add_argument(
        "--top", type=integer(1), default=3, metavar="N", help="classes to print (default: %(default)s)"
    )
    add_invert_option(parser)
    parser.set_defaults(run=run)


def add_invert_option(parser: argparse.ArgumentParser) -> None:
    """Add what a command that reads pictures takes."""
    parser.add_argument(
        "--invert", choices=("auto", "yes", "no"), default="auto", help="swap light and dark (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Print the likeliest classes of each picture."""
    from .. import ops
    from ..data.pictures import read_picture
    from ..inference import compile
    from ..train import load_model

    model, spec = load_model(model_file(args.run_dir))
    images, inverted = zip(*(read_picture(image, spec, args.invert) for image in args.images), strict=True)
    batch = np.stack(images)
    probabilities = ops.softmax(compile(model, batch[:1])(batch), 1)
    for image, swapped, row in zip(args.images, inverted, probabilities, strict=True):
        print(answer(image, swapped, row, spec.classes, args.top))


def answer(
    picture: Path, inverted: bool, probabilities: NDArray[np.float32], classes: tuple[str, ...], top: int
) -> str:
    """Return the name of a picture and its likeliest classes, a line each."""
    best = np.argsort(-probabilities, kind="stable")[:top]
    width = max(len(name) for name in classes)
    ranking = [f"  {classes[i]:<{width}}  {probabilities[i]:7.2%}" for i in best]
    return "\n".join([f"{picture}{' (light and dark swapped)' if inverted else ''}", *ranking])
