"""A prediction explained: the maps of every layer, the probabilities, and the pixels that decide.

It trains a network on the digits that come with convkit, and does in Python what `convkit show MODEL IMAGE` does for
any trained network and picture file.

python examples/feature_maps.py --out runs/feature_maps
"""

import argparse
from pathlib import Path

from _common import errors_in_one_line

import convkit as ck
from convkit.train import Trainer, explain, figures, predict


def main(out: Path, quick: bool) -> None:
    """Train, and explain one prediction in two ways."""
    ck.manual_seed(0)
    train_set, test_set = ck.data.Digits(train=True), ck.data.Digits(train=False)
    model = ck.models.convnet(image_size=(8, 8))
    trainer = Trainer(model, ck.optim.Adam(model.parameters()), progress=not quick)
    trainer.fit(ck.data.DataLoader(train_set, batch_size=32, shuffle=True), epochs=1 if quick else 10)

    image, label = test_set[0]
    probabilities = predict(model, image[None])[0]
    maps = explain.feature_maps(model, image)
    evidence = {
        "occlusion": explain.occlusion(model, image, label, size=2),
        "gradient": explain.gradient(model, image, label),
    }
    for method, found in evidence.items():
        figure = figures.explanation(test_set.spec.picture(image), probabilities, test_set.classes, found, method, maps)
        figures.save(figure, out / f"{method}.png")
        print(out / f"{method}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/feature_maps"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="train for one epoch")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        args.out.mkdir(parents=True, exist_ok=True)
        main(args.out, args.quick)
