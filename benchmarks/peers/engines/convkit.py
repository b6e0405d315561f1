"""convkit."""

import numpy as np

from ...layers import Layer, MemoryOp
from ._engine import Engine, Passes, channels_last, operands, random


class Convkit(Engine):
    """convkit, through `ops`: packing and allocation are in the time. Weights lie as `nn` makes them."""

    library = "convkit"

    def __init__(self, threads: int) -> None:
        import convkit

        convkit.set_num_threads(threads)
        self.ops = convkit.ops

    def convolution(self, layer: Layer) -> Passes:
        """Return the passes of a convolution."""
        ops, how = self.ops, layer.options
        x, w, grad = operands(layer)
        x, w, grad = channels_last(x), _as_nn_lays_it(w), channels_last(grad)
        if layer.transposed:
            if not hasattr(ops, "conv_transpose2d"):
                return {}
            return {
                "forward": lambda: ops.conv_transpose2d(x, w, **how),
                "backward_input": lambda: ops.conv2d(grad, w, **how),
                "backward_weight": lambda: ops.conv2d_backward_weight(grad, w.shape, x, **how),
            }
        return {
            "forward": lambda: ops.conv2d(x, w, **how),
            "backward_input": lambda: ops.conv2d_backward_input(x.shape, w, grad, **how),
            "backward_weight": lambda: ops.conv2d_backward_weight(x, w.shape, grad, **how),
        }

    def memory_op(self, work: MemoryOp) -> Passes:
        """Return the passes of an operation that moves memory."""
        return getattr(self, f"_{work.op}")(channels_last(*random(work.input_shape)))

    def _max_pool2(self, x: np.ndarray, **how: int) -> Passes:
        ops, how = self.ops, how or {"kernel_size": 2}
        y, indices = ops.max_pool2d(x, **how)
        grad = channels_last(*random(y.shape))
        return {
            "forward": lambda: ops.max_pool2d(x, **how),
            "backward": lambda: ops.max_pool2d_backward(grad, indices, x.shape, **how),
        }

    def _max_pool3s2p1(self, x: np.ndarray) -> Passes:
        return self._max_pool2(x, kernel_size=3, stride=2, padding=1)

    def _avg_pool2(self, x: np.ndarray) -> Passes:
        ops = self.ops
        grad = channels_last(*random(ops.avg_pool2d(x, 2).shape))
        return {
            "forward": lambda: ops.avg_pool2d(x, 2),
            "backward": lambda: ops.avg_pool2d_backward(grad, x.shape, 2),
        }

    def _batch_norm(self, x: np.ndarray) -> Passes:
        """Training: the forward pass takes the batch's statistics."""
        ops = self.ops
        weight, bias = np.ones(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
        mean, var = ops.batch_norm_stats(x)
        grad = x.copy(order="K")
        return {
            "forward": lambda: ops.batch_norm(x, *ops.batch_norm_stats(x), weight, bias),
            "backward": lambda: ops.batch_norm_backward(grad, x, mean, var, weight),
        }

    def _elu(self, x: np.ndarray) -> Passes:
        ops, grad = self.ops, x.copy(order="K")
        if not hasattr(ops, "elu"):
            return {}
        return {"forward": lambda: ops.elu(x), "backward": lambda: ops.elu_backward(grad, x)}

    def _relu(self, x: np.ndarray) -> Passes:
        ops, grad = self.ops, x.copy(order="K")
        y = ops.relu(x)
        return {"forward": lambda: ops.relu(x), "backward": lambda: ops.relu_backward(grad, y)}


def _as_nn_lays_it(w: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(w.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
