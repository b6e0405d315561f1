"""Operations on NumPy arrays: check the arguments, allocate the result, call one kernel. No state, no tape.

Arrays are float32 or float64, images (N, C, H, W) by name and channels-last in memory: results lie so, and arguments
in other orders are reordered once, on the way in. Arguments are never written to.
"""

from .batch_norm import batch_norm, batch_norm_backward, batch_norm_stats
from .conv2d import conv2d, conv2d_backward_bias, conv2d_backward_input, conv2d_backward_weight, conv2d_output_shape
from .conv_transpose2d import conv_transpose2d, conv_transpose2d_backward_input, conv_transpose2d_backward_weight
from .linear import linear, linear_backward_bias, linear_backward_input, linear_backward_weight
from .pool2d import avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward
from .relu import relu, relu_backward
from .softmax import log_softmax, log_softmax_backward, softmax, softmax_backward

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_stats",
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv2d_output_shape",
    "conv_transpose2d",
    "conv_transpose2d_backward_input",
    "conv_transpose2d_backward_weight",
    "linear",
    "linear_backward_bias",
    "linear_backward_input",
    "linear_backward_weight",
    "log_softmax",
    "log_softmax_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "relu",
    "relu_backward",
    "softmax",
    "softmax_backward",
]
