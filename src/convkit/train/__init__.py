"""Training: the loop with its progress bar, checkpoints that survive a kill, models on disk, figures.

====================  =====================================================================
`Trainer`             trains and tests, epoch by epoch; stops and goes on
`evaluate`            tests a network
`predict`             asks a network for probabilities
`save_model`          writes a network with all that it takes to use it; `load_model` reads it
`figures`             draws curves, filters and confusion
====================  =====================================================================
"""

from . import figures
from .evaluation import evaluate, predict
from .metrics import EpochMetrics, Score
from .model_file import load_model, save_model
from .trainer import Trainer

__all__ = [
    "EpochMetrics",
    "Score",
    "Trainer",
    "evaluate",
    "figures",
    "load_model",
    "predict",
    "save_model",
]
