"""Figures: of a training run, of what a network sees, and of how it all works.

======================  ========================================================
`curves`                loss and accuracy over the epochs
`filters`               filters of a convolution
`confusion`             which classes were taken for which
`explanation`           an image, its maps in every layer, and which pixels decide
`patches`               the pieces of images that excite each filter most
`activations`           functions with their derivatives
`descent`               gradient descent on a straight line; `descent_animation`
`layer_times`           where the time of a training step goes
`gallery`               pictures side by side
======================  ========================================================

Every function returns a matplotlib ``Figure`` that belongs to nobody: pyplot, its windows and its settings are never
touched. `save` and `save_animation` write it. Colours are told apart by readers with any colour vision.
"""

from ._drawing import save
from .explanation import explanation, patches
from .lessons import activations, descent, descent_animation, gallery, save_animation
from .speed import layer_times
from .training import confusion, curves, filters, learning_rates

__all__ = [
    "activations",
    "confusion",
    "curves",
    "descent",
    "descent_animation",
    "explanation",
    "filters",
    "gallery",
    "layer_times",
    "learning_rates",
    "patches",
    "save",
    "save_animation",
]
