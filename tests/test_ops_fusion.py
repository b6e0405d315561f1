"""Operations computed together: the bits of the single ones, in every variant, and for any number of threads."""

import itertools

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, SETTLED, assert_same_bits, reals, refuses

import convkit as ck
import convkit.functional as F
from convkit._dispatch import tile_shape
from convkit._threads import num_threads
from convkit.ops import _affine
from convkit.ops.activation._elementwise import gradient
from convkit.ops.batch_norm import batch_norm_map, input_weight_and_bias_gradients

LANES = tile_shape(np.dtype(np.float32))[1]
CHANNELS = sorted({1, 3, LANES - 1, LANES, LANES + 1, 4 * LANES + 2})
ACTIVATIONS = {"none": None, "relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu}
POOLS = {
    "no pooling": None,
    "2x2": lambda x: F.max_pool2d(x, 2),
    "2x2, rest of the image": lambda x: F.max_pool2d(x, 2, 3, ceil_mode=True),
    "3x3, overlapping, padded": lambda x: F.max_pool2d(x, 3, 2, 1),
    "dilated": lambda x: F.max_pool2d(x, 2, 2, 0, 2),
    "adaptive": lambda x: F.adaptive_max_pool2d(x, (2, 3)),
    "larger than a byte tells": lambda x: F.max_pool2d(x, 17, 5, 8),
    "average": lambda x: F.avg_pool2d(x, 2),
}
#: What is between the convolution and the activation. `b` is a second convolution's result.
MIDDLES = {
    "batch norm": lambda norm, a, b: norm(a),
    "nothing": lambda norm, a, b: a,
    "sum": lambda norm, a, b: a + b,
    "batch norm and sum": lambda norm, a, b: norm(a) + b,
    "sum and batch norm": lambda norm, a, b: b + norm(a),
    "two batch norms": lambda norm, a, b: norm(a) + norm(b),
    "batch norm of a sum": lambda norm, a, b: norm(a + b),
}


def computed(fused, chain, channels, dtype, training=True, image=(7, 9)):
    """Values, gradients and running statistics of a chain that starts from two convolutions."""
    rng = np.random.default_rng(channels)

    def leaf(*shape):
        return ck.tensor(reals(rng, shape, dtype), requires_grad=True)

    x, v, w = leaf(3, 2, *image), leaf(channels, 2, 3, 3), leaf(channels, 2, 3, 3)
    weight, bias = leaf(channels), leaf(channels)
    mean, var = ck.tensor(reals(rng, channels, dtype)), ck.tensor(np.abs(reals(rng, channels, dtype)))
    with ck.fusion(fused):
        y = chain(
            lambda x: F.batch_norm(x, mean, var, weight, bias, training),
            F.conv2d(x, v, padding=1),
            F.conv2d(x, w, padding=1),
        )
        y.backward(reals(rng, y.shape, dtype))
    leaves = [leaf for leaf in (x, v, w, weight, bias) if leaf.grad is not None]
    return y.data, mean.data, var.data, *[leaf.grad.data for leaf in leaves]


def chained(middle, activation, pool):
    def chain(norm, a, b):
        y = MIDDLES[middle](norm, a, b)
        for function in (ACTIVATIONS[activation], POOLS[pool]):
            y = y if function is None else function(y)
        return y

    return chain


def assert_as_unfused(label, chain, channels, dtype, training=True, exact=True, image=(7, 9)):
    fused, unfused = (computed(on, chain, channels, dtype, training, image) for on in (True, False))
    if exact:
        assert_same_bits({"fused": fused, "unfused": unfused}, label)
        return
    assert_same_bits({"fused": fused[:3], "unfused": unfused[:3]}, label)
    # Sums over windows in place of pixels: the same terms in another order, in double.
    for actual, answer in zip(fused[3:], unfused[3:], strict=True):
        error = np.max(np.abs(actual - answer), initial=0)
        assert error <= 8 * np.finfo(dtype).eps * np.max(np.abs(answer), initial=0), f"{label}: {error}"


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("middle", MIDDLES)
def test_same_bits_as_one_after_the_other(middle, activation):
    for dtype, channels in itertools.product(DTYPES, CHANNELS):
        label = f"{middle}, {activation}, {channels} channels, {dtype.__name__}"
        assert_as_unfused(label, chained(middle, activation, "no pooling"), channels, dtype)


@pytest.mark.parametrize("pool", [name for name in POOLS if name != "no pooling"])
@pytest.mark.parametrize("middle", ["batch norm", "nothing", "batch norm and sum"])
def test_pooling_takes_the_rest_along(middle, pool):
    for activation, channels in itertools.product(ACTIVATIONS, CHANNELS):
        dtype = DTYPES[channels % 2]
        label = f"{middle}, {activation}, {pool}, {channels} channels, {dtype.__name__}"
        assert_as_unfused(label, chained(middle, activation, pool), channels, dtype, exact=middle != "batch norm")


@pytest.mark.parametrize("pool", ["2x2", "2x2, rest of the image", "3x3, overlapping, padded"])
@pytest.mark.parametrize("middle", ["batch norm", "nothing"])
def test_pooling_where_pixels_share_vectors(middle, pool):
    for activation, channels, dtype in itertools.product(ACTIVATIONS, (1, 2, 3, 6, 7, 13, 15), DTYPES):
        label = f"{middle}, {activation}, {pool}, {channels} channels, {dtype.__name__}"
        chain = chained(middle, activation, pool)
        assert_as_unfused(label, chain, channels, dtype, exact=middle != "batch norm", image=(4, 34))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_with_constant_statistics(activation):
    for pool, channels in itertools.product(("no pooling", "2x2", "3x3, overlapping, padded"), CHANNELS):
        chain = chained("batch norm", activation, pool)
        assert_as_unfused(f"{activation}, {pool}", chain, channels, np.float32, False, exact=pool == "no pooling")


@pytest.mark.parametrize("pool", ["no pooling", "2x2", "3x3, overlapping, padded"])
def test_same_bits_for_any_number_of_threads(pool):
    """On images that are worth several threads, and several chunks of sums."""

    def run(threads, dtype):
        with num_threads(threads):
            return computed(True, chained("batch norm and sum", "relu", pool), 33, dtype, image=(60, 70))

    for dtype in DTYPES:
        assert_same_bits({f"{threads} threads": run(threads, dtype) for threads in SETTLED}, pool)


@pytest.mark.parametrize("pool", ["no pooling", "2x2"])
def test_nan_and_infinity_stay_where_they_are(pool):
    """A NaN passes every activation and is the maximum of its window; an infinity spoils its channel alone."""
    for bad, activation, training in itertools.product((np.nan, np.inf, -np.inf), ACTIVATIONS, (True, False)):
        images = reals(np.random.default_rng(0), (2, 3, 6, 6), np.float32)
        images[1, 0, 2, 3] = bad
        outputs = []
        for fused in (True, False):
            with ck.fusion(fused):
                ones = np.ones(3, np.float32)
                x = F.conv2d(images, ones.reshape(3, 1, 1, 1), groups=3)
                y = F.batch_norm(x, np.zeros(3, np.float32), 2 * ones, -ones, ones, training)
                for function in (ACTIVATIONS[activation], POOLS[pool]):
                    y = y if function is None else function(y)
                outputs.append(y.data)
        np.testing.assert_array_equal(*outputs, err_msg=f"{bad}, {activation}, {pool}, training={training}")
        assert np.isfinite(outputs[0][:, 1:]).all()


def test_negative_scales_turn_minima_into_maxima():
    """The largest of the window of -x is the smallest of x: the map comes before the comparison."""
    x = F.conv2d(np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4), np.ones((1, 1, 1, 1), np.float32))
    one = np.ones(1, np.float32)
    y = F.max_pool2d(F.batch_norm(x, 0 * one, one, -one, 100 * one, eps=0), 2)
    np.testing.assert_array_equal(y.data[0, 0], [[100, 98], [92, 90]])


