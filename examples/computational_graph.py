"""The computational graph of the articles: built, run, differentiated, and written for TensorBoard.

w3 = cos(x), w4 = sin(x), w5 = w3 w4, w6 = w1 / w2, w7 = w5 + w6

python examples/computational_graph.py --out runs/computational_graph
tensorboard --logdir runs/computational_graph
"""

import argparse
from pathlib import Path

from _common import errors_in_one_line

import convkit as ck
from convkit.train import TensorBoard


def main(out: Path) -> None:
    """Compute, write the graph, and print values and gradients."""
    x, w1, w2 = (ck.tensor(value, dtype="float64", requires_grad=True) for value in (0.5, 3.0, 2.0))
    w3 = ck.cos(x)
    w4 = ck.sin(x)
    w5 = w3 * w4
    w6 = w1 / w2
    w7 = w5 + w6
    named = {"x": x, "w1": w1, "w2": w2, "w3": w3, "w4": w4, "w5": w5, "w6": w6, "w7": w7}
    with TensorBoard(out) as board:
        board.add_tensor_graph(w7, named)
    w7.backward()
    for name, tensor in named.items():
        slope = "" if tensor.grad is None else f", dw7/d{name} = {tensor.grad.item():.6f}"
        print(f"{name} = {tensor.item():.6f}{slope}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/computational_graph"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="as everywhere; this takes a second anyway")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        main(args.out)
