"""Every kind of pooling, on the numbers of the articles and on a photograph.

Weights fall with the distance from the central pixel.

python examples/pooling.py --out runs/pooling
"""

import argparse
from pathlib import Path

import numpy as np
from _common import errors_in_one_line, photograph

import convkit as ck
from convkit import nn
from convkit.train import figures

NUMBERS = [[2, 4, 3], [1, 5, 6], [8, 2, 9]]


def windowed(size: int) -> dict[str, nn.Module]:
    """Return a layer of each kind that pools windows of so many pixels."""
    return {
        "maximum": nn.MaxPool2d(size),
        "average": nn.AvgPool2d(size),
        "L2 norm": nn.LPPool2d(2, size),
        "weighted average": nn.WeightedPool2d(ck.ops.distance_weights(size)),
    }


GLOBAL = {"global maximum": nn.AdaptiveMaxPool2d(1), "global average": nn.AdaptiveAvgPool2d(1)}


def main(out: Path, quick: bool) -> None:
    """Print what becomes of the numbers, and draw what becomes of the photograph."""
    numbers = np.array(NUMBERS, np.float32)
    print(numbers)
    for name, layer in {**windowed(3), **GLOBAL}.items():
        print(f"{name}: {layer(numbers[None, None]).item():.2f}")

    size = 16
    grey = np.asarray(photograph().convert("L"), np.float32) / 255
    pictures = {f"photograph, {grey.shape[1]}x{grey.shape[0]} pixels": grey}
    for name, layer in windowed(size).items():
        pooled = layer(grey[None, None]).data[0, 0]
        pictures[f"{name}, {pooled.shape[1]}x{pooled.shape[0]}"] = pooled / (size if name == "L2 norm" else 1)
    figures.save(figures.gallery(pictures, f"Windows of {size}x{size} pixels (the norm divided by {size})"), out)
    print(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/pooling"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="as everywhere; this takes a second anyway")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        args.out.mkdir(parents=True, exist_ok=True)
        main(args.out / "pooling.png", args.quick)
