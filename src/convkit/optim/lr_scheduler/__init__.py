"""Schedules of the learning rate, with the names of ``torch.optim.lr_scheduler``.

A scheduler changes the options of an optimizer between its steps. ``scheduler.step()`` is called after
``optimizer.step()``: once an epoch, or once a batch, whichever the numbers of the schedule count.

``scheduler.py`` has the base and how one is written, ``shaped.py`` what all schedules with a fixed curve share.
"""

from .cosine_annealing_lr import CosineAnnealingLR
from .exponential_lr import ExponentialLR
from .lambda_lr import LambdaLR
from .linear_lr import LinearLR
from .multi_step_lr import MultiStepLR
from .one_cycle_lr import OneCycleLR
from .reduce_lr_on_plateau import ReduceLROnPlateau
from .scheduler import LRScheduler
from .sequential_lr import SequentialLR
from .step_lr import StepLR

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
