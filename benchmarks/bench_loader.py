"""The DataLoader beside the training step that it feeds, on the same two cores."""

import statistics
import time
from collections.abc import Iterable

from benchmarks.bench_augmentation import noise
from convkit.bench import Workload
from convkit.bench.engines import Convkit
from convkit.data import DataLoader
from convkit.data.transforms import Compose, RandomCrop, RandomHorizontalFlip

_STEPS = 40
_ROUNDS = 5


class Loader:
    """Batches of a shuffled data set, cropped and flipped at random, and steps of the convnet."""

    params = (["fashion-mnist", "cifar10"], [32, 100, 256], [0, 2])
    param_names = ("images", "batch_size", "prefetch")

    def setup(self, images: str, batch_size: int, prefetch: int) -> None:
        """Make images of noise, their loader and a network, and warm up."""
        dataset = noise(images)
        spec = dataset.spec
        transform = Compose([RandomCrop(spec.image_size, 4), RandomHorizontalFlip()])
        self.loader = DataLoader(dataset, batch_size, True, drop_last=True, prefetch=prefetch, transform=transform)
        config = {"name": "convnet", "in_channels": spec.channels, "image_size": list(spec.image_size)}
        workload = Workload(config, batch_size)
        self.same = [(workload.images(), workload.labels())] * _STEPS
        self.step = Convkit(2).training(workload)
        self.step()

    def track_supply(self, images: str, batch_size: int, prefetch: int) -> float:
        """How many batches the loader makes, when nothing else runs, in the time of a step."""
        start = time.perf_counter()
        batches = sum(1 for _ in self.loader)
        seconds = (time.perf_counter() - start) / batches
        return self._seconds_of_a_step(self.same) / seconds

    def track_surcharge(self, images: str, batch_size: int, prefetch: int) -> float:
        """How much longer steps take with batches of the loader than with one that is there, in percent."""
        rounds = [(self._seconds_of_a_step(self.same), self._seconds_of_a_step(self.loader)) for _ in range(_ROUNDS)]
        alone, fed = map(statistics.median, zip(*rounds, strict=True))
        return 100 * (fed / alone - 1)

    def _seconds_of_a_step(self, batches: Iterable) -> float:
        start, steps = time.perf_counter(), 0
        for batch in batches:
            self.step(*batch)
            steps += 1
            if steps == _STEPS:
                break
        return (time.perf_counter() - start) / steps

    track_supply.unit = "batches"
    track_surcharge.unit = "%"
