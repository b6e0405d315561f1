"""Narrow groups on full vectors: which outputs share one, and what they read.

Where a group is narrower than a vector, several groups share one, and each lane carries one output channel of some
group. These groups, or the one group whose outputs fill a vector or more, are a bundle: their input is staged together.

Of a staged pixel, channel c of all the bundle's groups lies in one vector, and one permutation brings it to the lanes
that read it. A group with more channels than its share of a vector is staged in pieces: a vector holds one piece of
every group. Where a bundle is a single group, a broadcast does, and its channels are staged as they lie.
"""

from libc.stdint cimport int32_t
from libc.string cimport memcpy

from convkit._kernels._simd cimport VLEN, real, vload, vload_lanes, vsplat, vstore, vstore_lanes


cdef enum:
    MOST_LANES = 64                     # at least VLEN


cdef struct Lanes:
    Py_ssize_t groups, lanes, channels  # of one group: its outputs, and the channels that each of them sums over
    Py_ssize_t together                 # groups of a bundle
    Py_ssize_t bundles
    Py_ssize_t vectors                  # of a bundle's outputs
    Py_ssize_t piece, pieces            # channels of a group that a vector of input holds, and such vectors of a pixel
    Py_ssize_t pixel                    # elements of a staged pixel
    int32_t source[MOST_LANES]          # where in such a vector lane k finds its first channel


cdef inline Lanes lay_lanes(Py_ssize_t groups, Py_ssize_t lanes, Py_ssize_t channels) noexcept nogil:
    """Put as many whole groups on a vector as there is room for."""
    cdef Lanes lay
    cdef Py_ssize_t k
    lay.groups, lay.lanes, lay.channels = groups, lanes, channels
    lay.together = max(<Py_ssize_t>1, min(VLEN // lanes, groups))
    lay.bundles = (groups + lay.together - 1) // lay.together
    lay.vectors = (lanes + VLEN - 1) // VLEN
    lay.piece = min(channels, VLEN // lay.together)
    lay.pieces = (channels + lay.piece - 1) // lay.piece
    lay.pixel = lay.pieces*VLEN if lay.together > 1 else channels
    for k in range(VLEN):
        lay.source[k] = <int32_t>(k // lanes*lay.piece) if k < lay.together*lanes else 0
    return lay


cdef inline Py_ssize_t groups_of(const Lanes* lay, Py_ssize_t bundle) noexcept nogil:
    return min(lay.together, lay.groups - bundle*lay.together)


cdef inline int lanes_of(const Lanes* lay, Py_ssize_t bundle, Py_ssize_t vector) noexcept nogil:
    """Lanes of a vector that carry an output."""
    return <int>min(<Py_ssize_t>VLEN, groups_of(lay, bundle)*lay.lanes - vector*VLEN)


cdef inline void copy_channels(const real* source, Py_ssize_t width, real* target) noexcept nogil:
    while width >= VLEN:
        vstore(target, vload(source))
        source, target, width = source + VLEN, target + VLEN, width - VLEN
    if width > 0:
        vstore_lanes(target, vload_lanes(source, <int>width), <int>width)


cdef inline void copy_lanes(const real* source, Py_ssize_t width, real* target) noexcept nogil:
    """Copy so many neighbouring channels, with zeros behind in the last vector."""
    while width >= VLEN:
        vstore(target, vload(source))
        source, target, width = source + VLEN, target + VLEN, width - VLEN
    if width > 0:
        vstore(target, vload_lanes(source, <int>width))


cdef inline void copy_pieces(const Lanes* lay, const real* source, Py_ssize_t groups, real* target) noexcept nogil:
    """Copy a bundle's input, sorted by piece."""
    cdef Py_ssize_t p, g, c
    for p in range(lay.pieces):
        vstore(target, vsplat(0))
        for g in range(groups):
            for c in range(min(lay.piece, lay.channels - p*lay.piece)):
                target[g*lay.piece + c] = source[g*lay.channels + p*lay.piece + c]
        target = target + VLEN


cdef inline void copy_vectors(
    Py_ssize_t bundles, const real* source, Py_ssize_t step, Py_ssize_t pixels, real* strip, Py_ssize_t apart,
) noexcept nogil:
    """What each bundle has of a pixel is one whole vector."""
    cdef Py_ssize_t _, b
    for _ in range(pixels):
        for b in range(bundles):
            vstore(strip + b*apart, vload(source + b*VLEN))
        source, strip = source + step, strip + VLEN


cdef inline void copy_colours(const real* source, Py_ssize_t step, Py_ssize_t pixels, real* strip) noexcept nogil:
    """Pixels of three channels: numbers one by one take less than a mask for each pixel."""
    cdef Py_ssize_t _
    for _ in range(pixels):
        strip[0], strip[1], strip[2] = source[0], source[1], source[2]
        source, strip = source + step, strip + 3


cdef inline void stage_inputs(
    const Lanes* lay, Py_ssize_t bundle, Py_ssize_t bundles, const real* source, Py_ssize_t step, Py_ssize_t pixels,
    real* strip, Py_ssize_t apart,
) noexcept nogil:
    """Stage pixels `step` apart for so many bundles, whose strips are `apart`: memory is read as it lies."""
    cdef Py_ssize_t _, b, width = lay.together*lay.channels
    cdef Py_ssize_t last = groups_of(lay, bundle + bundles - 1)
    if lay.together == 1 and step == lay.channels:
        memcpy(strip, source, pixels*step*sizeof(real))
        return
    if width == VLEN and lay.pieces == 1 and last == lay.together:
        copy_vectors(bundles, source, step, pixels, strip, apart)
        return
    if lay.together == 1 and bundles == 1 and width == 3:
        copy_colours(source, step, pixels, strip)
        return
    for _ in range(pixels):
        for b in range(bundles):
            if lay.together == 1:
                copy_channels(source + b*width, width, strip + b*apart)
            elif lay.pieces > 1:
                copy_pieces(lay, source + b*width, lay.together if b < bundles - 1 else last, strip + b*apart)
            else:
                copy_lanes(source + b*width, width if b < bundles - 1 else last*lay.channels, strip + b*apart)
        source, strip = source + step, strip + lay.pixel


cdef inline void stage_outputs(
    const Lanes* lay, Py_ssize_t bundle, Py_ssize_t bundles, const real* source, Py_ssize_t step, Py_ssize_t pixels,
    real* strip, Py_ssize_t apart,
) noexcept nogil:
    """The same for outputs: their gradient, one vector of lanes after the other."""
    cdef Py_ssize_t _, b, width = lay.together*lay.lanes
    cdef Py_ssize_t last = groups_of(lay, bundle + bundles - 1)*lay.lanes
    if width == VLEN and last == VLEN:
        copy_vectors(bundles, source, step, pixels, strip, apart)
        return
    for _ in range(pixels):
        for b in range(bundles):
            copy_lanes(source + b*width, width if b < bundles - 1 else last, strip + b*apart)
        source, strip = source + step, strip + lay.vectors*VLEN
