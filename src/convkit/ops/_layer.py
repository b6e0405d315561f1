"""One pass of a convolution, as the rules of `_convolution` see it: its sizes, what suits it, what it takes and costs.

All of it follows from the arguments of the call, the precision and the instruction set, so that choices repeat.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from .._shapes import Conv2d
from . import _split, _split_winograd, _winograd
from ._pairs import pairs_cost

#: bfloat16 parts of each float32 that count, by precision.
PARTS = {"highest": 3, "high": 2, "medium": 1}

# Images of fewer pixels are read in other ways; and so many bytes stay in the second-level cache.
_FEW_PIXELS = 64
_CACHED_LINES = 512 * 1024

# Outputs of AMX's smallest strip; and so many bytes of one leave room for another in the second-level cache.
_STRIP_COLUMNS = 32
_MOST_STRIP = 768 * 1024

Pass = Literal["forward", "backward_input", "backward_weight"]
Dtype = np.dtype[np.floating]


class Layer(NamedTuple):
    """What the choice depends on."""

    pass_: Pass
    convolution: Conv2d
    dtype: Dtype
    precision: str  # of float32; float64 has the highest
    isa: str
    lanes: int  # of a vector
    of_bfloat16: bool = False  # whether the operands came as such
    packed: bool = False  # whether the weights are packed once, for many calls

    @property
    def images(self) -> int:
        """Images in the batch."""
        return self.convolution.input_shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the pass computes."""
        of = self.convolution.input_shape if self.pass_ == "backward_input" else self.convolution.output_shape
        return of[2], of[3]

    @property
    def groups(self) -> int:
        """Groups of channels."""
        return self.convolution.groups

    @property
    def outputs(self) -> int:
        """Channels of a group that the pass computes; for the weights' gradient, of the convolution's output."""
        outputs, channels, *_ = self.convolution.weight_shape
        return channels if self.pass_ == "backward_input" else outputs // self.groups

    @property
    def channels(self) -> int:
        """Channels of a group that each output sums over."""
        outputs, channels, *_ = self.convolution.weight_shape
        return outputs // self.groups if self.pass_ == "backward_input" else channels

    @property
    def height(self) -> int:
        """Rows of the kernel."""
        return self.convolution.weight_shape[2]

    @property
    def width(self) -> int:
        """Columns of the kernel."""
        return self.convolution.weight_shape[3]

    @property
    def step(self) -> int:
        """Columns from one output's input to the next one's."""
        return 1 if self.pass_ == "backward_input" else self.convolution.stride[1]

    @property
    def length(self) -> int:
        """How many products each output sums."""
        return self.channels * self.height * self.width

    @property
    def is_depthwise(self) -> bool:
        """Whether groups of one channel fill a vector: then nothing needs staging."""
        return self.outputs == self.channels == 1 and self.groups >= self.lanes

    @property
    def is_narrow(self) -> bool:
        """Whether groups share vectors, or the only one fills most of one and its taps can share what they read."""
        if self.channels == 0:
            return False
        if self.groups > 1:
            return 0 < self.outputs <= self.lanes
        return self.width > 1 and self.step == 1 and self.lanes < 2 * self.outputs <= 2 * self.lanes

    @property
    def is_thin(self) -> bool:
        """Whether a line of several taps and their channels would leave most rows of a dense tile empty."""
        return self.outputs > 0 and self.width > 1 and 0 < self.width * self.channels <= self.lanes

    @property
    def is_shallow(self) -> bool:
        """Whether all that the taps of a column read fits a row of AMX's tiles, and columns lie side by side."""
        small = self.height > 1 and 0 < self.height * self.channels <= _split.DEPTH
        side_by_side = self.width == 1 or self.convolution.dilation[1] == 1
        return self.pass_ == "forward" and self.groups == 1 and small and side_by_side

    @property
    def is_planar(self) -> bool:
        """Whether outputs are so few that columns fill vectors better, and sums so long that transposing pays."""
        few = 0 < 8 * self.outputs <= 3 * self.lanes
        return self.groups == 1 and few and self.channels >= 8 and self.height * self.width >= 4

    @property
    def parts(self) -> int:
        """How many bfloat16 parts of each number count."""
        return 1 if self.of_bfloat16 else PARTS[self.precision]

    @property
    def is_plain(self) -> bool:
        """Whether neighbouring outputs read neighbouring pixels, with neighbouring taps, and groups fill vectors."""
        fill = self.groups == 1 or self.outputs >= self.lanes
        return self.convolution.stride == self.convolution.dilation == (1, 1) and fill

    @property
    def is_crowded(self) -> bool:
        """Whether several pixels' outputs fill a vector better than one's, and read few neighbouring numbers."""
        few = 0 < 4 * self.outputs <= 3 * self.lanes
        if self.groups > 1 or self.lanes < 8 or not few or self.height * self.width == 1:
            return False
        rows_fill_vectors = self.size[1] * self.outputs >= self.lanes
        apart = (self.lanes + self.outputs - 2) // self.outputs * self.step * self.channels
        return rows_fill_vectors and 0 < apart < self.lanes and (self.width == 1 or self.convolution.dilation[1] == 1)

    @property
    def suits_scattering(self) -> bool:
        """Whether a gradient of few channels takes fewer vectors by adding windows than by gathering columns."""
        conv, channels = self.convolution, self.outputs
        plain = conv.groups == conv.stride[0] == 1 and conv.padding == (0, 0) and conv.dilation == (1, 1)
        small = 2 <= self.height <= 7 and self.channels * self.height <= 768  # a chain of sums in registers
        _, _, height, width = conv.input_shape
        _, _, rows, cols = conv.output_shape
        gathered = height * -(-width // (conv.stride[1] * self.lanes)) * self.width * channels
        scattered = rows * cols * -(-self.width * channels // self.lanes)
        return plain and small and self.images >= 8 and 0 < scattered < gathered

    @property
    def suits_tiles(self) -> bool:
        """Whether Winograd's tiles compute filters of this size, stride and dilation."""
        return self.is_plain and self.height in (3, 5) and self.width in (3, 5)

    @property
    def tile(self) -> int:
        """The m of Winograd's tiles of m x m outputs that cost less than a sum of all products, or 0."""
        if not self.suits_tiles:
            return 0
        sizes = (2,) if self.precision == "highest" else (2, 4)
        taps = self.height, self.width
        return _winograd.best_tile(sizes, self.images, self.size, taps, self.channels, self.outputs, self.packed)

    @property
    def suits_pairs(self) -> bool:
        """Whether outputs fill vectors, and pairs of bfloat16 cost less than numbers, summed directly or by tiles."""
        cost = pairs_cost(self.pass_, self.convolution, self.packed)
        return self.outputs >= self.lanes and cost < min(every_product(self), _winograd_cost(self))

    @property
    def fits_strip(self) -> bool:
        """Whether all channels that a few outputs read fit a strip, as bfloat16: no sum is rounded on the way."""
        stride, dilation = self.convolution.stride, self.convolution.dilation
        rows = (self.height - 1) * dilation[0] + 1
        cols = (self.width - 1) * dilation[1] + _STRIP_COLUMNS * (1 if self.pass_ == "backward_input" else stride[1])
        return 2 * rows * cols * self.channels <= _MOST_STRIP

    @property
    def suits_mapping(self) -> bool:
        """Whether the input is better mapped where it is staged, by a kernel that can, than in a pass before.

        To map a vector costs three to eight cycles where it is in cache, and it is done in both passes, at edges of
        strips and by shares of the outputs more than once; to write and read it costs more, and the memory. That holds
        where channels fill vectors, and the lines that one line of outputs reads stay in a core's cache.
        """
        images, channels, _, cols = self.convolution.input_shape
        reach = (self.height - 1) * self.convolution.dilation[0] + 1
        lines = reach * cols * channels * self.dtype.itemsize
        pixels = images * math.prod(self.convolution.output_shape[2:])
        one = self.groups == 1 or self.is_depthwise
        return one and channels >= self.lanes and pixels >= _FEW_PIXELS and lines <= _CACHED_LINES

    @property
    def suits_rows(self) -> bool:
        """Whether rows of the output's gradient can be made where they are read, by a kernel that does that.

        They are of whole vectors, and stay in a core's cache.
        """
        row = self.convolution.output_shape[3] * self.outputs * self.dtype.itemsize
        return self.groups == 1 and self.outputs % self.lanes == 0 and row <= _CACHED_LINES

    @property
    def suits_winograd_gradient(self) -> bool:
        """Whether a weight gradient's sums, of enough channels, take at most 7 in 10 of the products by Winograd."""
        large = self.channels >= 8 and self.outputs >= self.lanes
        if not (large and self.suits_tiles):
            return False
        return 0 < 10 * gradient_products(self) < 7 * every_product(self)


# ---------------------------------------------------------------------------------------------------------------------
# Counts of multiplications, and what they cost


def every_product(layer: Layer) -> int:
    """Count one multiplication for each tap of each channel of each output, whether or not it lies in the padding."""
    _, channels, rows, cols = layer.convolution.weight_shape
    return math.prod(layer.convolution.output_shape) * channels * rows * cols


def gradient_products(layer: Layer) -> int:
    """Count what tiles of 2x2 outputs take: their transforms are those of the forward pass, transposed."""
    images, outputs, rows, cols = layer.convolution.output_shape
    return _winograd.tile_products(2, images, (rows, cols), (layer.height, layer.width), layer.channels, outputs)


def _gradient_cost(layer: Layer) -> float:
    images, _, rows, cols = layer.convolution.output_shape
    taps = layer.height, layer.width
    return layer.groups * _winograd.gradient_cost(images, (rows, cols), taps, layer.channels, layer.outputs)


def winograd_products(layer: Layer) -> int:
    """Count what Winograd's tiles take, of the size that costs least."""
    taps = layer.height, layer.width
    return layer.groups * _winograd.tile_products(
        layer.tile, layer.images, layer.size, taps, layer.channels, layer.outputs
    )


def split_winograd_products(layer: Layer) -> int:
    """Count what tiles of 2x2 outputs take where each number has parts."""
    taps, products = (layer.height, layer.width), layer.parts * (layer.parts + 1) // 2
    return (
        products
        * layer.groups
        * _split_winograd.split_tile_products(layer.images, layer.size, taps, layer.channels, layer.outputs)
    )


def split_winograd_cycles(layer: Layer) -> float:
    """Estimate Winograd's tiles on AMX, where filters suit them: of the weights' gradient, those of 3x3 alone."""
    taps = layer.height, layer.width
    if not layer.suits_tiles or (layer.pass_ == "backward_weight" and taps != (3, 3)):
        return math.inf
    if layer.pass_ == "backward_weight":
        of_group = _split_winograd.split_gradient_cycles(
            layer.images, layer.size, layer.channels, layer.outputs, layer.parts
        )
    else:
        shape = layer.images, layer.size, taps, layer.channels, layer.outputs
        of_group = _split_winograd.split_tile_cycles(*shape, layer.parts, layer.packed)
    return layer.groups * of_group


def shallow_cycles(layer: Layer) -> float:
    """Estimate AMX tiles of parts where columns of few channels are summed as one range; others are not."""
    return _split.shallow_cycles(layer.convolution, layer.parts) if layer.is_shallow else math.inf


def _winograd_cost(layer: Layer) -> float:
    """Estimate Winograd's tiles, where they cost less than a sum of all products."""
    if not layer.tile:
        return math.inf
    taps = layer.height, layer.width
    shape = layer.images, layer.size, taps, layer.channels, layer.outputs
    return layer.groups * _winograd.tile_cost(layer.tile, *shape, layer.packed)


def split_cycles(layer: Layer) -> float:
    """Estimate AMX tiles of parts, for all products."""
    return _split.split_cycles(layer.pass_, layer.convolution, layer.parts, layer.packed)


def float_cycles(layer: Layer) -> float:
    """Estimate the better of what sums all products in float32, and of Winograd's tiles."""
    if layer.pass_ != "backward_weight":
        return min(_split.direct_cycles(layer.convolution), _split.float32_cycles(_winograd_cost(layer)))
    if layer.suits_winograd_gradient:
        return _split.float32_cycles(_gradient_cost(layer))
    return _split.direct_cycles(layer.convolution)
