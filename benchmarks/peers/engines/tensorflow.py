"""TensorFlow."""

from ...layers import Layer
from ._engine import Engine, Passes, mirrored, operands


class TensorFlow(Engine):
    """TensorFlow, in NHWC, the layout that it has on a CPU.

    It lacks groups that are not depthwise, and gradients of dilated convolutions.
    """

    library = "tensorflow"

    def __init__(self, threads: int) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.tf = tf

    def convolution(self, layer: Layer) -> Passes:
        """Return the passes of a convolution."""
        if layer.transposed:
            return mirrored(self.convolution, layer)
        depthwise = layer.groups == layer.channels > 1
        if layer.groups > 1 and not depthwise:
            return {}
        tf, raw = self.tf, self.tf.raw_ops
        x, w, grad = operands(layer)
        x, grad = (tf.constant(a.transpose(0, 2, 3, 1)) for a in (x, grad))
        if depthwise:  # (K, 1, R, S) to (R, S, C, K/C)
            rows, cols = w.shape[2:]
            w = w.transpose(2, 3, 0, 1).reshape(rows, cols, layer.channels, layer.outputs // layer.channels)
            kind = "DepthwiseConv2dNative"
        else:
            w, kind = w.transpose(2, 3, 1, 0), "Conv2D"
        w = tf.constant(w)
        sides = [layer.padding] * 2
        how = {
            "strides": [1, layer.stride, layer.stride, 1],
            "padding": "EXPLICIT",
            "explicit_paddings": [0, 0, *sides, *sides, 0, 0],
            "dilations": [1, layer.dilation, layer.dilation, 1],
        }
        forward = getattr(raw, kind)
        passes: Passes = {"forward": lambda: forward(input=x, filter=w, **how)}
        if layer.dilation == 1:
            backward_input, backward_weight = (getattr(raw, f"{kind}Backprop{of}") for of in ("Input", "Filter"))
            passes |= {
                "backward_input": lambda: backward_input(input_sizes=x.shape, filter=w, out_backprop=grad, **how),
                "backward_weight": lambda: backward_weight(input=x, filter_sizes=w.shape, out_backprop=grad, **how),
            }
        return passes
