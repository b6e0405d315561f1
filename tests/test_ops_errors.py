"""Everything that a caller can get wrong is refused by an error that names function, argument and value."""

import inspect

import numpy as np
import pytest
from cases import refuses

from convkit import ops

X = np.ones((2, 4, 6, 7), np.float32)
W = np.ones((8, 4, 3, 3), np.float32)
B = np.ones(8, np.float32)
G = np.ones((2, 8, 4, 5), np.float32)  # of conv2d(X, W)
T = np.ones((2, 4, 8, 9), np.float32)  # of conv_transpose2d(X, W[:4])
POOLED = np.ones((2, 4, 3, 3), np.float32)  # of a pooling of X over 2x2
WINDOW = np.ones((2, 2), np.float32)  # of weights
V = np.ones(4, np.float32)
L = np.ones((3, 5), np.float32)
LW = np.ones((6, 5), np.float32)
LG = np.ones((3, 6), np.float32)
INDICES = ops.max_pool2d(X, 2)[1]
ADAPTED = ops.adaptive_max_pool2d(X, 3)[1]

# Ways to call every op right. A case below changes one argument of one of them.
CALLS = {
    "conv2d": {"input": X, "weight": W, "bias": B},
    "conv2d_output_shape": {"input_shape": X.shape, "weight_shape": W.shape},
    "conv2d_plan": {"input_shape": X.shape, "weight_shape": W.shape},
    "conv2d_backward_input": {"input_shape": X.shape, "weight": W, "grad_output": G},
    "conv2d_backward_weight": {"input": X, "weight_shape": W.shape, "grad_output": G},
    "conv2d_backward_bias": {"grad_output": G},
    "conv_transpose2d": {"input": X, "weight": W[:4], "bias": B[:4]},
    "conv_transpose2d_backward_input": {"input_shape": X.shape, "weight": W[:4], "grad_output": T},
    "conv_transpose2d_backward_weight": {"input": X, "weight_shape": (4, 4, 3, 3), "grad_output": T},
    "max_pool2d": {"input": X, "kernel_size": 2},
    "max_pool2d_backward": {
        "grad_output": POOLED,
        "indices": INDICES,
        "input_shape": X.shape,
        "kernel_size": 2,
    },
    "avg_pool2d": {"input": X, "kernel_size": 2},
    "avg_pool2d_backward": {"grad_output": POOLED, "input_shape": X.shape, "kernel_size": 2},
    "adaptive_max_pool2d": {"input": X, "output_size": 3},
    "adaptive_max_pool2d_backward": {"grad_output": POOLED, "indices": ADAPTED, "input_shape": X.shape},
    "adaptive_avg_pool2d": {"input": X, "output_size": 3},
    "adaptive_avg_pool2d_backward": {"grad_output": POOLED, "input_shape": X.shape},
    "lp_pool2d": {"input": X, "norm_type": 2, "kernel_size": 2},
    "lp_pool2d_backward": {"grad_output": POOLED, "input": X, "output": POOLED, "norm_type": 2, "kernel_size": 2},
    "weighted_pool2d": {"input": X, "weights": WINDOW},
    "weighted_pool2d_backward": {"grad_output": POOLED, "input_shape": X.shape, "weights": WINDOW},
    "distance_weights": {"kernel_size": 3, "dtype": np.float32},
    "pool2d_output_shape": {"input_shape": X.shape, "kernel_size": 2},
    "batch_norm_stats": {"input": X},
    "batch_norm": {"input": X, "mean": V, "var": V, "weight": V, "bias": V},
    "batch_norm_backward": {"grad_output": X, "input": X, "mean": V, "var": V, "weight": V},
    "linear": {"input": L, "weight": LW, "bias": np.ones(6, np.float32)},
    "linear_backward_input": {"input_shape": L.shape, "weight": LW, "grad_output": LG},
    "linear_backward_weight": {"input": L, "weight_shape": LW.shape, "grad_output": LG},
    "linear_backward_bias": {"grad_output": LG},
    "matmul": {"input": L, "other": LW.T},
    "matmul_backward_input": {"input_shape": L.shape, "other": LW.T, "grad_output": LG},
    "matmul_backward_other": {"input": L, "other_shape": (5, 6), "grad_output": LG},
    "pad": {"input": L, "pad": (1, 0)},
    "pad_backward": {"grad_output": LG, "input_shape": L.shape, "pad": (1, 0)},
    "relu": {"input": X},
    "relu_backward": {"grad_output": X, "output": X},
    "relu6": {"input": X},
    "relu6_backward": {"grad_output": X, "output": X},
    "leaky_relu": {"input": X, "negative_slope": 0.1},
    "leaky_relu_backward": {"grad_output": X, "input": X, "negative_slope": 0.1},
    "elu": {"input": X, "alpha": 2},
    "elu_backward": {"grad_output": X, "input": X, "alpha": 2},
    "sigmoid": {"input": X},
    "sigmoid_backward": {"grad_output": X, "output": X},
    "tanh": {"input": X},
    "tanh_backward": {"grad_output": X, "output": X},
    "silu": {"input": X},
    "silu_backward": {"grad_output": X, "input": X},
    "hardsigmoid": {"input": X},
    "hardsigmoid_backward": {"grad_output": X, "input": X},
    "hardswish": {"input": X},
    "hardswish_backward": {"grad_output": X, "input": X},
    "softplus": {"input": X, "beta": 2, "threshold": 3},
    "softplus_backward": {"grad_output": X, "input": X, "beta": 2, "threshold": 3},
    "gelu": {"input": X, "approximate": "tanh"},
    "gelu_backward": {"grad_output": X, "input": X, "approximate": "tanh"},
    "softmax": {"input": L, "dim": 1},
    "log_softmax": {"input": L, "dim": 1},
    "softmax_backward": {"grad_output": L, "output": L, "dim": 1},
    "log_softmax_backward": {"grad_output": L, "output": L, "dim": 1},
}
CONVS = ["conv2d", "conv2d_output_shape", "conv2d_plan", "conv2d_backward_input", "conv2d_backward_weight"]
POOLS = ["max_pool2d", "max_pool2d_backward", "avg_pool2d", "avg_pool2d_backward", "pool2d_output_shape"]
ARRAYS = [(op, name) for op, call in CALLS.items() for name, a in call.items() if isinstance(a, np.ndarray)]
FLOATS = [(op, name) for op, name in ARRAYS if name != "indices"]
SEVERAL = [(op, name) for op, name in FLOATS if sum(other == op for other, _ in FLOATS) > 1]
SIZES = [
    (op, name)
    for op in (*CONVS, *POOLS)
    for name in ("stride", "padding", "dilation", "kernel_size")
    if name in inspect.signature(getattr(ops, op)).parameters
]
SHAPES = [(op, name) for op, call in CALLS.items() for name in call if name.endswith("_shape")]


