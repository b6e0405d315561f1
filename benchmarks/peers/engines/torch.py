"""PyTorch."""

from ...layers import Layer, MemoryOp
from ._engine import Engine, Passes, operands, random


class Torch(Engine):
    """PyTorch, in the layout that it calls contiguous: NCHW."""

    library = "torch"
    layout = "contiguous_format"

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.aten = torch.ops.aten

    def _tensors(self, arrays: list) -> list:
        """In memory of PyTorch's own, which begins at cache lines."""
        memory_format = getattr(self.torch, self.layout)
        return [self.torch.from_numpy(array).clone(memory_format=memory_format) for array in arrays]

    def convolution(self, layer: Layer) -> Passes:
        """Return the passes of a convolution."""
        torch, aten = self.torch, self.aten
        x, w, grad = self._tensors(operands(layer))
        forward = torch.conv_transpose2d if layer.transposed else torch.conv2d
        pairs = [layer.stride] * 2, [layer.padding] * 2, [layer.dilation] * 2
        how = *pairs, layer.transposed, [0, 0], layer.groups
        return {
            "forward": lambda: forward(x, w, **layer.options),
            "backward_input": lambda: aten.convolution_backward(grad, x, w, None, *how, [True, False, False])[0],
            "backward_weight": lambda: aten.convolution_backward(grad, x, w, None, *how, [False, True, False])[1],
        }

    def memory_op(self, work: MemoryOp) -> Passes:
        """Return the passes of an operation that moves memory."""
        (x,) = self._tensors(random(work.input_shape))
        return getattr(self, f"_{work.op}")(x)

    def _max_pool2(self, x, *how) -> Passes:
        aten, how = self.aten, how or ([2, 2], [2, 2], [0, 0])
        y, indices = aten.max_pool2d_with_indices(x, *how)
        (grad,) = self._tensors(random(tuple(y.shape)))
        return {
            "forward": lambda: aten.max_pool2d_with_indices(x, *how)[0],
            "backward": lambda: aten.max_pool2d_with_indices_backward(grad, x, *how, [1, 1], False, indices),
        }

    def _max_pool3s2p1(self, x) -> Passes:
        return self._max_pool2(x, [3, 3], [2, 2], [1, 1])

    def _avg_pool2(self, x) -> Passes:
        aten = self.aten
        (grad,) = self._tensors(random(tuple(aten.avg_pool2d(x, [2, 2]).shape)))
        return {
            "forward": lambda: aten.avg_pool2d(x, [2, 2]),
            "backward": lambda: aten.avg_pool2d_backward(grad, x, [2, 2], [2, 2], [0, 0], False, True, None),
        }

    def _batch_norm(self, x) -> Passes:
        torch, aten = self.torch, self.aten
        channels, grad = x.shape[1], x.clone()
        weight, bias, running_mean, running_var = torch.ones(channels), *torch.zeros(3, channels)
        how = True, 0.1, 1e-5
        _, mean, inverse = aten.native_batch_norm(x, weight, bias, running_mean, running_var, *how)
        state = running_mean, running_var, mean, inverse
        return {
            "forward": lambda: aten.native_batch_norm(x, weight, bias, running_mean, running_var, *how)[0],
            "backward": lambda: aten.native_batch_norm_backward(
                grad, x, weight, *state, True, 1e-5, [True, True, True]
            )[0],
        }

    def _elu(self, x) -> Passes:
        aten, grad = self.aten, x.clone()
        return {"forward": lambda: aten.elu(x), "backward": lambda: aten.elu_backward(grad, 1, 1, 1, False, x)}

    def _relu(self, x) -> Passes:
        aten, grad = self.aten, x.clone()
        y = aten.relu(x)
        return {"forward": lambda: aten.relu(x), "backward": lambda: aten.threshold_backward(grad, y, 0)}


class TorchChannelsLast(Torch):
    """PyTorch with `channels_last` tensors."""

    layout = "channels_last"
