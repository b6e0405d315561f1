"""Training: the loop with its progress bar, checkpoints that survive a kill, models on disk, figures.

====================  =====================================================================
`Trainer`             trains and tests, epoch by epoch; stops and goes on
`Callback`            what may happen beside training; `EarlyStopping` is one
`evaluate`            tests a network
`predict`             asks a network for probabilities
`lr_finder`           tries learning rates, and suggests one
`save_model`          writes a network with all that it takes to use it; `load_model` reads it
`figures`             draws curves, filters, confusion, explanations
`explain`             looks into a network: maps of every layer, pixels that decide
`top_patches`         finds the pieces of images that excite each filter most
`TensorBoard`         writes what TensorBoard shows: graph, curves, histograms, pictures
====================  =====================================================================
"""

from . import explain, figures
from .callbacks import Callback, EarlyStopping
from .evaluation import evaluate, predict
from .lr_finder import LearningRates, lr_finder
from .metrics import BatchMetrics, EpochMetrics, Score
from .model_file import load_model, save_model
from .patches import Patches, receptive_fields, top_patches
from .tensorboard import TensorBoard
from .trainer import Trainer

__all__ = [
    "BatchMetrics",
    "Callback",
    "EarlyStopping",
    "EpochMetrics",
    "LearningRates",
    "Patches",
    "Score",
    "TensorBoard",
    "Trainer",
    "evaluate",
    "explain",
    "figures",
    "load_model",
    "lr_finder",
    "predict",
    "receptive_fields",
    "save_model",
    "top_patches",
]
