"""Filters made by hand: what blurring, sharpening and Sobel's filters make of a photograph.

python examples/hand_made_filters.py --out runs/filters
"""

import argparse
from pathlib import Path

import numpy as np
from _common import errors_in_one_line, photograph

from convkit import filters
from convkit.train import figures


def main(out: Path, quick: bool) -> None:
    """Draw the photograph and its filtered versions."""
    colour = np.asarray(photograph().reduce(4 if quick else 2), np.float32) / 255
    grey = colour.mean(axis=2)
    across = filters.apply(grey, filters.sobel_x())
    down = filters.apply(grey, filters.sobel_y())
    pictures = {
        "photograph": colour,
        "Gaussian blur, sigma 3": filters.apply(colour, filters.gaussian_blur(19, sigma=3)),
        "sharpened": filters.apply(colour, filters.sharpen()),
        "embossed": filters.apply(grey, filters.emboss()),
        "Sobel across (grey is 0)": 0.5 + across / 4,
        "Sobel down (grey is 0)": 0.5 + down / 4,
        "strength of edges": np.hypot(across, down) / 2,
        "Laplacian (grey is 0)": 0.5 + filters.apply(grey, filters.laplacian()),
    }
    height, width = grey.shape
    figures.save(figures.gallery(pictures, f"Filters made by hand, on {width}x{height} pixels"), out / "filters.png")
    print(out / "filters.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/filters"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="filter a smaller photograph")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        args.out.mkdir(parents=True, exist_ok=True)
        main(args.out, args.quick)
