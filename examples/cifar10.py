"""A small VGG or ResNet-20 learns the ten kinds of things of CIFAR-10, in colour.

Filters of the plain convnet, which knows less, are 5x5 in the first layer: large enough to see colours and edges.

python examples/cifar10.py --data-dir FOLDER
python examples/cifar10.py --data-dir FOLDER --model resnet20
python examples/cifar10.py --data-dir FOLDER --model convnet
"""

import argparse
from pathlib import Path

from _common import errors_in_one_line

import convkit as ck
from convkit.data.transforms import Compose, RandomCrop, RandomHorizontalFlip
from convkit.train import Trainer, evaluate, figures, save_model


def main(data_dir: Path | None, download: bool, name: str, epochs: int, out: Path, quick: bool) -> None:
    """Train the network, and save it with its curves, first filters and confusions."""
    ck.manual_seed(0)
    train_set, test_set = (ck.data.CIFAR10(data_dir, train, download) for train in (True, False))
    if quick:
        epochs = 1
    train_loader = ck.data.DataLoader(
        ck.data.Subset(train_set, range(50)) if quick else train_set,
        batch_size=100,
        shuffle=True,
        transform=Compose([RandomCrop(32, padding=4), RandomHorizontalFlip()]),
    )
    test_loader = ck.data.DataLoader(ck.data.Subset(test_set, range(50)) if quick else test_set, batch_size=500)

    model = ck.models.create(name, in_channels=3, image_size=(32, 32))
    optimizer = ck.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = ck.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, epochs=epochs, steps_per_epoch=len(train_loader))
    trainer = Trainer(model, optimizer, run_dir=out, scheduler=schedule, scheduler_every="batch")
    history = trainer.fit(train_loader, test_loader, epochs)

    score = evaluate(model, test_loader, ck.nn.CrossEntropyLoss())
    save_model(out / "model.safetensors", model, test_set.spec)
    first = next(parameter for parameter in model.parameters() if parameter.ndim == 4)
    figures.save(figures.curves(history), out / "curves.png")
    figures.save(figures.filters(first.data), out / "filters.png")
    figures.save(figures.confusion(score.confusion, test_set.classes), out / "confusion.png")
    print(f"test accuracy {score.accuracy:.2%}, {sum(epoch.seconds for epoch in history):.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder with the files of CIFAR-10")
    parser.add_argument("--download", action="store_true", help="fetch the files if they are not there")
    parser.add_argument("--model", choices=ck.models.names(), default="vgg", help="network (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training set (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder (default: runs/cifar10-MODEL)")
    parser.add_argument("--quick", action="store_true", help="one epoch on few images")
    args = parser.parse_args()
    out = args.out or Path(f"runs/cifar10-{args.model}")
    with errors_in_one_line(parser):
        out.mkdir(parents=True, exist_ok=True)
        main(args.data_dir, args.download, args.model, args.epochs, out, args.quick)
