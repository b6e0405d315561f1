"""Training: the loop with its progress bar, checkpoints that survive a kill, models on disk, figures.

====================  =====================================================================
`Trainer`             trains and tests, epoch by epoch; stops and goes on
`evaluate`            tests a network
`predict`             asks a network for probabilities
`save_model`          writes a network with all that it takes to use it; `load_model` reads it
`figures`             draws curves, filters, confusion, explanations
`explain`             looks into a network: maps of every layer, pixels that decide
`top_patches`         finds the pieces of images that excite each filter most
====================  =====================================================================
"""

from . import explain, figures
from .evaluation import evaluate, predict
from .metrics import EpochMetrics, Score
from .model_file import load_model, save_model
from .patches import Patches, receptive_fields, top_patches
from .trainer import Trainer

__all__ = [
    "EpochMetrics",
    "Patches",
    "Score",
    "Trainer",
    "evaluate",
    "explain",
    "figures",
    "load_model",
    "predict",
    "receptive_fields",
    "save_model",
    "top_patches",
]
