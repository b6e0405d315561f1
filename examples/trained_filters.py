"""Filters of a network trained on CIFAR-10: colours and edges in the first layer, compositions of them deeper.

The pieces of test images that excite the filters of a deeper layer most show what these look for.

python examples/cifar10.py --data-dir FOLDER
python examples/trained_filters.py runs/cifar10-vgg/model.safetensors --data-dir FOLDER
"""

import argparse
from pathlib import Path

from _common import errors_in_one_line

import convkit as ck
from convkit.train import figures, load_model, top_patches

# The last activation of each stage.
LAYERS = {
    "convnet": ("relu1", "relu2"),
    "lenet5": ("relu1", "relu2"),
    "vgg": ("features.5", "features.12", "features.19"),
    "resnet20": ("layer1.2.relu2", "layer2.2.relu2", "layer3.2.relu2"),
}


def main(network: Path, data_dir: Path | None, out: Path, quick: bool) -> None:
    """Draw the filters of the first layer, and what excites those of the deeper ones."""
    model, _ = load_model(network)
    first = next(parameter for parameter in model.parameters() if parameter.ndim == 4)
    figures.save(figures.filters(first.data), out / "filters.png")
    test_set = ck.data.CIFAR10(data_dir, train=False)
    seen = ck.data.Subset(test_set, range(50)) if quick else test_set
    for layer in LAYERS[model.config["name"]]:
        found = top_patches(model, layer, ck.data.DataLoader(seen, batch_size=100))
        figures.save(figures.patches(found, test_set), out / f"{layer}.png")
        print(out / f"{layer}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="model.safetensors of a network that cifar10.py trained")
    parser.add_argument("--data-dir", type=Path, help="folder with the files of CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("runs/trained_filters"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="look at few images")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        args.out.mkdir(parents=True, exist_ok=True)
        main(args.network, args.data_dir, args.out, args.quick)
