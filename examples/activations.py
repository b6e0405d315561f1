"""Activation functions and their derivatives, which the tape computes.

python examples/activations.py --out runs/activations
"""

import argparse
from pathlib import Path

from _common import errors_in_one_line

import convkit as ck
from convkit import functional as F
from convkit.train import figures

FUNCTIONS = {
    "ReLU": F.relu,
    "leaky ReLU (0.01)": F.leaky_relu,
    "ELU": F.elu,
    "softplus": F.softplus,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "SiLU": F.silu,
    "GELU": F.gelu,
    "hard sigmoid": F.hardsigmoid,
    "hard-swish": F.hardswish,
    "ReLU6": F.relu6,
}


def softmax(x: ck.Tensor) -> ck.Tensor:
    """Return the probability of a class with score x beside one with score 0."""
    return F.softmax(ck.stack([x, 0 * x], dim=1), dim=1)[:, 0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/activations"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="as everywhere; this takes seconds anyway")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        args.out.mkdir(parents=True, exist_ok=True)
        figure = figures.activations({**FUNCTIONS, "softmax of (x, 0), first": softmax}, limit=7)
        figures.save(figure, args.out / "activations.png")
        print(args.out / "activations.png")
