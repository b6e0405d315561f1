"""The layers that benchmarks run on."""

from typing import NamedTuple


class Layer(NamedTuple):
    """A convolution: batch, input channels, image size, output channels, kernel size, stride, padding."""

    name: str
    batch: int
    channels: int
    size: int
    outputs: int
    kernel: int
    stride: int
    padding: int

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape (N, C, H, W)."""
        return self.batch, self.channels, self.size, self.size

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape (K, C, R, S)."""
        return self.outputs, self.channels, self.kernel, self.kernel

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """Shape (N, K, P, Q)."""
        size = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        return self.batch, self.outputs, size, size

    @property
    def operations(self) -> int:
        """Floating-point operations of one pass: two for each multiply-add."""
        return 2 * self.batch * self.outputs * self.output_shape[2] ** 2 * self.channels * self.kernel**2


LAYERS = {
    layer.name: layer
    for layer in (
        # The Fashion-MNIST network.
        Layer("fashion-1", 128, 1, 28, 16, 5, 1, 2),
        Layer("fashion-2", 128, 16, 14, 32, 5, 1, 2),
        # ResNet-50, a layer of each kind.
        Layer("resnet-1", 16, 3, 224, 64, 7, 2, 3),
        Layer("resnet-2b", 16, 64, 56, 64, 3, 1, 1),
        Layer("resnet-2c", 16, 64, 56, 256, 1, 1, 0),
        Layer("resnet-3a", 16, 256, 56, 512, 1, 2, 0),
        Layer("resnet-3b", 16, 128, 28, 128, 3, 1, 1),
        Layer("resnet-4b", 16, 256, 14, 256, 3, 1, 1),
        Layer("resnet-5b", 16, 512, 7, 512, 3, 1, 1),
    )
}
