"""When products of bfloat16 pairs pay, on processors with AVX512_BF16: by counting, and nothing is tried out.

Counted in multiply-adds of the register tile in float32, of which an instruction with pairs of channels does two in the
same time::

    direct      R*S*C*K for each output pixel
    pairs       R*S*ceil(C/2)*K for each output pixel + staged*C for each input pixel + stored*K for each output pixel
                + packed*R*S*C*K, but not where compiled networks have packed the weights before

The constants were measured on a core with two such units, on layers of ResNet-50.
"""

import math

from .._shapes import Conv2d

_STAGED = 6.0  # a number of the input, rounded
_STORED = 12.0  # a sum, which is looked at, and which fewer products come before
_PACKED = 10.0  # a weight, rounded and paired


def pairs_cost(pass_: str, convolution: Conv2d, packed: bool = False) -> float:
    """Estimate a forward pass or a backward-input; `packed` says whether weights were packed before.

    Examples
    --------
    >>> wide = Conv2d((16, 64, 56, 56), (256, 64, 1, 1), (1, 1), (0, 0), (1, 1), 1, (16, 256, 56, 56))
    >>> pairs_cost("forward", wide) / (math.prod(wide.output_shape) * 64) < 1
    True
    """
    read, written = convolution.input_shape, convolution.output_shape
    filters, channels, *taps = convolution.weight_shape
    outputs = filters // convolution.groups
    if pass_ == "backward_input":
        read, written, outputs, channels = written, read, channels, outputs
    # Of windows, whichever pass they belong to, there is one for each pixel of the convolution's output.
    windows = convolution.output_shape[0] * math.prod(convolution.output_shape[2:])
    pixels = min(math.prod(read[2:]) * read[0], windows * math.prod(taps))
    products = windows * math.prod(taps) * -(-channels // 2) * outputs * convolution.groups
    weights = 0.0 if packed else _PACKED * math.prod(convolution.weight_shape)
    return products + _STAGED * pixels * read[1] + _STORED * math.prod(written) + weights
