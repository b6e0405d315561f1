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

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .._dispatch import isa, kernel, tile_shape
from .._precision import get_float32_precision, operands_are_bfloat16
from .._shapes import Array, Conv2d, Shape
from .._threads import get_num_threads
from ._affine import Mapped, UnwrittenGradient
from ._arrays import need_memory
from ._layer import (
    PARTS,
    Dtype,
    Layer,
    Pass,
    every_product,
    float_cycles,
    gradient_products,
    shallow_cycles,
    split_cycles,
    split_winograd_cycles,
    split_winograd_products,
    winograd_products,
)

# ---------------------------------------------------------------------------------------------------------------------
# The algorithms


class Algorithm(NamedTuple):
    """A way to compute a pass."""

    name: str  # that `conv2d_plan` gives
    kernel: str
    extra: int = 0  # what the kernel is told beside: m of Winograd, parts of AMX
    products: Callable[[Layer], int] = every_product
    rows: int = 1  # of outputs that are computed together, from the first on
    maps: bool = False  # whether the kernel can make of its input what a batch norm and a rectifier would
    makes: bool = False  # and rows of the output's gradient of what a batch norm has left to be computed


def _winograd(layer: Layer) -> Algorithm:
    """Return how Winograd's tiles of m x m outputs sum what filters of this size take."""
    name = f"winograd F({layer.tile}x{layer.tile}, {layer.height}x{layer.width})"
    return Algorithm(name, "winograd_conv2d", layer.tile, winograd_products, layer.tile)


def _split(name: str, kernel: str, parts: int) -> Algorithm:
    """Return how AMX sums the products of bfloat16 parts: the first with all others, the second with all but one ..."""
    return Algorithm(name, kernel, parts, lambda layer: parts * (parts + 1) // 2 * every_product(layer))


def _split_tiles(layer: Layer) -> Algorithm:
    """Return how AMX sums what Winograd's tiles of 2x2 outputs take of filters of this size, from bfloat16 parts."""
    if layer.pass_ == "backward_weight":
        return SPLIT_WINOGRAD_GRADIENT[layer.parts]
    name = f"split winograd F(2x2, {layer.height}x{layer.width})"
    return Algorithm(name, "amx_winograd_conv2d", layer.parts, split_winograd_products, 2)


def _split_gradient(parts: int) -> Algorithm:
    """Return the same of the weights' gradient."""
    name, kernel = "split winograd F(3x3, 2x2)", "amx_winograd_conv2d_backward_weight"
    products = parts * (parts + 1) // 2
    return Algorithm(name, kernel, parts, lambda layer: products * gradient_products(layer))


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
NARROW_GRADIENT = Algorithm("narrow", "narrow_conv2d_backward_weight", maps=True, makes=True)
WINOGRAD_GRADIENT = Algorithm("winograd F(3x3, 2x2)", "winograd_conv2d_backward_weight", products=gradient_products)

SPLIT = {parts: _split("split", "amx_conv2d", parts) for parts in PARTS.values()}
SPLIT_SHALLOW = {parts: _split("split shallow", "amx_shallow_conv2d", parts) for parts in PARTS.values()}
SPLIT_GRADIENT = {parts: _split("split", "amx_conv2d_backward_weight", parts) for parts in PARTS.values()}
SPLIT_WINOGRAD_GRADIENT = {parts: _split_gradient(parts) for parts in PARTS.values()}

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
    if _splits_columns(layer):
        return SPLIT_SHALLOW[layer.parts]
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
    return split_cycles(layer) < float_cycles(layer)


def _splits_columns(layer: Layer) -> bool:
    """Whether AMX takes fewer cycles for sums over whole columns than any other way takes."""
    if layer.isa != "amx" or layer.dtype != np.float32:
        return False
    return shallow_cycles(layer) < min(split_cycles(layer), split_winograd_cycles(layer), float_cycles(layer))


def _splits_tiles(layer: Layer) -> bool:
    """Whether AMX takes fewer cycles for Winograd's tiles than for all products, and than float32 takes.

    Not of bfloat16 operands: they have one part, what their transforms give has more.
    """
    if layer.isa != "amx" or layer.dtype != np.float32 or layer.of_bfloat16:
        return False
    return split_winograd_cycles(layer) < min(split_cycles(layer), float_cycles(layer))


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
    makes_rows: bool  # and a gradient of the output that is still to be computed

    def carry_out(
        self, op: str, *arrays: Array | None, mapped: Mapped | None = None, grad: UnwrittenGradient | None = None
    ) -> None:
        """Compute the pass; `arrays` are what it reads, and behind that its result.

        With `mapped`, of which the first of them is `x`, the pass is of what that stands for. With `grad`, of which
        the second one is None, that of the weights is of what is not in memory, if the pass `makes_rows`.
        """
        arguments = self.geometry, self.algorithm.extra, get_num_threads()
        late: dict[str, object] = {}
        if mapped is not None:
            late = {"map_3c": mapped.map, "kind": mapped.kind}
        if grad is not None:
            late.update(grad_out_rows=grad.rows, grad_out_sizes=_nhwc(grad.shape))
        need_memory(op, self.run(self.computing[0], self.by_products[0], *arrays, *arguments, **late))

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


def makes_rows(dtype: Dtype, convolution: Conv2d) -> bool:
    """Tell whether the weights' gradient makes itself what it reads of a batch norm's gradient."""
    return plan("backward_weight", dtype, convolution).makes_rows


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
        algorithm.makes and layer.suits_rows,
    )


def _computing(algorithm: Algorithm, layer: Layer) -> Computing:
    computing: Computing = getattr(kernel(algorithm.kernel, layer.dtype), layer.pass_.upper())
    return computing


@lru_cache(maxsize=4096)
def plan_stored(pass_: Pass, convolution: Conv2d) -> Callable[..., bool] | None:
    """Return what computes a pass of bfloat16 images as they lie, or None: only AMX's sum of all products does.

    It takes the op's name, what the pass reads, and its result; it returns whether the results are finite.
    """
    real, bits = np.dtype(np.float32), np.dtype(np.uint16)
    layer = Layer(pass_, convolution, real, "medium", isa, tile_shape(real)[1], of_bfloat16=True)
    algorithm = choose(layer)
    if algorithm not in (SPLIT[1], SPLIT_GRADIENT[1]) or not (pass_ == "backward_weight" or layer.fits_strip):
        return None
    run: Callable[..., bool | None] = getattr(kernel("bfloat16_passes", bits), pass_)
    compute, _ = getattr(kernel(algorithm.kernel, bits), pass_.upper())
    geometry = geometry_of(convolution)

    def carry_out(op: str, *arrays: Array) -> bool:
        finite = run(compute, *arrays, geometry, get_num_threads())
        need_memory(op, finite is not None)
        return bool(finite)

    return carry_out


def geometry_of(convolution: Conv2d) -> tuple[int, ...]:
    """Return what kernels are told of a convolution beside the shapes."""
    return (*convolution.stride, *convolution.padding, *convolution.dilation, convolution.groups)
