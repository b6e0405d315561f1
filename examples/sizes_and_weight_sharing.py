"""What a convolution makes of a 32x32 colour picture: sizes, shared weights, and maps that move with the picture.

python examples/sizes_and_weight_sharing.py --out runs/sizes
"""

import argparse
from pathlib import Path

import numpy as np
from _common import errors_in_one_line, photograph

import convkit as ck
from convkit.train import figures


def main(out: Path, quick: bool) -> None:
    """Print the sizes, and draw a picture and its map beside the same moved."""
    ck.manual_seed(0)
    small = photograph().crop((68, 0, 452, 384)).reduce(12)
    picture = np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 255  # (1, 3, 32, 32)
    conv = ck.nn.Conv2d(3, 6, 5)
    maps = conv(picture)
    _, channels, height, width = maps.shape
    print(f"six 5x5x3 filters on a 32x32x3 picture: {width}x{height} positions, {width}x{height}x{channels} maps")
    shared = sum(parameter.numel() for parameter in conv.parameters())
    connected = (picture.size + 1) * maps.numel()
    print(f"parameters: {shared:,}; a fully connected layer with as many neurons has {connected:,}")

    for arguments in ({"padding": "valid"}, {"padding": "same"}, {"stride": 2}, {"padding": 2, "stride": 2}):
        print(arguments, "->", ck.ops.conv2d_output_shape(picture.shape, conv.weight.shape, **arguments))

    print("a sequence of convolutions:")
    print(ck.nn.Sequential(conv, ck.nn.ReLU(), ck.nn.Conv2d(6, 10, 5), ck.nn.ReLU()).summary(picture.shape))

    moved = np.roll(picture, (4, 6), axis=(2, 3))
    same = np.array_equal(conv(moved).data[:, :, 4:, 6:], maps.data[:, :, :-4, :-6])
    print(f"a picture moved by 6 and 4 pixels gives maps moved by 6 and 4, to the bit: {same}")
    pictures = {"picture, 32x32": picture, "moved, 32x32": moved}
    drawn = {}
    for name, shown in pictures.items():
        drawn[name] = shown[0].transpose(1, 2, 0)
        drawn[f"{name.partition(',')[0]}: its first map, {width}x{height}"] = stretched(conv(shown).data[0, 0])
    figures.save(figures.gallery(drawn, "Maps move with the picture"), out / "equivariance.png")


def stretched(image: np.ndarray) -> np.ndarray:
    """Bring the darkest pixel to 0 and the brightest to 1."""
    return (image - image.min()) / np.ptp(image)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/sizes"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="as everywhere; this takes a second anyway")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        args.out.mkdir(parents=True, exist_ok=True)
        main(args.out, args.quick)
