"""The compiled kernels: typed Cython, one module an op, built for each instruction set and element type.

::

    ops.conv2d(x, w)                       checks, allocates the result
        |
    _dispatch.kernel("conv2d", dtype)      the variant chosen when convkit was imported
        |
    _kernels/x86_v4_f32/conv2d.so          compiled from conv2d.pyx with -march=x86-64-v4
    _kernels/x86_v3_f64/conv2d.so          ... and with -march=x86-64-v3 -DCONVKIT_DOUBLE, and so on
        |
    passes.pyx     what a pass of any convolution is told of its arrays (_pass.pxd), and its repetition by products
        |
    conv2d.pyx     a convolution as correlations
    _correlation.pxd, _correlation_units.pxd       packs weights, cuts the work into units, shares them out to threads
    conv2d_backward_weight.pyx             the gradient of the weights: its sums run over pixels
    _weight_sum.pxd, _weight_stage.pxd     the pieces in which these are taken, and their strips of input
    winograd_conv2d_backward_weight.pyx    the same of 3x3 and 5x5 weights, with half of the products
    winograd_conv2d.pyx                    convolution with 3x3 and 5x5 filters, with less than half of the products
    narrow_conv2d.pyx                      convolution where a group's outputs do not fill vectors: groups share them
    narrow_conv2d_backward_weight.pyx      the gradient of its weights, and of those of layers with very few channels
    planar_conv2d.pyx                      the same for very few outputs: lanes are columns
    crowded_conv2d.pyx                     the same for few channels and few outputs: several pixels share a vector
    crowded_conv2d_backward_weight.pyx     the gradient of its weights
    scattered_conv2d.pyx                   the gradient of a small input of few channels, window by window
    depthwise_conv2d.pyx                   the same for groups of one channel: the image is read where it lies
    depthwise_conv2d_backward_weight.pyx   the gradient of its weights; _depthwise.pxd  their vectors
    _convolution.pxd, _image.pxd           a convolution's sizes, and how its images lie
    _lanewise.pxd, _lanewise_gradient.pxd  the tiles of these, which work lane by lane
    _lanewise_window.pxd                   the gradient of 5x5 taps of grey, or 3x3 of colour, in registers
    _lanes.pxd, _lines.pxd                 which groups share a vector, and lines of their input, staged in cache
    _crowded.pxd                           which pixels do
    _prologue.pxd  what becomes of input on its way from memory: a map of each channel, a rectifier
    _staged_lines.pxd                      lines of it, staged as they lie
    _epilogue.pxd  what becomes of outputs on their way to memory: a sum, a rectifier
    _call.pxd      a kernel's work, written down; program.pyx  lists of it: compiled networks
    _axis.pxd      which inputs meet which taps in which outputs, for a pass and a phase of the stride
    _weights.pxd   weights, packed in the order in which the tile reads them
    _columns.pxd   columns side by side in a vector, where channels are few
    _winograd.pxd, _winograd_gradient.pxd  the transforms of Winograd's tiles
    _winograd_tiles.pxd, _winograd_parts.pxd       lines of tiles and what they read, and filters of more than 3 taps
    _winograd_correlation.pxd, _winograd_rows.pxd  their weights and outputs, and tiles of few channels, row by row
    _strip.pxd     a strip of input, staged in cache with its padding
    _panels.pxd    a strip dealt out by channels, for the gradient of the weights
    _tile.pxd      the register tile: where the time is spent
    _ahead.pxd     what is read next, fetched meanwhile
    bfloat16_conv2d.pyx, _pairs.pxd        the same by pairs of bfloat16: of the variant avx512_bf16 alone
    amx_conv2d.pyx, amx_conv2d_backward_weight.pyx    float32 from bfloat16 parts on AMX tiles: of that variant alone
    _amx.pxd, _split.pxd, _phases.pxd      the product of such tiles, the parts, and where a stride leaves neighbours
    _amx_strip.pxd, _amx_slots.pxd, _amx_weights.pxd, _amx_packed.pxd      strips of input, and weights, for those tiles
    _amx_put.pxd                           their sums on the way to memory
    _amx_stage.pxd, _amx_gradient.pxd      strips of both operands of the weights' gradient, and what its tiles sum
    amx_shallow_conv2d.pyx, _amx_columns.pxd       the same of very few channels, in ranges of whole columns
    amx_winograd_conv2d.pyx, amx_winograd_conv2d_backward_weight.pyx       Winograd's tiles, multiplied in this way
    _amx_winograd.pxd, _amx_winograd_gradient.pxd  their operands, transformed and split
    affine.pyx                             batch norm, sum and activation of images in one pass
    affine_max_pool2d.pyx                  batch norm, activation and max-pooling, straight from what was convolved
    _rectifiers.pxd, _affine.pxd           activations and maps of channels, on the way of these
    _sums.pxd, _incoming.pxd, _input_gradient.pxd   batch norm's gradients, also through activation and pooling
    _pending_rows.pxd                      rows of them, made as a convolution reads them
    _rows.pxd      rows of channels in groups that fill vectors, for batch norm and sums over channels
    _windows.pxd   which pixels each window of a pooling holds, and which windows hold each pixel
    _crowd.pxd     pixels of few channels on one vector: where its lanes find what they pool
    _parts.pxd     the arrays of many parameters as one range of elements, for the optimizers
    _exp.pxd, _log1p.pxd, _normal.pxd      functions of vectors, for the activations
    simd.h         vectors of the instruction set: load, store, splat, and plain arithmetic

A kernel never allocates a result, never raises and never holds the GIL while it works. It trusts its arguments:
`ops` has checked them. A function that needs scratch returns whether it could be had. Arguments' names carry their axes
(`x_nhwc`, `w_kcrs`). `threads` is explicit everywhere, and no result depends on it. Kernels of convolutions have no
functions for Python: they name the passes that they compute (`FORWARD`), passes.pyx does those for arrays, and
program.pyx in compiled networks.

The list of kernels and instruction sets is in CMakeLists.txt; `_cpu` carries it into Python. avx512_bf16 and amx have
kernels of their own beside those of x86_v4, which serve them too.
"""