def test_memory_order_of_gradients_does_not_matter():
    """A gradient that comes from outside may lie in memory in any order."""
    rng = np.random.default_rng(0)
    images, weight, grad = (reals(rng, shape, np.float32) for shape in ((2, 3, 6, 6), (5, 3, 3, 3), (2, 5, 4, 4)))
    found = {}
    for layout, pooled in itertools.product(("C order", "channels-last", "every second", "reversed"), (True, False)):
        w = ck.tensor(weight, requires_grad=True)
        y = F.relu(F.batch_norm(F.conv2d(images, w), None, None, training=True))
        y = F.max_pool2d(y, 1) if pooled else y
        y.backward(LAYOUTS[layout](grad))
        found.setdefault(pooled, {})[layout] = (w.grad.data,)
    for results in found.values():
        assert_same_bits(results, "gradient")


def test_empty_batch():
    for pool in ("no pooling", "2x2"):
        w = ck.tensor(np.ones((4, 1, 3, 3), np.float32), requires_grad=True)
        weight = ck.tensor(np.ones(4, np.float32), requires_grad=True)
        ones = np.ones(4, np.float32)
        y = F.batch_norm(F.conv2d(np.zeros((0, 1, 6, 6), np.float32), w), ones, ones, weight)
        y = F.relu(y) if POOLS[pool] is None else POOLS[pool](F.relu(y))
        y.sum().backward()
        assert not weight.grad.data.any()
        assert not w.grad.data.any()