def refused(op, exception, value=".*", **changes):
    """Call an op with something wrong: the message names the op, then what was changed, then its value."""
    (name, *_) = changes
    refuses(exception, rf"^{op}: .*\b{name}\b.*{value}", getattr(ops, op), **{**CALLS[op], **changes})


def test_every_op_is_here():
    assert set(CALLS) == set(ops.__all__)


@pytest.mark.parametrize("op", CALLS)
def test_the_calls_are_right_until_something_is_changed(op):
    getattr(ops, op)(**CALLS[op])


@pytest.mark.parametrize(("op", "name"), ARRAYS)
def test_what_is_not_an_array(op, name):
    refused(op, TypeError, "list", **{name: CALLS[op][name].tolist()})
    refused(op, TypeError, "float", **{name: 1.0})


@pytest.mark.parametrize(("op", "name"), FLOATS)
@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "float16", "complex64", "object", ">f4", ">f8"])
def test_element_types(op, name, dtype):
    refused(op, TypeError, dtype.lstrip(">"), **{name: CALLS[op][name].astype(dtype)})


@pytest.mark.parametrize(("op", "name"), SEVERAL)
def test_mixed_element_types(op, name):
    """The message names two of the op's own arguments."""
    others = "|".join(other for same, other in FLOATS if same == op)
    wrong = {**CALLS[op], name: CALLS[op][name].astype(np.float64)}
    pattern = rf"^{op}: .*\b({others})\b.*float(32|64).*\b({others})\b.*float(32|64)"
    refuses(TypeError, pattern, getattr(ops, op), **wrong)


