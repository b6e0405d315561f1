"""Training: the loop with its progress bar, checkpoints that survive a kill, models on disk, figures.

====================  =====================================================================
`Trainer`             trains and tests, epoch by epoch; stops and goes on
`Callback`            what may happen beside training; `EarlyStopping` is one
`evaluate`            tests a network
`predict`             asks a network for probabilities
`lr_finder`           tries learning rates, and suggests one
`save_model`          writes a network with all that it takes to use it; `load_model` reads it
`TensorBoard`         writes what TensorBoard shows: graph, curves, histograms, pictures
`figures`             draws curves, filters and confusion
====================  =====================================================================
"""

from . import figures
from .callbacks import Callback, EarlyStopping
from .evaluation import evaluate, predict
from .lr_finder import LearningRates, lr_finder
from .metrics import BatchMetrics, EpochMetrics, Score
from .model_file import load_model, save_model
from .tensorboard import TensorBoard
from .trainer import Trainer

__all__ = [
    "BatchMetrics",
    "Callback",
    "EarlyStopping",
    "EpochMetrics",
    "LearningRates",
    "Score",
    "TensorBoard",
    "Trainer",
    "evaluate",
    "figures",
    "load_model",
    "lr_finder",
    "predict",
    "save_model",
]
