"""What ``convkit train --schedule`` can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

if TYPE_CHECKING:
    from ..optim import Optimizer


def _step(optimizer: Optimizer, epochs: int, batches: int) -> LRScheduler:
    return StepLR(optimizer, step_size=-(-epochs // 3) * batches)


def _cosine(optimizer: Optimizer, epochs: int, batches: int) -> LRScheduler:
    return CosineAnnealingLR(optimizer, T_max=epochs * batches)


def _one_cycle(optimizer: Optimizer, epochs: int, batches: int) -> LRScheduler:
    return OneCycleLR(optimizer, max_lr=optimizer.param_groups[0]["lr"], total_steps=epochs * batches)


# Each is made for the whole training, and takes a step after each batch.
SCHEDULES: dict[str, Callable[[Optimizer, int, int], LRScheduler]] = {
    "step": _step,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
}


def schedule(name: str, optimizer: Optimizer, epochs: int, batches: int) -> LRScheduler | None:
    """Return the schedule of a training of so many epochs of so many batches, or None for a steady rate."""
    return None if name == "none" else SCHEDULES[name](optimizer, epochs, batches)
