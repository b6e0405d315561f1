"""A network written as a class learns to tell the clothes of Fashion-MNIST apart.

As in the articles: cross-entropy, Adam with learning rate 0.001, five epochs. With `--augment`, images are moved and
mirrored at random and the learning rate follows one cycle, for longer.

python examples/fashion_mnist.py
python examples/fashion_mnist.py --augment
"""

import argparse
from pathlib import Path

from _common import errors_in_one_line

import convkit as ck
from convkit import nn
from convkit.data.transforms import Compose, RandomCrop, RandomHorizontalFlip
from convkit.train import Trainer, evaluate, figures


class FashionNet(nn.Module):
    """Two blocks of convolution, batch norm, ReLU and max-pooling, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.layer2 = nn.Sequential(nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
        self.fc = nn.Linear(32 * 7 * 7, 10)

    def forward(self, x: ck.Tensor) -> ck.Tensor:
        """Turn images (N, 1, 28, 28) into scores (N, 10)."""
        return self.fc(self.layer2(self.layer1(x)).flatten(1))


def main(data_dir: Path | None, download: bool, augment: bool, out: Path, quick: bool) -> None:
    """Train the network, and draw its curves and confusions."""
    ck.manual_seed(0)
    train_set, test_set = (ck.data.FashionMNIST(data_dir, train, download) for train in (True, False))
    train_loader = ck.data.DataLoader(
        ck.data.Subset(train_set, range(200)) if quick else train_set,
        batch_size=100,
        shuffle=True,
        transform=Compose([RandomCrop(28, padding=1), RandomHorizontalFlip()]) if augment else None,
    )
    test_loader = ck.data.DataLoader(test_set, batch_size=500)
    epochs = 1 if quick else 25 if augment else 5

    model = FashionNet()
    optimizer = ck.optim.Adam(model.parameters(), lr=0.001)
    schedule = None
    if augment:
        schedule = ck.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.01, epochs=epochs, steps_per_epoch=len(train_loader)
        )
    trainer = Trainer(model, optimizer, run_dir=out, scheduler=schedule, scheduler_every="batch")
    history = trainer.fit(train_loader, test_loader, epochs)

    score = evaluate(model, test_loader, nn.CrossEntropyLoss())
    figures.save(figures.curves(history), out / "curves.png")
    figures.save(figures.confusion(score.confusion, test_set.classes), out / "confusion.png")
    print(f"test accuracy {score.accuracy:.2%}, {sum(epoch.seconds for epoch in history):.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder with the files of Fashion-MNIST")
    parser.add_argument("--download", action="store_true", help="fetch the files if they are not there")
    parser.add_argument("--augment", action="store_true", help="move and mirror images, and train for longer")
    parser.add_argument("--out", type=Path, help="folder (default: runs/fashion_mnist, or with -augmented)")
    parser.add_argument("--quick", action="store_true", help="one epoch on few images")
    args = parser.parse_args()
    out = args.out or Path(f"runs/fashion_mnist{'-augmented' if args.augment else ''}")
    with errors_in_one_line(parser):
        out.mkdir(parents=True, exist_ok=True)
        main(args.data_dir, args.download, args.augment, out, args.quick)
