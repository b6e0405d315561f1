"""Networks and batches whose training steps and inference the benchmarks measure: each the same in every engine."""

from convkit.bench.workload import Workload


def _batches(name: str, sizes: tuple[int, ...], pixels: int, optimizer: str) -> list[Workload]:
    return [Workload({"name": name, "image_size": [pixels, pixels]}, size, optimizer) for size in sizes]


#: By pass. The network of the articles, which is trained on Fashion-MNIST, comes first.
WORKLOADS: dict[str, list[Workload]] = {
    "training": [
        *_batches("convnet", (32, 100, 256), 28, "Adam"),
        *_batches("lenet5", (100,), 28, "Adam"),
        *_batches("resnet20", (128,), 32, "SGD"),
        *_batches("resnet18", (8,), 224, "SGD"),
        *_batches("mobilenet_v2", (16,), 96, "SGD"),
    ],
    "inference": [
        *_batches("convnet", (1, 32, 100, 256), 28, "Adam"),
        *_batches("lenet5", (100,), 28, "Adam"),
        *_batches("resnet20", (128,), 32, "SGD"),
        *_batches("resnet18", (1, 8), 224, "SGD"),
        *_batches("mobilenet_v2", (16,), 96, "SGD"),
    ],
}
