"""Smile or no smile: a network learns two kinds of faces from a folder with one sub-folder a kind.

Where one kind is rarer than the other, its images count for more, so that the network does not prefer the common one;
and what counts is balanced accuracy, the mean of the accuracies of both kinds. Afterwards
`convkit predict runs/smiles PHOTOGRAPH` and `convkit show runs/smiles PHOTOGRAPH` answer for any photograph of a face.

python examples/smiles.py --data-dir FOLDER
"""

import argparse
from pathlib import Path

from _common import errors_in_one_line

import convkit as ck
from convkit.data.transforms import Compose, RandomCrop, RandomHorizontalFlip
from convkit.train import Trainer, evaluate, figures, save_model

SIZE = 32


def main(data_dir: Path, out: Path, quick: bool) -> None:
    """Train the network, and save it with its curves and confusions."""
    ck.manual_seed(0)
    faces = ck.data.ImageFolder(data_dir, image_size=SIZE, channels=1)
    train_set, test_set = ck.data.stratified_split(faces, [0.8, 0.2], generator=0)
    augment = Compose([RandomCrop(SIZE, padding=2), RandomHorizontalFlip()])
    train_loader = ck.data.DataLoader(train_set, batch_size=50, shuffle=True, transform=augment)
    test_loader = ck.data.DataLoader(test_set, batch_size=500)
    epochs = 1 if quick else 10

    model = ck.models.vgg(len(faces.classes), in_channels=1, image_size=SIZE)
    optimizer = ck.optim.Adam(model.parameters())
    schedule = ck.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.003, epochs=epochs, steps_per_epoch=len(train_loader)
    )
    loss_fn = ck.nn.CrossEntropyLoss(weight=ck.data.class_weights(faces.targets))
    trainer = Trainer(model, optimizer, loss_fn, out, scheduler=schedule, scheduler_every="batch")
    history = trainer.fit(train_loader, test_loader, epochs)

    score = evaluate(model, test_loader, loss_fn)
    save_model(out / "model.safetensors", model, faces.spec)
    figures.save(figures.curves(history), out / "curves.png")
    figures.save(figures.confusion(score.confusion, faces.classes), out / "confusion.png")
    print(f"balanced accuracy {score.balanced_accuracy:.2%}, accuracy {score.accuracy:.2%}, of {len(test_set)} faces")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with one sub-folder of faces a kind")
    parser.add_argument("--out", type=Path, default=Path("runs/smiles"), help="folder (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one epoch")
    args = parser.parse_args()
    with errors_in_one_line(parser):
        args.out.mkdir(parents=True, exist_ok=True)
        main(args.data_dir, args.out, args.quick)
