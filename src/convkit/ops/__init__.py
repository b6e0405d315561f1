"""Operations on NumPy arrays: check the arguments, allocate the result, call one kernel. No state, no tape.

Arrays are float32 or float64, images (N, C, H, W) by name and channels-last in memory: results lie so, and arguments
in other orders are reordered once, on the way in. Arguments are never written to.

Arrays may also be bfloat16, of `ml_dtypes` or any other package that has it: such ops compute in float32 and round
their results once, to the nearest bfloat16. Batch norm's vectors (mean, var, weight, bias) may be float32 beside
bfloat16 images; its statistics are float32, and the gradients of its weight and bias have the dtype of the weight.
Where AMX multiplies bfloat16, convolutions of channels-last images read and write them as they lie.
"""

from ._bfloat16 import takes_bfloat16
from ._stored import AS_STORED
from .activation import (
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    hardsigmoid,
    hardsigmoid_backward,
    hardswish,
    hardswish_backward,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu6,
    relu6_backward,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from .avg_pool2d import adaptive_avg_pool2d, adaptive_avg_pool2d_backward, avg_pool2d, avg_pool2d_backward
from .batch_norm import batch_norm, batch_norm_backward, batch_norm_stats
from .conv2d import conv2d, conv2d_backward_bias, conv2d_backward_input, conv2d_backward_weight, conv2d_output_shape
from .conv2d_plan import conv2d_plan
from .conv_transpose2d import conv_transpose2d, conv_transpose2d_backward_input, conv_transpose2d_backward_weight
from .linear import linear, linear_backward_bias, linear_backward_input, linear_backward_weight
from .lp_pool2d import lp_pool2d, lp_pool2d_backward
from .matmul import matmul, matmul_backward_input, matmul_backward_other
from .max_pool2d import adaptive_max_pool2d, adaptive_max_pool2d_backward, max_pool2d, max_pool2d_backward
from .pad import pad, pad_backward
from .pool2d_output_shape import pool2d_output_shape
from .softmax import log_softmax, log_softmax_backward, softmax, softmax_backward
from .weighted_pool2d import distance_weights, weighted_pool2d, weighted_pool2d_backward

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward",
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
    "conv2d_plan",
    "conv_transpose2d",
    "conv_transpose2d_backward_input",
    "conv_transpose2d_backward_weight",
    "distance_weights",
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward_bias",
    "linear_backward_input",
    "linear_backward_weight",
    "log_softmax",
    "log_softmax_backward",
    "lp_pool2d",
    "lp_pool2d_backward",
    "matmul",
    "matmul_backward_input",
    "matmul_backward_other",
    "max_pool2d",
    "max_pool2d_backward",
    "pad",
    "pad_backward",
    "pool2d_output_shape",
    "relu",
    "relu6",
    "relu6_backward",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "tanh",
    "tanh_backward",
    "weighted_pool2d",
    "weighted_pool2d_backward",
]

globals().update({name: takes_bfloat16(globals()[name], AS_STORED.get(name)) for name in __all__})
