"""Run the ops on arrays at the edge of memory, where one element too far is a segmentation fault.

`test_ops_memory.py` runs this in a process of its own. Inputs lie in channels-last order, which kernels read in
place, and every result that the ops allocate is fenced too. The line printed last is the call that crashed.
"""

import ctypes
import importlib.util
import itertools
import mmap
import sys
from contextlib import contextmanager

import numpy as np
from cases import ACTIVATIONS, LAYOUTS
from forced import pairs_everywhere, split_columns_everywhere, split_everywhere, split_tiles_everywhere

from convkit import _memory, _shapes, config, nn, ops, optim
from convkit._dispatch import tile_shape
from convkit._threads import num_threads
from convkit.autograd import Tensor
from convkit.inference import compile
from convkit.nn.utils import clip_grad_norm_, clip_grad_value_
from convkit.ops import _affine
from convkit.ops._arrays import channels_first, nchw, nhwc
from convkit.ops._bfloat16 import narrowed, widened
from convkit.ops.batch_norm import input_weight_and_bias_gradients
from convkit.ops.conv2d import convolved, weight_gradient
from convkit.ops.nll_loss import Labels, cross_entropy_backward, nll_loss

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)


class Fences:
    """Allocates arrays between two pages that may not be touched, flush with one of them."""

    def __init__(self, at_end):
        self.at_end = at_end
        self.buffers = []

    def block(self, nbytes):
        """What an array can be made over, in place of convkit's own blocks."""
        room = max(1, -(-nbytes // PAGE)) * PAGE
        buffer = mmap.mmap(-1, room + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        for fence in (start, start + PAGE + room):
            if libc.mprotect(ctypes.c_void_p(fence), PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = PAGE + (room - nbytes if self.at_end else 0)
        self.buffers.append((start, start + 2 * PAGE + room))
        return memoryview(buffer)[offset : offset + nbytes]

    def array(self, shape, dtype, strides=None):
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.ndarray(shape, dtype, self.block(nbytes), 0, strides)

    def copy(self, array):
        """A fenced copy that lies in memory as the original does, which must be dense."""
        copy = self.array(array.shape, array.dtype, array.strides)
        copy[...] = array
        return copy

    def holds(self, array):
        address = array.__array_interface__["data"][0]
        return any(start < address < end for start, end in self.buffers)


def convolutions(dtype):
    """Shapes that leave every kind of rest: rows, lanes and taps one short of the tile and one beyond."""
    rows, lanes = tile_shape(np.dtype(dtype))
    for c, k in [(1, 1), (3, lanes), (lanes, 3), (lanes - 1, lanes + 1), (lanes + 1, 2 * lanes - 1)]:
        for width in (1, rows - 1, rows + 1, 2 * rows + 3):
            yield (1, c, 3, width), (k, c, 1, 1), {}
            yield (2, c, 3, width), (k, c, 3, 3), {"padding": 1}
            yield (1, c, 5, width + 4), (k, c, 2, 5), {"stride": 2}
            yield (1, c, 5, width + 4), (k, c, 2, 3), {"padding": (2, 3), "dilation": 2}
            yield (1, c, 4, width + 3), (c, 1, 3, 3), {"groups": c}
            yield (1, 2 * c, 4, width + 3), (2 * k, c, 3, 3), {"stride": (1, 3), "groups": 2}
    yield (2, 60, 31, 33), (lanes + 1, 60, 3, 3), {"padding": 1}
    for padding in (0, 1, 2):
        yield (3, 41, 13, 12), (2 * lanes + 9, 41, 3, 3), {"padding": padding}
        yield (3, 50, 13, 12), (2 * (lanes + 9), 25, 3, 3), {"padding": padding, "groups": 2}
    yield (1, 1000, 3, 30), (lanes - 1, 1000, 1, 1), {}
    yield (1, 64, 31, 33), (64, 1, 3, 3), {"padding": 1, "groups": 64}
    for each in (2, 3, lanes - 1):
        yield (2, 7 * each, 5, 9), (7 * each, each, 3, 3), {"padding": 1, "stride": 2, "groups": 7}
        yield (1, 7 * each, 5, 9), (7 * (each + 1), each, 3, 2), {"groups": 7}
        yield (1, 7, 5, 9), (7 * each, 1, 3, 2), {"padding": 1, "groups": 7}


def mapped_convolution_calls(dtype, make):
    """The same of what a batch norm and a rectifier have left to be computed."""
    lanes = tile_shape(np.dtype(dtype))[1]
    wide = 2 * lanes + 3
    for shape, weight, o in [
        ((2, wide, 7, 9), (lanes + 1, wide, 1, 1), {}),
        ((2, 20 * lanes, 7, 9), (3, 20 * lanes, 1, 1), {}),
        ((2, wide, 12, 13), (wide, wide, 3, 3), {"padding": 1, "stride": 2}),
        ((2, lanes, 7, 9), (lanes, lanes, 2, 3), {"padding": 1}),
        ((2, 35, 14, 13), (40, 35, 3, 3), {"padding": 1}),
        ((2, 64, 13, 14), (40, 64, 5, 5), {"padding": 2}),
        ((2, wide, 9, 8), (wide, 1, 3, 3), {"padding": 1, "groups": wide}),
        ((2, lanes, 13, 14), (lanes, 1, 3, 3), {"stride": 2, "dilation": 2, "padding": 2, "groups": lanes}),
    ]:
        o = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **o}
        geometry = _shapes.conv2d("conv2d", shape, weight, **o)
        x, g = (LAYOUTS["channels-last"](make(*s)) for s in (shape, geometry.output_shape))
        for activation in ("", "relu6"):
            yield (
                lambda x, a, w, o=geometry, f=activation: convolved(o, _affine.Mapped(x, a, f), w, None),
                (x, make(3, shape[1]), make(*weight)),
            )
            yield (
                lambda x, a, g, o=geometry, f=activation: weight_gradient(o, _affine.Mapped(x, a, f), g),
                (x, make(3, shape[1]), g),
            )


def unwritten_convolution_calls(dtype, make):
    """Gradients of weights, of a batch norm's gradient that is not in memory."""
    lanes = tile_shape(np.dtype(dtype))[1]
    for channels, o in itertools.product((1, 3), [{}, {"padding": 2}, {"stride": 2, "padding": 1}]):
        o = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **o}
        shape, weight = (2, channels, 11, 12), (2 * lanes, channels, 5, 3)
        geometry = _shapes.conv2d("conv2d", shape, weight, **o)
        x, y = (LAYOUTS["channels-last"](make(*s)) for s in (shape, geometry.output_shape))
        map, *statistics = make(3, len(y[0])), *(abs(make(len(y[0]))) for _ in range(3))
        pool = _shapes.pool2d("max_pool2d", y.shape, 2, 2, 0, 1, False)
        g, pooled = _affine.affine_max_pool2d(y, map, "relu", pool)
        yield (
            lambda x, g, *of, o=geometry, p=pooled: weight_gradient(
                o, x, _affine.batch_norm_backward_pooled(g, p._replace(**with_arrays(of)), *of[2:], 1e-5, True)[0]
            ),
            (x, g, *pooled[1:3], y, *statistics),
        )
        yield (
            lambda x, g, a, y, *of, o=geometry: weight_gradient(
                o, x, _affine.batch_norm_backward_activated(g, a, "relu6", 0.0, y, *of, 1e-5, True)[0]
            ),
            (x, LAYOUTS["channels-last"](make(*y.shape)), map, y, *statistics),
        )


def with_arrays(arrays):
    """The arrays of `Pooled`."""
    return dict(zip(("places", "chosen"), arrays, strict=False))


def maxima_of(x, map, activation, pool):
    out, pooled = _affine.affine_max_pool2d(x, map, activation, pool)
    return out, pooled.places, nchw(pooled.chosen)


def plain_convolution_calls(shapes, make):
    """(function, array arguments) of every pass."""
    for shape, weight, o in shapes:
        for layout in ("C order", "channels-last", "Fortran order"):
            x, w = LAYOUTS["channels-last"](make(*shape)), LAYOUTS[layout](make(*weight))
            g = LAYOUTS["channels-last"](make(*ops.conv2d_output_shape(shape, weight, **o)))
            yield lambda x, w, b, o=o: ops.conv2d(x, w, b, **o), (x, w, make(weight[0]))
            yield lambda w, g, s=shape, o=o: ops.conv2d_backward_input(s, w, g, **o), (w, g)
            yield lambda x, g, s=weight, o=o: ops.conv2d_backward_weight(x, s, g, **o), (x, g)
            yield ops.conv2d_backward_bias, (g,)


def stored_convolution_calls(dtype, rng):
    """The same of bfloat16 images, which AMX reads and writes as they lie."""
    yield from plain_convolution_calls(convolutions(np.float32), lambda *s: rng.standard_normal(s).astype(dtype))


def convolution_calls(dtype, rng):
    """The same of every convolution."""

    def make(*shape):
        return rng.standard_normal(shape).astype(dtype)

    yield from plain_convolution_calls(convolutions(dtype), make)
    yield from mapped_convolution_calls(dtype, make)
    yield from unwritten_convolution_calls(dtype, make)
    lanes = tile_shape(np.dtype(dtype))[1]
    for groups, inner, outer in [(1, lanes + 1, 3), (2, lanes, 1), (lanes + 1, 1, 1), (lanes - 1, 1, 2), (5, 3, 3)]:
        for kernel, o in [((3, 2), {"stride": 2, "output_padding": 1}), ((2, 3), {"padding": 1, "dilation": 2})]:
            x, w = LAYOUTS["channels-last"](make(2, groups * inner, 4, 5)), make(groups * inner, outer, *kernel)
            o = {**o, "groups": groups}
            g = LAYOUTS["channels-last"](ops.conv_transpose2d(x, w, **o))
            yield lambda x, w, b, o=o: ops.conv_transpose2d(x, w, b, **o), (x, w, make(groups * outer))
            yield lambda w, g, s=x.shape, o=o: ops.conv_transpose2d_backward_input(s, w, g, **o), (w, g)
            yield lambda x, g, s=w.shape, o=o: ops.conv_transpose2d_backward_weight(x, s, g, **o), (x, g)


def calls(dtype, rng):
    """(function, array arguments) of every op."""

    def make(*shape):
        return rng.standard_normal(shape).astype(dtype)

    yield from convolution_calls(dtype, rng)
    lanes = tile_shape(np.dtype(dtype))[1]
    for channels, (kernel, stride, padding) in itertools.product(
        (1, 3, lanes, lanes + 1, 4 * lanes - 1), [(2, 2, 0), (3, 2, 1), (3, 1, 1), ((1, 5), 3, (0, 2))]
    ):
        window = kernel, stride, padding
        x = LAYOUTS["channels-last"](make(2, channels, 6, 7))
        g = LAYOUTS["channels-last"](make(*ops.avg_pool2d(x, *window).shape))
        indices = ops.max_pool2d(x, *window)[1]
        yield lambda x, w=window: ops.max_pool2d(x, *w), (x,)
        yield lambda g, i, s=x.shape, w=window: ops.max_pool2d_backward(g, i, s, *w), (g, indices)
        yield lambda x, w=window: ops.avg_pool2d(x, *w), (x,)
        yield lambda g, s=x.shape, w=window: ops.avg_pool2d_backward(g, s, *w), (g,)
        pool = _shapes.pool2d("max_pool2d", x.shape, *window, 1, False)
        statistics = [abs(make(channels)) for _ in range(3)]
        for training, activation in itertools.product((True, False), ("relu", "relu6")):
            pooled = _affine.affine_max_pool2d(x, make(3, channels), activation, pool)[1]
            yield lambda x, a, f=activation, p=pool: maxima_of(x, a, f, p), (x, make(3, channels))
            yield (
                lambda g, *of, p=pooled, t=training: _affine.batch_norm_backward_pooled(
                    g, p._replace(**with_arrays(of)), *of[2:], 1e-5, t
                ),
                (g, *pooled[1:3], x, *statistics),
            )
        positive = abs(x)
        for norm_type in (1, 2, 3):
            g = ops.lp_pool2d(positive, norm_type, kernel, stride)
            yield lambda x, p=norm_type, w=window: ops.lp_pool2d(x, p, *w[:2]), (positive,)
            yield (
                lambda g, x, y, p=norm_type, w=window: ops.lp_pool2d_backward(g, x, y, p, *w[:2]),
                (g, positive, ops.lp_pool2d(positive, norm_type, kernel, stride)),
            )
    for channels, size in itertools.product((1, 3, lanes - 1, lanes, 4 * lanes + 1), [1, (3, 5), (7, 8)]):
        x = LAYOUTS["channels-last"](make(2, channels, 6, 7))
        g, indices = ops.adaptive_max_pool2d(x, size)
        yield lambda x, size=size: ops.adaptive_max_pool2d(x, size), (x,)
        yield lambda g, i, s=x.shape: ops.adaptive_max_pool2d_backward(g, i, s), (g, indices)
        yield lambda x, size=size: ops.adaptive_avg_pool2d(x, size), (x,)
        yield lambda g, s=x.shape: ops.adaptive_avg_pool2d_backward(g, s), (g,)
    for shape in [(1, 3, lanes, 2), (2, lanes, 5, lanes), (1, 2 * lanes + 1, lanes, lanes + 1), (1, 4, 9, 9)]:
        yield channels_first, (LAYOUTS["channels-last"](make(*shape)),)
        yield nhwc, (make(*shape),)
    for size in (1, 15, 17, 16385):
        bits = rng.integers(0, 2**16, size).astype(np.uint16)
        yield widened, (bits,)
        yield lambda x: narrowed(x, np.dtype(np.uint16)), (widened(bits),)
    for shape in itertools.product((1, 2, 5), (1, 3, lanes - 1, lanes, lanes + 1, 3 * lanes + 2), (1, 3), (5,)):
        x, g = (LAYOUTS["channels-last"](make(*shape)) for _ in range(2))
        mean, var, weight, bias = (np.abs(make(shape[1])) for _ in range(4))
        yield ops.batch_norm_stats, (x,)
        yield ops.batch_norm, (x, mean, var, weight, bias)
        yield ops.batch_norm_backward, (g, x, mean, var, weight)
        yield (
            lambda g, *of: input_weight_and_bias_gradients(copied(g).data, *of, 1e-5, True, overwrite=True),
            (g, x, mean, var, weight),
        )
        yield _affine.add, (g, x)
        for activation in ("", "relu", "relu6", "leaky_relu"):
            a, b = make(3, shape[1]), make(3, shape[1])
            yield lambda x, a, f=activation: _affine.affine(x, a, None, None, f, 0.1), (x, a)
            yield lambda x, y, f=activation: _affine.affine(x, None, y, None, f, 0.1), (x, g)
            yield lambda x, a, y, f=activation: _affine.affine(x, a, y, None, f, 0.1), (x, a, g)
            yield lambda x, a, y, b, f=activation: _affine.affine(x, a, y, b, f, 0.1), (x, a, g, b)
            if activation:
                yield (
                    lambda g, h, x, f=activation: _affine.activation_backward_of_sum(g, h, x, f, 0.1),
                    (g, LAYOUTS["channels-last"](make(*shape)), x),
                )
            for training in (True, False) if activation else ():
                yield (
                    lambda g, a, x, m, v, w, f=activation, t=training: _affine.batch_norm_backward_activated(
                        g, a, f, 0.1, x, m, v, w, 1e-5, t
                    ),
                    (g, a, x, mean, var, weight),
                )
        for name in ACTIVATIONS:
            yield getattr(ops, name), (x,)
            yield getattr(ops, f"{name}_backward"), (g, x)
        for dim in (0, 1, 3):
            yield lambda x, dim=dim: ops.softmax(x, dim), (x,)
            yield lambda x, dim=dim: ops.log_softmax(x, dim), (x,)
            yield lambda g, x, dim=dim: ops.softmax_backward(g, x, dim), (g, x)
            yield lambda g, x, dim=dim: ops.log_softmax_backward(g, x, dim), (g, x)
        n, c = shape[:2]
        x, w, b, g = make(n, c), make(lanes + 1, c), make(lanes + 1), make(n, lanes + 1)
        labels = Labels(rng.integers(0, c, n), np.ones(c, dtype), -1, 0.1)
        yield lambda x, o=labels: nll_loss(x, o)[0], (x,)
        yield lambda g, x, o=labels: cross_entropy_backward(g, x, o), (make(n), x)
        yield ops.linear, (x, w, b)
        yield lambda w, g, s=x.shape: ops.linear_backward_input(s, w, g), (w, g)
        yield lambda x, g, s=w.shape: ops.linear_backward_weight(x, s, g), (x, g)


def steps(dtype, rng):
    """The same of optimizers and clipping, which change what they get: a copy of it is the result."""
    lanes = tile_shape(np.dtype(dtype))[1]
    for count in (1, lanes - 1, lanes, 4 * lanes + 1, 8192 + 1):
        p, g = (rng.standard_normal(count).astype(dtype) for _ in range(2))
        for name, o in [("SGD", {}), ("SGD", {"momentum": 0.9}), ("Adam", {}), ("AdamW", {})]:
            yield lambda p, g, name=name, o=o: stepped(getattr(optim, name), p, g, **o), (p, g)
        yield lambda p, g: clipped(lambda x: clip_grad_norm_(x, 0.1), p, g), (p, g)
        yield lambda p, g: clipped(lambda x: clip_grad_value_(x, 0.1), p, g), (p, g)


def copied(x):
    copy = _memory.empty_like(x)
    copy[...] = x
    return Tensor(copy, requires_grad=True)


def stepped(optimizer, p, g, **options):
    parameter = copied(p)
    parameter.grad = Tensor(g)
    optimizer([parameter], **options).step()
    return parameter.data


def clipped(clip, p, g):
    parameter = Tensor(p)
    parameter.grad = copied(g).detach()
    clip(parameter)
    return parameter.grad.data


def networks(dtype, rng):
    """Compiled networks, and their images: each kernel with an epilogue, and all that lies between them."""
    lanes = tile_shape(np.dtype(dtype))[1]
    for channels in (1, 3, lanes - 1, lanes + 1):
        layers = [
            nn.Conv2d(channels, 2 * lanes + 1, 3, padding=1, dtype=dtype),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * lanes + 1, 2 * lanes + 1, 3, padding=1, groups=2 * lanes + 1, dtype=dtype),
            nn.LeakyReLU(),
            nn.Conv2d(2 * lanes + 1, lanes, 5, padding=2, dtype=dtype),
            nn.ReLU6(),
            nn.BatchNorm2d(lanes, dtype=dtype),
            nn.Conv2d(lanes, 2, 2, dtype=dtype),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(2 * 2 * 3, lanes + 1, dtype=dtype),
            nn.Softmax(1),
        ]
        for images in (1, 5):
            x = rng.standard_normal((images, channels, 6, 9)).astype(dtype)
            compiled = compile(nn.Sequential(*layers), x)
            for layout in ("C order", "channels-last"):
                yield lambda x, compiled=compiled: compiled(x), (LAYOUTS[layout](x),)


@contextmanager
def fenced_results_of(fences):
    """Every array that convkit allocates, however small, lies between fences."""
    plain = _memory.LEAST, _memory.Block
    _memory.LEAST, _memory.Block = 0, fences.block
    try:
        yield
    finally:
        _memory.LEAST, _memory.Block = plain


def results_of(function, arrays):
    results = function(*arrays)
    results = results if isinstance(results, tuple) else (results,)
    return tuple([result.value() if isinstance(result, _affine.UnwrittenGradient) else result for result in results])


def run(calls, dtypes):
    """Every call at both ends of memory must give the bits that it gives elsewhere; return how many had fences."""
    fenced_results = 0
    for dtype, threads, at_end in itertools.product(dtypes, (1, 2), (True, False)):
        for function, arrays in calls(dtype, np.random.default_rng(0)):
            names = function.__code__.co_names
            where = "end" if at_end else "beginning"
            shapes = [a.shape for a in arrays]
            print(f"{function.__name__} {names} {shapes} {dtype.__name__} threads={threads} {where}", flush=True)
            expected = results_of(function, arrays)
            fences = Fences(at_end)
            inputs = [fences.copy(a) for a in arrays]
            with num_threads(threads), fenced_results_of(fences):
                results = results_of(function, inputs)
            fenced_results += all(fences.holds(result) for result in results)
            for result, answer in zip(results, expected, strict=True):
                if result.tobytes() != answer.tobytes():
                    sys.exit("other bits than elsewhere in memory")
    return fenced_results


def main():
    """Every op, and where bfloat16 can be multiplied, its convolutions even of shapes that would not use it."""

    def every_call(dtype, rng):
        return itertools.chain(calls(dtype, rng), steps(dtype, rng), networks(dtype, rng))

    fenced_results = run(every_call, (np.float32, np.float64))
    everywhere = {
        "amx": (split_everywhere, split_columns_everywhere, split_tiles_everywhere),
        "avx512_bf16": (pairs_everywhere,),
    }
    for rules in everywhere.get(config()["isa"], ()):
        with rules():
            fenced_results += run(convolution_calls, (np.float32,))
    if config()["isa"] == "amx" and importlib.util.find_spec("ml_dtypes"):
        with split_everywhere():
            fenced_results += run(stored_convolution_calls, (importlib.import_module("ml_dtypes").bfloat16,))
    print(f"fenced results: {fenced_results}")


if __name__ == "__main__":
    main()
