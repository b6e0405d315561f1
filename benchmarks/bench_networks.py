"""Whole networks: a step of training, and inference, on one thread and on two."""

from benchmarks.networks import WORKLOADS
from convkit.bench.engines import Convkit
from convkit.bench.machine import typical


class _Networks:
    params: tuple[list[str], list[int]]
    param_names = ("network", "threads")
    name: str

    def setup(self, network: str, threads: int) -> None:
        """Make the network, and warm up."""
        self.workload = next(workload for workload in WORKLOADS[self.name] if workload.name == network)
        self.call = Convkit(threads).prepare(self.workload, self.name)
        self.call()

    def time_call(self, network: str, threads: int) -> None:
        """Seconds of a batch."""
        self.call()

    def peakmem_call(self, network: str, threads: int) -> None:
        """Peak memory of the process, in bytes."""
        self.call()

    def track_images_per_second(self, network: str, threads: int) -> float:
        """Images a second, by the median of the batches of a second."""
        return self.workload.batch_size / typical(self.call, 1.0)

    track_images_per_second.unit = "images/s"


class Training(_Networks):
    """Forward, loss, backward, optimizer."""

    name = "training"
    params = ([workload.name for workload in WORKLOADS["training"]], [1, 2])


class Inference(_Networks):
    """Scores of a batch."""

    name = "inference"
    params = ([workload.name for workload in WORKLOADS["inference"]], [1, 2])
