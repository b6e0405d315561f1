"""Gradient descent fits a straight line, with a small and a large learning rate, as a figure and as an animation.

python examples/gradient_descent.py --out runs/gradient_descent
"""

import argparse
from pathlib import Path

import numpy as np
from _common import errors_in_one_line

import convkit as ck
from convkit.train import figures


def main(out: Path, quick: bool) -> None:
    """Fit the line, and draw how."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 2, 40)
    y = 1.5 * x - 0.5 + 0.2 * rng.standard_normal(40)
    steps = 3 if quick else 40
    paths = {f"rate {rate}": descend(x, y, rate, steps) for rate in (0.02, 0.38)}
    for name, path in paths.items():
        slope, intercept = path[-1]
        print(f"{name}: y = {slope:.3f} x {intercept:+.3f} after {steps} steps")
    figures.save(figures.descent(x, y, paths), out / "descent.png")
    figures.save_animation(figures.descent_animation(x, y, paths), out / "descent.gif")


def descend(x: np.ndarray, y: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Return slope and intercept at the start and after each step, (steps + 1, 2)."""
    slope = ck.tensor(0.0, dtype="float64", requires_grad=True)
    intercept = ck.tensor(0.0, dtype="float64", requires_grad=True)
    optimizer = ck.optim.SGD([slope, intercept], lr=rate)
    path = [(slope.item(), intercept.item())]
    for _ in range(steps):
        loss = ((slope * x + intercept - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        path.append((slope.item(), intercept.item()))
    return np.array(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gradient_descent"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="take few steps")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        args.out.mkdir(parents=True, exist_ok=True)
        main(args.out, args.quick)
