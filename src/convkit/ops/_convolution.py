"""Which algorithm computes each pass of a convolution: the one place where that is decided.

::

    plan("forward", dtype, convolution)        what ops ask: once for each geometry, then from a cache
        |
    choose(Layer(...)), choose_linear(...)     the rules: pure, of shapes, precision and instruction set alone
        |
    Algorithm                                  its name, its kernel, what that is told beside the geometry
        |
    Plan                                       what the kernel computes the pass with, and its arguments
        |
    plan.carry_out(op, arrays...)              do it; again, by products, where a transform spread an Inf or a NaN

A kernel names the passes that it computes FORWARD, BACKWARD_INPUT or BACKWARD_WEIGHT, and the kernel ``passes`` does
them for arrays (see _kernels/_pass.pxd). A new algorithm is an `Algorithm`, and the line in `_transformed`,
`_correlation` or `_weight_gradient` that chooses it. Results repeat because nothing is tried out and nothing
but the arguments is asked.

Algorithms that transform images or split numbers have the finite results of a sum of products, and less work; but an
Inf, a NaN or an overflow reaches neighbours that it has no part in. Their kernels say so, and the pass is computed
again by the products themselves.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from .._dispatch import isa, kernel, tile_shape
from .._precision import get_float32_precision, operands_are_bfloat16
from .._shapes import Array, Conv2d, Shape
from .._threads import get_num_threads
from ._affine import Mapped
from ._arrays import need_memory
from ._pairs import pairs_cost
from ._split import direct_cycles, float32_cycles, split_cycles
from ._split_winograd import split_gradient_cycles, split_tile_cycles, split_tile_products
from ._winograd import best_tile, gradient_cost, tile_cost, tile_products

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
    def is_planar(self) -> bool:
        """Whether outputs are so few that columns fill vectors better, and sums so long that transposing pays."""
        few = 0 < 8 * self.outputs <= 3 * self.lanes
        return self.groups == 1 and few and self.channels >= 8 and self.height * self.width >= 4

    @property
    def parts(self) -> int:
        """How many bfloat16 parts of each number count."""
        return 1 if self.of_bfloat16 else _PARTS[self.precision]

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
        return best_tile(sizes, self.images, self.size, taps, self.channels, self.outputs, self.packed)

    @property
    def suits_pairs(self) -> bool:
        """Whether outputs fill vectors, and pairs of bfloat16 cost less than numbers, summed directly or by tiles."""
        cost = pairs_cost(self.pass_, self.convolution, self.packed)
        return self.outputs >= self.lanes and cost < min(_every_product(self), _tile_cost(self))

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
    def suits_winograd_gradient(self) -> bool:
        """Whether a weight gradient's sums, of enough channels, take at most 7 in 10 of the products by Winograd."""
        large = self.channels >= 8 and self.outputs >= self.lanes
        if not (large and self.suits_tiles):
            return False
        return 0 < 10 * _winograd_gradient_products(self) < 7 * _every_product(self)


# ---------------------------------------------------------------------------------------------------------------------
# The algorithms


def _every_product(layer: Layer) -> int:
    """Count one multiplication for each tap of each channel of each output, whether or not it lies in the padding."""
    _, channels, rows, cols = layer.convolution.weight_shape
    return math.prod(layer.convolution.output_shape) * channels * rows * cols


def _winograd_gradient_products(layer: Layer) -> int:
    """Count what tiles of 2x2 outputs take: their transforms are those of the forward pass, transposed."""
    images, outputs, rows, cols = layer.convolution.output_shape
    return tile_products(2, images, (rows, cols), (layer.height, layer.width), layer.channels, outputs)