@pytest.mark.parametrize("op", [op for op, call in CALLS.items() if "bias" in call])
def test_shape_of_bias(op):
    for shape in ((3,), (1,), (8, 1), ()):
        refused(op, ValueError, rf"\({', '.join(map(str, shape))}", bias=np.ones(shape, np.float32))


@pytest.mark.parametrize("op", ["conv2d", "conv2d_backward_weight", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"])
@pytest.mark.parametrize("shape", [(4, 6, 7), (6, 7), (7,), (), (1, 2, 4, 6, 7)], ids=str)
def test_rank_of_images(op, shape):
    refused(op, ValueError, rf"\({', '.join(map(str, shape))}", input=np.ones(shape, np.float32))


@pytest.mark.parametrize("op", ["conv2d", "conv2d_backward_input"])
def test_rank_of_weight(op):
    refused(op, ValueError, r"\(8, 4, 3\)", weight=np.ones((8, 4, 3), np.float32))


@pytest.mark.parametrize(("op", "name"), SHAPES)
def test_shapes_that_are_none(op, name):
    refused(op, ValueError, "-4", **{name: (2, -4, 6, 7)})
    refused(op, TypeError, r"2\.5", **{name: (2.5, *CALLS[op][name][1:])})
    refused(op, TypeError, "7", **{name: 7})
    if not op.startswith(("linear", "matmul", "pad")):
        refused(op, ValueError, r"\(4, 6, 7\)", **{name: (4, 6, 7)})


@pytest.mark.parametrize("op", CONVS)
def test_channels_that_do_not_fit(op):
    call = {**CALLS[op]}
    key = "input" if "input" in call else "input_shape"
    image = (2, 3, 6, 7)
    call[key] = image if key == "input_shape" else np.ones(image, np.float32)
    message = r"input has 3 channels but weight \(8, 4, 3, 3\) with groups=1 expects 4"
    refuses(ValueError, rf"^{op}: {message}$", getattr(ops, op), **call)


@pytest.mark.parametrize("op", CONVS)
def test_groups(op):
    refused(op, ValueError, "0", groups=0)
    refused(op, ValueError, "-1", groups=-1)
    refused(op, ValueError, "3", groups=3)
    refused(op, TypeError, r"1\.0", groups=1.0)
    refused(op, TypeError, "True", groups=True)


def test_output_channels_that_groups_do_not_divide():
    weight = np.ones((7, 2, 3, 3), np.float32)
    refuses(ValueError, r"^conv2d: .*groups=2.*7|^conv2d: .*7.*groups=2", ops.conv2d, X, weight, groups=2)


@pytest.mark.parametrize(("op", "name"), [size for size in SIZES if size[1] != "padding"])
def test_what_must_be_positive(op, name):
    for value, wrong in ((0, "0"), (-1, "-1"), ((1, 0), "0"), ((-2, 1), "-2")):
        refused(op, ValueError, wrong, **{name: value})


@pytest.mark.parametrize(("op", "name"), SIZES)
def test_what_must_be_an_integer_or_a_pair(op, name):
    for value in (1.5, 1.0, True, (1, 1.5), (True, 1), np.float32(1)):
        refused(op, TypeError, **{name: value})
    for value in ((1,), (1, 1, 1), ()):
        refused(op, ValueError, **{name: value})


@pytest.mark.parametrize("op", [*CONVS, *POOLS])
def test_padding(op):
    refused(op, ValueError, "-1", padding=-1)
    refused(op, ValueError, "-2", padding=(0, -2))


@pytest.mark.parametrize("op", CONVS)
def test_padding_by_name(op):
    refused(op, ValueError, "full", padding="full")
    refused(op, ValueError, "same.*stride|^.*stride.*same", padding="same", stride=2)
    refused(op, ValueError, "same", padding="same", stride=(1, 2))


@pytest.mark.parametrize("op", POOLS)
def test_pooling_has_no_padding_by_name(op):
    refused(op, TypeError, "same", padding="same")


@pytest.mark.parametrize("op", POOLS)
def test_padding_of_more_than_half_a_window(op):
    refused(op, ValueError, "2", padding=2)
    refused(op, ValueError, r"\(1, 2\)", padding=(1, 2), kernel_size=(2, 3))


@pytest.mark.parametrize("op", CONVS)
def test_kernel_larger_than_the_padded_image(op):
    call = {**CALLS[op], "dilation": 3}  # 7 x 7 taps over 6 x 7 pixels
    refuses(ValueError, rf"^{op}: .*(kernel|weight).*7.*6", getattr(ops, op), **call)


@pytest.mark.parametrize("op", POOLS)
def test_window_larger_than_the_padded_image(op):
    call = {**CALLS[op], "kernel_size": (7, 8)}
    refuses(ValueError, rf"^{op}: .*kernel.*7.*6", getattr(ops, op), **call)


@pytest.mark.parametrize("op", [op for op, call in CALLS.items() if "grad_output" in call and len(call) > 1])
def test_shape_of_grad_output(op):
    right = CALLS[op]["grad_output"].shape
    wider = () if op == "adaptive_avg_pool2d_backward" else ((*right[:-1], right[-1] + 1),)  # it may have any size
    for shape in (*wider, (right[0] + 1, *right[1:]), (0, *right[1:])):
        call = {**CALLS[op], "grad_output": np.ones(shape, np.float32)}
        named = rf"^{op}: .*(grad_output|indices).*\({', '.join(map(str, shape))}"
        refuses(ValueError, named, getattr(ops, op), **call)
    for shape in ((), (1,), (1, *right)):
        call = {**CALLS[op], "grad_output": np.ones(shape, np.float32)}
        refuses(ValueError, rf"^{op}: .*(grad_output|input)", getattr(ops, op), **call)


def test_rank_of_grad_output_of_a_bias():
    refused("conv2d_backward_bias", ValueError, r"\(2, 8\)", grad_output=np.ones((2, 8), np.float32))
    refused("linear_backward_bias", ValueError, r"\(\)", grad_output=np.ones((), np.float32))


def test_indices_of_max_pool2d():
    refused("max_pool2d_backward", ValueError, indices=INDICES[:1])
    refused("max_pool2d_backward", TypeError, "float32", indices=POOLED)


@pytest.mark.parametrize("op", ["adaptive_max_pool2d", "adaptive_avg_pool2d"])
def test_output_size_of_adaptive_pooling(op):
    refused(op, ValueError, "0", output_size=0)
    refused(op, ValueError, "-2", output_size=(3, -2))
    refused(op, ValueError, "3 values", output_size=(1, 2, 3))
    refused(op, TypeError, r"1\.5", output_size=1.5)
    refused(op, TypeError, "True", output_size=(True, None))
    refused(op, ValueError, r"\(2, 4, 0, 7\)", input=np.ones((2, 4, 0, 7), np.float32))


def test_adaptive_gradients():
    for op in ("adaptive_max_pool2d_backward", "adaptive_avg_pool2d_backward"):
        refused(op, ValueError, r"\(2, 5, 3, 3\)", grad_output=np.ones((2, 5, 3, 3), np.float32))
        refused(op, ValueError, r"\(2, 4, 0, 3\)", grad_output=np.ones((2, 4, 0, 3), np.float32))
    refused("adaptive_max_pool2d_backward", TypeError, "int64", indices=ADAPTED.astype(np.int64))
    refused("adaptive_max_pool2d_backward", ValueError, indices=ADAPTED[:1])


@pytest.mark.parametrize("name", ["mean", "var", "weight", "bias"])
@pytest.mark.parametrize("op", ["batch_norm", "batch_norm_backward"])
def test_vectors_of_batch_norm(op, name):
    if name in CALLS[op]:
        refused(op, ValueError, r"\(3,\)", **{name: np.ones(3, np.float32)})
        refused(op, ValueError, r"\(4, 1\)", **{name: np.ones((4, 1), np.float32)})


@pytest.mark.parametrize("op", ["batch_norm_stats", "batch_norm", "batch_norm_backward"])
def test_rank_of_batch_norm(op):
    changes = {"input": V, "grad_output": V} if op == "batch_norm_backward" else {"input": V}
    refused(op, ValueError, r"\(4,\)", **changes)


@pytest.mark.parametrize("op", ["batch_norm", "batch_norm_backward"])
def test_eps_of_batch_norm(op):
    refused(op, ValueError, "-1", eps=-1.0)
    refused(op, ValueError, "nan", eps=float("nan"))
    refused(op, TypeError, "small", eps="small")


def test_statistics_of_nothing():
    refused("batch_norm_stats", ValueError, r"\(0, 4, 6, 7\)", input=np.ones((0, 4, 6, 7), np.float32))


@pytest.mark.parametrize("op", ["linear", "linear_backward_weight"])
def test_features_that_do_not_fit(op):
    changed = {**CALLS[op], "input": np.ones((3, 4), np.float32)}
    refuses(ValueError, rf"^{op}: .*input.*4.*weight.*\(6, 5\)", getattr(ops, op), **changed)


@pytest.mark.parametrize("op", ["linear", "linear_backward_input"])
def test_rank_of_linear_weight(op):
    refused(op, ValueError, r"\(5,\)", weight=np.ones(5, np.float32))


def test_scalar_input_of_linear():
    refused("linear", ValueError, r"\(\)", input=np.ones((), np.float32))


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "softmax_backward", "log_softmax_backward"])
def test_dim_of_softmax(op):
    refused(op, ValueError, "2", dim=2)
    refused(op, ValueError, "-3", dim=-3)
    refused(op, TypeError, r"1\.0", dim=1.0)
    refused(op, TypeError, "True", dim=True)


