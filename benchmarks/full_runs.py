"""Train a network to its end in convkit, then in PyTorch: wall time and test accuracy, epoch by epoch.

Both start from the same weights and see the same batches, which convkit's DataLoader makes for both, under the same
schedule. Each has a process of its own, one after the other, and a test after each epoch, which is no part of the
epoch's time but of the whole. Glibc's thresholds are raised for PyTorch, so that it does not pay for fresh pages.

python -m benchmarks.full_runs fashion-mnist
python -m benchmarks.full_runs cifar10 --data-dir FOLDER
"""

import argparse
import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import convkit as ck
from convkit.bench.process import environment
from convkit.bench.torch_network import as_torch
from convkit.data.transforms import Compose, RandomCrop, RandomHorizontalFlip

ENGINES = ("convkit", "torch", "torch_nhwc")


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and how. The learning rate is `OneCycleLR`'s, up to `max_lr` and down again."""

    data: Callable[..., Any]
    model: str
    epochs: int
    batch_size: int
    optimizer: str
    max_lr: float
    arguments: dict[str, Any] = field(default_factory=dict)
    augment: Compose | None = None


RUNS = {
    "fashion-mnist": Run(ck.data.FashionMNIST, "convnet", 5, 100, "Adam", 0.003),
    "cifar10": Run(
        ck.data.CIFAR10,
        "resnet20",
        20,
        128,
        "SGD",
        0.2,
        {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
        Compose([RandomCrop(32, padding=4), RandomHorizontalFlip()]),
    ),
}


def translated(network: ck.nn.Module, engine: str) -> tuple[Any, Any, Callable[..., tuple[Any, Any]]]:
    """Return the library of an engine, the network in it, and what makes a batch of arrays into a batch for it."""
    if engine == "convkit":
        return ck, network, lambda images, labels: (ck.Tensor(images), labels)
    torch = importlib.import_module("torch")
    layout = torch.channels_last if engine == "torch_nhwc" else torch.contiguous_format

    def tensors(images: Any, labels: Any) -> tuple[Any, Any]:
        return torch.from_numpy(images).contiguous(memory_format=layout), torch.from_numpy(labels)

    return torch, as_torch(network).to(memory_format=layout), tensors


def train(run: Run, engine: str, seed: int, data_dir: Path | None, epochs: int) -> Iterator[tuple[float, float]]:
    """Yield, for each epoch, its seconds and the test accuracy after it. The names of both libraries are the same."""
    ck.manual_seed(seed)
    train_set, test_set = (run.data(data_dir, part) for part in (True, False))
    loader = ck.data.DataLoader(train_set, run.batch_size, shuffle=True, seed=seed, transform=run.augment)
    spec = train_set.spec
    network = ck.models.create(run.model, in_channels=spec.channels, image_size=spec.image_size)
    library, model, tensors = translated(network, engine)
    loss_fn = library.nn.CrossEntropyLoss()
    optimizer = getattr(library.optim, run.optimizer)(model.parameters(), lr=run.max_lr, **run.arguments)
    schedule = library.optim.lr_scheduler.OneCycleLR(optimizer, run.max_lr, epochs=epochs, steps_per_epoch=len(loader))
    for _ in range(epochs):
        start = time.perf_counter()
        model.train()
        for batch in loader:
            images, labels = tensors(*batch)
            loss = loss_fn(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.perf_counter() - start
        model.eval()
        with library.no_grad():
            batches = ck.data.DataLoader(test_set, 500)
            right = sum((model(tensors(*b)[0]).numpy().argmax(1) == b[1]).sum() for b in batches)
        yield seconds, right / len(test_set)


def show(run: Run, engine: str, options: argparse.Namespace) -> None:
    """Train, and print a line for each epoch and one for the whole."""
    if engine == "convkit":
        ck.set_num_threads(options.threads)
    else:
        importlib.import_module("torch").set_num_threads(options.threads)
    start, accuracy, epochs = time.perf_counter(), 0.0, options.epochs or run.epochs
    rows = train(run, engine, options.seed, options.data_dir, epochs)
    for epoch, (seconds, accuracy) in enumerate(rows, start=1):
        print(f"{engine:<11} epoch {epoch:>2}/{epochs}  {seconds:7.1f} s  test accuracy {accuracy:.2%}", flush=True)
    seconds = time.perf_counter() - start
    print(f"{engine:<11} {options.run}, {run.model}: {accuracy:.2%} after {seconds:.1f} s\n", flush=True)


def main() -> None:
    """Train what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.full_runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", choices=RUNS)
    add("--engines", nargs="+", choices=ENGINES, default=["convkit", "torch_nhwc"], metavar="ENGINE",
        help=f"of {', '.join(ENGINES)} (convkit torch_nhwc)")  # fmt: skip
    add("--data-dir", type=Path, metavar="DIR", help="folder with the files of the data set")
    add("--epochs", type=int, metavar="N", help="passes over the training set (as many as reach the goal)")
    add("--seed", type=int, default=0, metavar="N", help="decides weights and batches (0)")
    add("--threads", type=int, default=2, metavar="N", help="threads of each engine (2)")
    add("--here", choices=ENGINES, help=argparse.SUPPRESS)  # in the process of an engine
    options = parser.parse_args()
    if options.here:
        show(RUNS[options.run], options.here, options)
        return
    for engine in options.engines:
        command = [sys.executable, "-m", "benchmarks.full_runs", *sys.argv[1:], "--here", engine]
        if subprocess.run(command, env=environment(engine, options.threads), check=False).returncode:
            raise SystemExit(f"{engine}: its process failed; its message is above")


if __name__ == "__main__":
    main()
