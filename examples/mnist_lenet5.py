"""LeNet-5 learns the handwritten digits of MNIST.

python examples/mnist_lenet5.py --data-dir FOLDER
"""

import argparse
from pathlib import Path

from _common import errors_in_one_line

import convkit as ck
from convkit.train import Trainer, evaluate, figures, save_model


def main(data_dir: Path | None, download: bool, out: Path, quick: bool) -> None:
    """Train the network, and save it with its curves of loss and accuracy."""
    ck.manual_seed(0)
    train_set, test_set = (ck.data.MNIST(data_dir, train, download) for train in (True, False))
    train_loader = ck.data.DataLoader(
        ck.data.Subset(train_set, range(200)) if quick else train_set, batch_size=100, shuffle=True
    )
    test_loader = ck.data.DataLoader(test_set, batch_size=500)
    epochs = 1 if quick else 12

    model = ck.models.lenet5()
    optimizer = ck.optim.Adam(model.parameters())
    schedule = ck.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.004, epochs=epochs, steps_per_epoch=len(train_loader)
    )
    trainer = Trainer(model, optimizer, run_dir=out, scheduler=schedule, scheduler_every="batch")
    history = trainer.fit(train_loader, test_loader, epochs)

    score = evaluate(model, test_loader, ck.nn.CrossEntropyLoss())
    save_model(out / "model.safetensors", model, test_set.spec)
    figures.save(figures.curves(history), out / "curves.png")
    figures.save(figures.confusion(score.confusion, test_set.classes), out / "confusion.png")
    print(f"test accuracy {score.accuracy:.2%}, {sum(epoch.seconds for epoch in history):.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder with the files of MNIST")
    parser.add_argument("--download", action="store_true", help="fetch the files if they are not there")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist-lenet5"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one epoch on few images")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        args.out.mkdir(parents=True, exist_ok=True)
        main(args.data_dir, args.download, args.out, args.quick)
