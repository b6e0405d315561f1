"""Schedules that are a fixed curve over the steps."""

from __future__ import annotations

from .scheduler import LRScheduler


class ShapedLR(LRScheduler):
    """The base of schedules ``lr = floor + (initial_lr - floor)*shape(steps)``; one is written as ``_shape``.

    Each step stretches the rate that is there by how much the shape grew. So schedules on the same optimizer
    multiply, and a rate that was changed by hand stays changed, as in PyTorch.
    """

    _floor: float = 0.0

    def _shape(self, steps: int) -> float:
        """Return where the curve is after a number of steps; 1 is the rate of the beginning."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """Compute the rate of each group after `last_epoch` steps."""
        if self._step_count == 1 and self.last_epoch > 0:
            return self._current_lr()  # goes on: the optimizer has its rates
        shape = self._shape(self.last_epoch)
        before = self._shape(self.last_epoch - 1) if self.last_epoch > 0 else 1.0
        return [
            self._floor + (rate - self._floor) * shape / before if before else rate + (base - self._floor) * shape
            for rate, base in zip(self._current_lr(), self.base_lrs, strict=True)
        ]

    def _restart(self) -> None:
        self._set_lr(self.base_lrs)
        super()._restart()
