"""``convkit show``: why a network says what it says of a picture, in one figure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .predict import add_invert_option, answer
from .runs import model_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..train.explain import FeatureMaps
    from .arguments import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "show",
        help="Draw what a network makes of a picture, layer by layer, and which pixels decide.",
        description="Draw what a network makes of a picture, in one figure: the picture, the probability of each "
        "class, the pixels that decide for the likeliest, and the maps of every layer.",
        epilog="Occlusion hides one square of the picture after the other, and tells how much less likely the class "
        "becomes; gradient tells how much its score changes with each pixel.",
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="folder of a run, or a model.safetensors")
    parser.add_argument("image", metavar="IMAGE", type=Path, help="picture file: PNG, JPEG, ...")
    parser.add_argument(
        "--method",
        choices=("occlusion", "gradient"),
        default="occlusion",
        help="how to find the pixels that decide (default: %(default)s)",
    )
    parser.add_argument("--layers", metavar="NAME", nargs="+", help="layers whose maps to draw (default: all)")
    add_invert_option(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="PNG to write (default: the picture's name with -explained.png)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Draw the figure."""
    from ..data.pictures import read_picture
    from ..train import explain, figures, load_model, predict

    model, spec = load_model(model_file(args.model))
    image, inverted = read_picture(args.image, spec, args.invert)
    probabilities = predict(model, image[None])[0]
    method = {"occlusion": explain.occlusion, "gradient": explain.gradient}[args.method]
    evidence = method(model, image, int(probabilities.argmax()))
    layers = _chosen(explain.feature_maps(model, image), args.layers)
    figure = figures.explanation(spec.picture(image), probabilities, spec.classes, evidence, args.method, layers)
    out = args.out or Path(f"{args.image.stem}-explained.png")
    figures.save(figure, out)
    print(answer(args.image, inverted, probabilities, spec.classes, top=3))
    print(f"{out}: the picture, what decides, and the maps of {len(layers)} layers")


def _chosen(layers: Sequence[FeatureMaps], names: Sequence[str] | None) -> Sequence[FeatureMaps]:
    if names is None:
        return layers
    known = list(dict.fromkeys(layer.name for layer in layers))
    for name in names:
        if name not in known:
            raise ValueError(f"--layers {name} must be one of {', '.join(known)}")
    return [layer for layer in layers if layer.name in names]
