"""The layers of the articles in one network, which learns handwritten digits while TensorBoard looks on.

Convolution, batch normalisation, activation and pooling, twice; then flatten, a dense layer, dropout and the output
layer. TensorBoard shows the network as a graph, loss and accuracy as curves, the weights as histograms, and the filters
and feature maps as images.

python examples/layers.py --out runs/layers
tensorboard --logdir runs/layers
"""

import argparse
from pathlib import Path

import numpy as np
from _common import errors_in_one_line

import convkit as ck
from convkit import nn
from convkit.train import TensorBoard, Trainer, evaluate


def main(out: Path, quick: bool) -> None:
    """Print the layers, train, and show that dropout and batch normalisation rest once the network is used."""
    ck.manual_seed(0)
    train_set, test_set = (ck.data.Digits(train) for train in (True, False))
    train_loader = ck.data.DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = ck.data.DataLoader(test_set, batch_size=100)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding="same"),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding="same"),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(64, 10),
    )
    print(model.summary((1, 1, 8, 8)))

    images, _ = next(iter(test_loader))
    trainer = Trainer(model, ck.optim.Adam(model.parameters()), callbacks=[TensorBoard(out, images)])
    trainer.fit(train_loader, test_loader, epochs=1 if quick else 20)

    for name in ("train", "eval"):
        getattr(model, name)()
        same = np.array_equal(model(images).data, model(images).data)
        print(f"model.{name}(): the same images give the same scores twice: {same}")
    score = evaluate(model, test_loader, nn.CrossEntropyLoss())
    print(f"test accuracy {score.accuracy:.2%} of {len(test_set)} images")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/layers"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one epoch")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        main(args.out, args.quick)
