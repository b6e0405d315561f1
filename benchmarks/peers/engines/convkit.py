"""convkit."""

import numpy as np

from ...layers import Layer, MemoryOp
from ._engine import Engine, Passes, channels_last, operands, random


class Convkit(Engine):
    """convkit, through `ops`: packing and allocation are in the time. Weights lie as `nn` makes them."""

    library = "convkit"

    def __init__(self, threads: int) -> None:
        import convkit
        from convkit._memory import empty_like

        convkit.set_num_threads(threads)
        self.ops, self.empty_like = convkit.ops, empty_like
        self.dtype = np.dtype(np.float32)  # of a convolution's arrays

    def convolution(self, layer: Layer) -> Passes:
        """Return the passes of a convolution."""
        ops, how = self.ops, layer.options
        x, w, grad = (array.astype(self.dtype, copy=False) for array in operands(layer))
        x, w, grad = self._handed_on(x), _as_nn_lays_it(w), self._handed_on(grad)
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
        return getattr(self, f"_{work.op}")(self._handed_on(*random(work.input_shape)))

    def _handed_on(self, x: np.ndarray) -> np.ndarray:
        """As the operation before would: in memory of convkit's own, whose blocks, as PyTorch's, begin at cache lines.

        NumPy's begin anywhere: with AVX-512 some kernels take 15 to 30 % longer to read those.
        """
        last = channels_last(x)
        out = self.empty_like(last)
        out[...] = last
        return out

    def _max_pool2(self, x: np.ndarray, **how: int) -> Passes:
        ops, how = self.ops, how or {"kernel_size": 2}
        y, indices = ops.max_pool2d(x, **how)
        grad = self._handed_on(*random(y.shape))
        return {
            "forward": lambda: ops.max_pool2d(x, **how),
            "backward": lambda: ops.max_pool2d_backward(grad, indices, x.shape, **how),
        }

    def _max_pool3s2p1(self, x: np.ndarray) -> Passes:
        return self._max_pool2(x, kernel_size=3, stride=2, padding=1)

    def _avg_pool2(self, x: np.ndarray) -> Passes:
        ops = self.ops
        grad = self._handed_on(*random(ops.avg_pool2d(x, 2).shape))
        return {
            "forward": lambda: ops.avg_pool2d(x, 2),
            "backward": lambda: ops.avg_pool2d_backward(grad, x.shape, 2),
        }

    def _batch_norm(self, x: np.ndarray) -> Passes:
        """Training: the forward pass takes the batch's statistics."""
        ops = self.ops
        weight, bias = np.ones(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
        mean, var = ops.batch_norm_stats(x)
        grad = self._handed_on(x)
        return {
            "forward": lambda: ops.batch_norm(x, *ops.batch_norm_stats(x), weight, bias),
            "backward": lambda: ops.batch_norm_backward(grad, x, mean, var, weight),
        }

    def _elu(self, x: np.ndarray) -> Passes:
        ops, grad = self.ops, self._handed_on(x)
        if not hasattr(ops, "elu"):
            return {}
        return {"forward": lambda: ops.elu(x), "backward": lambda: ops.elu_backward(grad, x)}

    def _relu(self, x: np.ndarray) -> Passes:
        ops, grad = self.ops, self._handed_on(x)
        y = ops.relu(x)
        return {"forward": lambda: ops.relu(x), "backward": lambda: ops.relu_backward(grad, y)}


def _as_nn_lays_it(w: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(w.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