@pytest.mark.parametrize(
    ("op", "name"),
    [("leaky_relu", "negative_slope"), ("elu", "alpha"), ("softplus", "beta"), ("softplus", "threshold")],
)
def test_parameters_that_are_no_numbers(op, name):
    for function in (op, f"{op}_backward"):
        refused(function, TypeError, "'1'", **{name: "1"})
        refused(function, TypeError, "True", **{name: True})
        refused(function, TypeError, "None", **{name: None})


@pytest.mark.parametrize("op", ["gelu", "gelu_backward"])
def test_approximations_of_gelu(op):
    for wrong in ("erf", None, True):
        refused(op, ValueError, repr(wrong), approximate=wrong)


def test_integers_of_numpy_are_integers():
    two = np.int64(2)
    assert ops.conv2d(X, W, stride=two, padding=(two, np.uint8(1)), groups=np.int32(1)).shape == (2, 8, 4, 4)
    assert ops.conv2d(X, W, padding=[1, 1]).shape == (2, 8, 6, 7)
    assert ops.max_pool2d(X, two)[0].shape == (2, 4, 3, 3)


def test_an_array_in_the_wrong_place_does_not_fill_the_screen():
    with pytest.raises(TypeError) as caught:
        ops.conv2d_backward_weight(X, G, W.shape)
    assert str(caught.value) == (
        "conv2d_backward_weight: weight_shape=<array of float32, shape (2, 8, 4, 5)> must be a tuple of 4 integers"
    )