def test_errors_come_from_the_call_that_they_belong_to():
    x = F.conv2d(np.zeros((2, 1, 5, 5), np.float32), np.zeros((3, 1, 3, 3), np.float32))
    four = np.zeros(4, np.float32)
    mean = ck.tensor(np.zeros(3, np.float32))
    refuses(ValueError, r"^batch_norm: weight .*4", F.batch_norm, x, mean, mean, four, training=True)
    refuses(ValueError, r"^batch_norm: eps", F.batch_norm, x, mean, mean, eps=-1.0)
    assert not mean.data.any()
    refuses(ValueError, r"^max_pool2d: ", F.max_pool2d, F.relu(x), 9)
    refuses(TypeError, r"^leaky_relu: negative_slope", F.leaky_relu, x, "steep")


def written(gradients):
    """Those of a batch norm, that of its input in memory."""
    return gradients[0].value(), *gradients[1:]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["channels-last", "C order", "every second"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_gradients_written_over_what_they_are_made_of(channels, layout, dtype):
    rng = np.random.default_rng(channels)
    x, output, grad = (LAYOUTS["channels-last"](reals(rng, (3, channels, 9, 11), dtype)) for _ in range(3))
    mean, var, weight, bias = (np.abs(reals(rng, channels, dtype)) for _ in range(4))
    map = batch_norm_map(x, mean, var, weight, bias, 1e-5)
    statistics = x, mean, var, weight, 1e-5
    gradients = {
        "batch norm": lambda g, **o: written(input_weight_and_bias_gradients(g, *statistics, True, **o)),
        "constant statistics": lambda g, **o: written(input_weight_and_bias_gradients(g, *statistics, False, **o)),
        "relu6 of it": lambda g, **o: written(
            _affine.batch_norm_backward_activated(g, map, "relu6", 0.0, *statistics, True, **o)
        ),
        "leaky_relu": lambda g, **o: [gradient("leaky_relu", g, "output", output, 0.1, **o)],
    }
    for name, function in gradients.items():
        expected, own = function(grad), LAYOUTS[layout](grad)
        found = function(own, overwrite=True)
        assert_same_bits({"over": found, "apart": expected}, f"{name}, {channels} channels, {layout}")
        assert np.shares_memory(found[0], own) or layout != "channels-last"


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_written_over_one_of_their_terms(dtype):
    rng = np.random.default_rng(0)
    a, b, output = (LAYOUTS["channels-last"](reals(rng, (3, LANES + 1, 9, 11), dtype)) for _ in range(3))

    def rectified(a, b, grad=None):
        return _affine.activation_backward_of_sum(a, b, output, "relu", 0.0, grad)

    for function, place in itertools.product((_affine.add, rectified), (0, 1)):
        terms = [a.copy("K"), b.copy("K")]
        assert function(*terms, terms[place]) is terms[place]
        assert_same_bits({"over": [terms[place]], "apart": [function(a, b)]}, f"{function.__name__} over {place}")