def _winograd_gradient_cost(layer: Layer) -> float:
    images, _, rows, cols = layer.convolution.output_shape
    taps = layer.height, layer.width
    return layer.groups * gradient_cost(images, (rows, cols), taps, layer.channels, layer.outputs // layer.groups)


def _tile_products(layer: Layer) -> int:
    taps = layer.height, layer.width
    return layer.groups * tile_products(layer.tile, layer.images, layer.size, taps, layer.channels, layer.outputs)


def _split_tile_products(layer: Layer) -> int:
    taps, products = (layer.height, layer.width), layer.parts * (layer.parts + 1) // 2
    return products * layer.groups * split_tile_products(layer.images, layer.size, taps, layer.channels, layer.outputs)


def _split_tile_cycles(layer: Layer) -> float:
    """Estimate Winograd's tiles on AMX, where filters suit them: of the weights' gradient, those of 3x3 alone."""
    taps = layer.height, layer.width
    if not layer.suits_tiles or (layer.pass_ == "backward_weight" and taps != (3, 3)):
        return math.inf
    if layer.pass_ == "backward_weight":
        of_group = split_gradient_cycles(layer.images, layer.size, layer.channels, layer.outputs, layer.parts)
    else:
        shape = layer.images, layer.size, taps, layer.channels, layer.outputs
        of_group = split_tile_cycles(*shape, layer.parts, layer.packed)
    return layer.groups * of_group


def _tile_cost(layer: Layer) -> float:
    """Estimate Winograd's tiles, where they cost less than a sum of all products."""
    if not layer.tile:
        return math.inf
    taps = layer.height, layer.width
    shape = layer.images, layer.size, taps, layer.channels, layer.outputs
    return layer.groups * tile_cost(layer.tile, *shape, layer.packed)


class Algorithm(NamedTuple):
    """A way to compute a pass."""

    name: str  # that `conv2d_plan` gives
    kernel: str
    extra: int = 0  # what the kernel is told beside: m of Winograd, parts of AMX
    products: Callable[[Layer], int] = _every_product
    maps: bool = False  # whether the kernel can make of its input what a batch norm and a rectifier would


def _winograd(layer: Layer) -> Algorithm:
    """Return how Winograd's tiles of m x m outputs sum what filters of this size take."""
    name = f"winograd F({layer.tile}x{layer.tile}, {layer.height}x{layer.width})"
    return Algorithm(name, "winograd_conv2d", layer.tile, _tile_products)


def _split(kernel: str, parts: int) -> Algorithm:
    """Return how AMX sums the products of bfloat16 parts: the first with all others, the second with all but one ..."""
    return Algorithm("split", kernel, parts, lambda layer: parts * (parts + 1) // 2 * _every_product(layer))


def _split_tiles(layer: Layer) -> Algorithm:
    """Return how AMX sums what Winograd's tiles of 2x2 outputs take of filters of this size, from bfloat16 parts."""
    if layer.pass_ == "backward_weight":
        return SPLIT_WINOGRAD_GRADIENT[layer.parts]
    name = f"split winograd F(2x2, {layer.height}x{layer.width})"
    return Algorithm(name, "amx_winograd_conv2d", layer.parts, _split_tile_products)


def _split_gradient(parts: int) -> Algorithm:
    """Return the same of the weights' gradient."""
    name, kernel = "split winograd F(3x3, 2x2)", "amx_winograd_conv2d_backward_weight"
    products = parts * (parts + 1) // 2
    return Algorithm(name, kernel, parts, lambda layer: products * _winograd_gradient_products(layer))


DIRECT = Algorithm("direct", "conv2d", maps=True)
BFLOAT16 = Algorithm("bfloat16", "bfloat16_conv2d", maps=True)
PLANAR = Algorithm("planar", "planar_conv2d")
SCATTERED = Algorithm("scattered", "scattered_conv2d")
CROWDED = Algorithm("crowded", "crowded_conv2d")
CROWDED_GRADIENT = Algorithm("crowded", "crowded_conv2d_backward_weight")
NARROW = Algorithm("narrow", "narrow_conv2d", maps=True)
DEPTHWISE = Algorithm("depthwise", "depthwise_conv2d", maps=True)
DEPTHWISE_GRADIENT = Algorithm("depthwise", "depthwise_conv2d_backward_weight", maps=True)
DIRECT_GRADIENT = Algorithm("direct", "conv2d_backward_weight", maps=True)
NARROW_GRADIENT = Algorithm("narrow", "narrow_conv2d_backward_weight", maps=True)
WINOGRAD_GRADIENT = Algorithm(
    "winograd F(3x3, 2x2)", "winograd_conv2d_backward_weight", products=_winograd_gradient_products
)

_PARTS = {"highest": 3, "high": 2, "medium": 1}
SPLIT = {parts: _split("amx_conv2d", parts) for parts in _PARTS.values()}
SPLIT_GRADIENT = {parts: _split("amx_conv2d_backward_weight", parts) for parts in _PARTS.values()}
SPLIT_WINOGRAD_GRADIENT = {parts: _split_gradient(parts) for parts in _PARTS.values()}

# Images of fewer pixels are read in other ways; and so many bytes stay in the second-level cache.
_FEW_PIXELS = 64
_CACHED_LINES = 512 * 1024

# So many sums of a vector's lanes stay in the second-level cache, with a few copies for threads to add to.
_CACHED_SUMS = 8192


def choose(layer: Layer) -> Algorithm:
    """Choose the algorithm of one pass of a convolution."""
    return _transformed(layer) or choose_by_products(layer)


def choose_by_products(layer: Layer) -> Algorithm:
    """Choose among those that sum the products themselves: their Inf and NaN are those of the definition."""
    return _weight_gradient(layer) if layer.pass_ == "backward_weight" else _correlation(layer)


def choose_linear(layer: Layer) -> Algorithm:
    """Choose the algorithm of one pass of a linear layer: images of one pixel have nothing that is worth staging."""
    if _splits(layer):
        return (SPLIT_GRADIENT if layer.pass_ == "backward_weight" else SPLIT)[layer.parts]
    if _pairs_up(layer):
        return BFLOAT16
    return DIRECT_GRADIENT if layer.pass_ == "backward_weight" else DIRECT


def _transformed(layer: Layer) -> Algorithm | None:
    """Choose among those that compute fewer or cheaper products of something else, if one of them pays."""
    if _splits_tiles(layer):
        return _split_tiles(layer)
    if _splits(layer):
        return (SPLIT_GRADIENT if layer.pass_ == "backward_weight" else SPLIT)[layer.parts]
    if layer.pass_ == "backward_weight":
        return WINOGRAD_GRADIENT if layer.suits_winograd_gradient else None
    if _pairs_up(layer):
        return BFLOAT16
    return _winograd(layer) if layer.tile else None


def _splits(layer: Layer) -> bool:
    """Whether AMX tiles take fewer cycles than the tile of float32, for all products or for Winograd's."""
    if layer.isa != "amx" or layer.dtype != np.float32:
        return False
    return _split_cycles(layer) < _float_cycles(layer)


def _splits_tiles(layer: Layer) -> bool:
    """Whether AMX takes fewer cycles for Winograd's tiles than for all products, and than float32 takes.

    Not of bfloat16 operands: they have one part, what their transforms give has more.
    """
    if layer.isa != "amx" or layer.dtype != np.float32 or layer.of_bfloat16:
        return False
    return _split_tile_cycles(layer) < min(_split_cycles(layer), _float_cycles(layer))


def _split_cycles(layer: Layer) -> float:
    return split_cycles(layer.pass_, layer.convolution, layer.parts, layer.packed)


def _float_cycles(layer: Layer) -> float:
    """Estimate the better of what sums all products in float32, and of Winograd's tiles."""
    if layer.pass_ != "backward_weight":
        return min(direct_cycles(layer.convolution), float32_cycles(_tile_cost(layer)))
    if layer.suits_winograd_gradient:
        return float32_cycles(_winograd_gradient_cost(layer))
    return direct_cycles(layer.convolution)


def _pairs_up(layer: Layer) -> bool:
    """Whether one bfloat16 of each number is enough, and an instruction that multiplies pairs of them pays."""
    if layer.isa != "avx512_bf16" or layer.dtype != np.float32 or layer.pass_ == "backward_weight":
        return False
    return layer.parts == 1 and layer.suits_pairs


def _correlation(layer: Layer) -> Algorithm:
    """Forward, and backward-input: a correlation of stride 1."""
    if layer.is_depthwise:
        return DEPTHWISE
    if layer.is_planar:
        return SCATTERED if layer.pass_ == "backward_input" and layer.suits_scattering else PLANAR
    if layer.pass_ == "forward" and layer.is_crowded:
        return CROWDED
    return NARROW if layer.is_narrow else DIRECT


def _weight_gradient(layer: Layer) -> Algorithm:
    if layer.is_depthwise:
        return DEPTHWISE_GRADIENT
    if layer.is_crowded:
        return CROWDED_GRADIENT
    if (layer.is_narrow and (layer.groups > 1 or layer.length <= _CACHED_SUMS)) or layer.is_thin:
        return NARROW_GRADIENT
    return DIRECT_GRADIENT


# ---------------------------------------------------------------------------------------------------------------------
# Plans


Computing = tuple[object, object]  # what a kernel hands out of a pass: how to compute it, and its scratch


class Plan(NamedTuple):
    """How a pass is computed."""

    layer: Layer
    algorithm: Algorithm
    geometry: tuple[int, ...]
    run: Callable[..., bool]  # the pass, of the kernel `passes`
    computing: Computing
    by_products: Computing  # done where the algorithm's results are not finite
    maps_input: bool  # whether the pass takes an input that is still to be mapped

    def carry_out(self, op: str, *arrays: Array, mapped: Mapped | None = None) -> None:
        """Compute the pass; `arrays` are what it reads, and behind that its result.

        With `mapped`, of which the first of them is `x`, the pass is of what that stands for.
        """
        arguments = self.geometry, self.algorithm.extra, get_num_threads()
        prologue = () if mapped is None else (mapped.map, mapped.kind)
        done = self.run(self.computing[0], self.by_products[0], *arrays, *arguments, *prologue)
        need_memory(op, done)

    def scratch_bytes(self, threads: int) -> int:
        """Return the most scratch that the kernel holds at a time on so many threads, as the kernel itself has it."""
        scratch: Callable[..., int] = kernel("passes", self.layer.dtype).scratch
        x, weight, *_, out = self.layer.convolution
        adjoint = self.layer.pass_ == "backward_input"
        return scratch(
            self.computing[1], _nhwc(x), weight, _nhwc(out), self.geometry, adjoint, self.algorithm.extra, threads
        )


def _nhwc(shape: Shape) -> Shape:
    images, channels, rows, cols = shape
    return images, rows, cols, channels


def plan(pass_: Pass, dtype: Dtype, convolution: Conv2d, packed: bool = False) -> Plan:
    """Return how a pass of a convolution is computed under the precision in force."""
    return _plan(choose, pass_, dtype, get_float32_precision(), operands_are_bfloat16(), packed, convolution)


def maps_input(dtype: Dtype, convolution: Conv2d) -> bool:
    """Tell whether both passes of a convolution that read its input map it themselves."""
    return plan("forward", dtype, convolution).maps_input and plan("backward_weight", dtype, convolution).maps_input


def linear_plan(pass_: Pass, dtype: Dtype, vectors: int, weight_shape: Shape, packed: bool = False) -> Plan:
    """Return how a pass of a linear layer is computed under the precision in force."""
    convolution = _pointwise(vectors, *weight_shape)
    return _plan(choose_linear, pass_, dtype, get_float32_precision(), operands_are_bfloat16(), packed, convolution)


@lru_cache(maxsize=4096)
def _pointwise(vectors: int, outputs: int, inputs: int) -> Conv2d:
    """Return a linear layer as a 1x1 convolution over images of one pixel."""
    images = (vectors, inputs, 1, 1)
    return Conv2d(images, (outputs, inputs, 1, 1), (1, 1), (0, 0), (1, 1), 1, (vectors, outputs, 1, 1))


@lru_cache(maxsize=4096)
def _plan(
    rules: Callable[[Layer], Algorithm], pass_: Pass, dtype: Dtype, precision: str, of_bfloat16: bool,
    packed: bool, convolution: Conv2d,
) -> Plan:  # fmt: skip
    precision = precision if dtype == np.float32 else "highest"
    layer = Layer(pass_, convolution, dtype, precision, isa, tile_shape(dtype)[1], of_bfloat16, packed)
    algorithm, by_products = rules(layer), choose_by_products(layer)
    return Plan(
        layer,
        algorithm,
        geometry_of(convolution),
        getattr(kernel("passes", dtype), pass_),
        _computing(algorithm, layer),
        _computing(by_products, layer),
        algorithm.maps and by_products.maps and layer.suits_mapping,
    )


def _computing(algorithm: Algorithm, layer: Layer) -> Computing:
    computing: Computing = getattr(kernel(algorithm.kernel, layer.dtype), layer.pass_.upper())
    return computing


def geometry_of(convolution: Conv2d) -> tuple[int, ...]:
    """Return what kernels are told of a convolution beside the shapes."""
    return (*convolution.stride, *convolution.padding, *convolution.dilation, convolution.groups)
