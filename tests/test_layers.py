"""Layers: how they start, what they call, what they refuse, and that they are as PyTorch's."""

import json
import math
import re

import numpy as np
import pytest
from test_nn import images

from convkit import functional as F
from convkit import nn
from convkit._random import get_rng_state, manual_seed, set_rng_state

# ------------------------------------------------------------------------------------------------- initial values


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: nn.Conv2d(12, 64, (3, 5), groups=2), 90),
        (lambda: nn.ConvTranspose2d(64, 12, (3, 5), groups=2), 90),
        (lambda: nn.Linear(90, 300), 90),
    ],
    ids=["Conv2d", "ConvTranspose2d", "Linear"],
)
def test_weights_and_biases_start_uniform_within_one_over_the_root_of_the_fan(layer, fan_in):
    manual_seed(0)
    layer = layer()
    bound = 1 / math.sqrt(fan_in)
    for values in (layer.weight.data, layer.bias.data):
        assert np.abs(values).max() <= bound
        # The sample's extremes and deviation, as those of a uniform distribution should be.
        assert np.abs(values).max() > bound * (1 - 10 / values.size)
        assert abs(values.mean()) < 5 * bound / math.sqrt(3 * values.size)
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=5 / math.sqrt(values.size))


def test_a_seed_gives_the_same_network_in_both_precisions():
    def build(dtype):
        manual_seed(5)
        return nn.Sequential(nn.Conv2d(2, 3, 3, dtype=dtype), nn.Linear(4, 5, dtype=dtype)).state_dict()

    single, double, again = build(np.float32), build(np.float64), build(None)
    for name, value in double.items():
        np.testing.assert_array_equal(single[name], value.astype(np.float32))
        np.testing.assert_array_equal(single[name], again[name])


def test_the_random_state_survives_json():
    manual_seed(7)
    state = json.loads(json.dumps(get_rng_state()))
    first = nn.Linear(3, 4).weight.data
    set_rng_state(state)
    np.testing.assert_array_equal(nn.Linear(3, 4).weight.data, first)
    broken = {**state, "state": {"state": -1, "inc": 1}}
    before = get_rng_state()
    for wrong in ({}, None, {"bit_generator": "MT19937"}, broken):
        with pytest.raises(ValueError, match="set_rng_state: state is not one"):
            set_rng_state(wrong)
    assert get_rng_state() == before


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (1.5, TypeError), ("1", TypeError), (None, TypeError)])
def test_manual_seed_refuses(seed, error):
    with pytest.raises(error, match="manual_seed: seed must be"):
        manual_seed(seed)


def test_conv2d_weights_lie_as_the_kernels_read_them():
    for groups in (1, 2):
        weight = nn.Conv2d(4, 6, (3, 5), groups=groups).weight
        assert weight.shape == (6, 4 // groups, 3, 5)
        assert weight.data.transpose(2, 3, 1, 0).flags.c_contiguous
        layer = nn.Conv2d(4, 6, (3, 5), groups=groups)
        layer(images(2, 4, 5, 6)).sum().backward()
        assert layer.weight.grad.data.strides == layer.weight.data.strides


# ---------------------------------------------------------------------------------------------------------- layers


def test_layers_call_their_functions():
    x, z = images(2, 4, 7, 8), images(2, 6)
    conv = nn.Conv2d(4, 6, 3, stride=(2, 1), padding="valid", dilation=(1, 2), groups=2, bias=False)
    linear, labels = nn.Linear(6, 3), np.array([2, 0])
    weight = np.float32([1, 2, 3])
    pairs = [
        (conv(x), F.conv2d(x, conv.weight, None, (2, 1), "valid", (1, 2), 2)),
        (nn.MaxPool2d(3, 2, 1, 2, True)(x), F.max_pool2d(x, 3, 2, 1, 2, True)),
        (nn.AvgPool2d(3, 2, 1, True, False)(x), F.avg_pool2d(x, 3, 2, 1, True, False)),
        (nn.LPPool2d(2, 3, 2, True)(x), F.lp_pool2d(x, 2, 3, 2, True)),
        (nn.WeightedPool2d([[1, 2], [3, 4]], 2, 1)(x), F.weighted_pool2d(x, np.float32([[1, 2], [3, 4]]), 2, 1)),
        (nn.AdaptiveMaxPool2d((None, 3))(x), F.adaptive_max_pool2d(x, (7, 3))),
        (nn.AdaptiveAvgPool2d(2)(x), F.adaptive_avg_pool2d(x, (2, 2))),
        (nn.ReLU()(x), F.relu(x)),
        (nn.ReLU6()(x), F.relu6(x)),
        (nn.LeakyReLU(0.3)(x), F.leaky_relu(x, 0.3)),
        (nn.ELU(2.0)(x), F.elu(x, 2.0)),
        (nn.Sigmoid()(x), F.sigmoid(x)),
        (nn.Tanh()(x), F.tanh(x)),
        (nn.SiLU()(x), F.silu(x)),
        (nn.Hardsigmoid()(x), F.hardsigmoid(x)),
        (nn.Hardswish()(x), F.hardswish(x)),
        (nn.Softplus(2.0, 1.0)(x), F.softplus(x, 2.0, 1.0)),
        (nn.GELU("tanh")(x), F.gelu(x, "tanh")),
        (nn.Softmax(1)(x), F.softmax(x, 1)),
        (nn.LogSoftmax(-1)(x), F.log_softmax(x, -1)),
        (nn.Flatten(0, 2)(x), F.flatten(x, 0, 2)),
        (linear(z), F.linear(z, linear.weight, linear.bias)),
        (
            nn.CrossEntropyLoss(weight, 0, "sum", 0.1)(z[:, :3], labels),
            F.cross_entropy(z[:, :3], labels, weight, 0, "sum", 0.1),
        ),
    ]
    for found, expected in pairs:
        np.testing.assert_array_equal(found.data, expected.data)


def test_dropout_drops_in_training_alone():
    manual_seed(0)
    layer, x = nn.Dropout(0.5), np.ones((10, 10))
    assert set(layer(x).data.ravel().tolist()) == {0.0, 2.0}
    np.testing.assert_array_equal(layer.eval()(x).data, x)


def test_batch_norm_remembers_batches():
    layer, (a, b) = nn.BatchNorm2d(3, momentum=None), (images(4, 3, 2, 2, seed=seed) for seed in (1, 2))
    layer(a)
    layer(b)
    assert layer.num_batches_tracked.item() == 2
    mean = (a.mean(axis=(0, 2, 3), dtype=float) + b.mean(axis=(0, 2, 3), dtype=float)) / 2
    var = (a.var(axis=(0, 2, 3), ddof=1, dtype=float) + b.var(axis=(0, 2, 3), ddof=1, dtype=float)) / 2
    np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-5)
    layer.eval()(a)
    assert layer.num_batches_tracked.item() == 2
    layer.reset_running_stats()
    assert layer.running_var.data.tolist() == [1, 1, 1]
    assert layer.num_batches_tracked.item() == 0


def test_batch_norm_without_statistics_or_scale():
    layer = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    assert layer.state_dict() == {}
    x = images(4, 3, 2, 2)
    np.testing.assert_array_equal(layer.eval()(x).data, F.batch_norm(x, None, None, training=True).data)


def test_batch_norm_counts_no_batch_that_it_refuses():
    layer = nn.BatchNorm2d(3)
    for wrong in (images(1, 3, 1, 1), images(2, 4, 2, 2), images(2, 3)):
        with pytest.raises(ValueError, match=r"BatchNorm2d\(3.*takes a float32 \(N, 3, H, W\)"):
            layer(wrong)
    assert layer.num_batches_tracked.item() == 0
    assert not layer.running_mean.data.any()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: nn.Conv2d(0, 4, 3), ValueError, "Conv2d: in_channels=0"),
        (lambda: nn.Conv2d(3, 4.5, 3), TypeError, "Conv2d: out_channels=4.5"),
        (lambda: nn.Conv2d(3, 4, 0), ValueError, "Conv2d: kernel_size=0"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ValueError, r"Conv2d: kernel_size=\(3, 3, 3\)"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), ValueError, "Conv2d: stride=0"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), ValueError, "Conv2d: padding=-1"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), ValueError, "Conv2d: padding='full'"),
        (lambda: nn.Conv2d(3, 4, 3, padding="same", stride=2), ValueError, "Conv2d: padding='same' needs stride=1"),
        (lambda: nn.Conv2d(3, 4, 3, dilation=0), ValueError, "Conv2d: dilation=0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "Conv2d: groups=2 must divide in_channels=3"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "Conv2d: groups=2 must divide out_channels=3"),
        (lambda: nn.Conv2d(3, 4, 3, dtype=np.int32), TypeError, "Conv2d: dtype=int32"),
        (lambda: nn.ConvTranspose2d(3, 0, 3), ValueError, "ConvTranspose2d: out_channels=0"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=-1), ValueError, "ConvTranspose2d: output_padding=-1"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding="same"), TypeError, "ConvTranspose2d: padding='same'"),
        (
            lambda: nn.ConvTranspose2d(3, 4, 3, groups=2),
            ValueError,
            "ConvTranspose2d: groups=2 must divide in_channels",
        ),
        (lambda: nn.Linear(3, -1), ValueError, "Linear: out_features=-1"),
        (lambda: nn.BatchNorm2d(0), ValueError, "BatchNorm2d: num_features=0"),
        (lambda: nn.BatchNorm2d(3, eps=-1), ValueError, "BatchNorm2d: eps=-1"),
        (lambda: nn.BatchNorm2d(3, momentum=1.5), ValueError, "BatchNorm2d: momentum=1.5"),
        (lambda: nn.MaxPool2d(0), ValueError, "MaxPool2d: kernel_size=0"),
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "MaxPool2d: padding=2 must be at most half"),
        (lambda: nn.MaxPool2d(2, dilation=0), ValueError, "MaxPool2d: dilation=0"),
        (lambda: nn.AvgPool2d(2, stride=0), ValueError, "AvgPool2d: stride=0"),
        (lambda: nn.LPPool2d(0, 2), ValueError, "LPPool2d: norm_type=0"),
        (lambda: nn.LPPool2d(2, 0), ValueError, "LPPool2d: kernel_size=0"),
        (lambda: nn.WeightedPool2d([1, 2]), ValueError, r"WeightedPool2d: weights has shape \(2,\)"),
        (lambda: nn.WeightedPool2d([[1, 2]], padding=1), ValueError, "WeightedPool2d: padding=1"),
        (lambda: nn.WeightedPool2d([[1]], dtype=int), TypeError, "WeightedPool2d: dtype=int64"),
        (lambda: nn.GELU("erf"), ValueError, "GELU: approximate='erf'"),
        (lambda: nn.AdaptiveAvgPool2d(0), ValueError, "AdaptiveAvgPool2d: output_size=0"),
        (lambda: nn.AdaptiveMaxPool2d((1, 2, 3)), ValueError, r"AdaptiveMaxPool2d: output_size=\(1, 2, 3\)"),
        (lambda: nn.Dropout(2), ValueError, "Dropout: p=2"),
        (lambda: nn.CrossEntropyLoss(reduction="all"), ValueError, "CrossEntropyLoss: reduction='all'"),
    ],
)
def test_layers_refuse_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()


# ------------------------------------------------------------------------------------------------------ as PyTorch


def same_network(nn):
    """Written once, for either library."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=(2, 1), padding=1, bias=False),
        nn.BatchNorm2d(8, momentum=0.2),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(8, 8, (3, 2), dilation=(1, 2), groups=4), nn.MaxPool2d(3, 2, padding=1)),
        nn.BatchNorm2d(8, affine=False, momentum=None),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(48, 5),
    )


def test_the_same_network_as_in_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = same_network(nn), same_network(torch.nn)
    # PyTorch also tells of options that are not here: newer versions of a normalisation's bias, and of `inplace`.
    assert repr(ours) == re.sub(r"(affine=\w+), bias=\w+|, inplace=False", r"\1", repr(theirs))
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    x, labels = images(6, 3, 17, 14), np.arange(6) % 5
    for mode in (True, True, False):
        ours.train(mode), theirs.train(mode)
        found, expected = ours(x), theirs(torch.tensor(x))
        np.testing.assert_allclose(found.data, expected.detach().numpy(), atol=1e-5)
        ours.zero_grad(), theirs.zero_grad()
        nn.CrossEntropyLoss(label_smoothing=0.1)(found, labels).backward()
        torch.nn.CrossEntropyLoss(label_smoothing=0.1)(expected, torch.tensor(labels)).backward()
        for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            np.testing.assert_allclose(a.grad.data, b.grad.numpy(), atol=2e-5, err_msg=name)
    for name, value in ours.state_dict().items():
        np.testing.assert_allclose(value, state[name].numpy(), atol=1e-6, err_msg=name)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})


def test_the_same_transposed_convolution_as_in_pytorch():
    torch = pytest.importorskip("torch")
    arguments = (4, 6, (3, 2)), {"stride": (2, 3), "padding": 1, "output_padding": (1, 0), "groups": 2, "bias": True}
    ours, theirs = (api.ConvTranspose2d(*arguments[0], **arguments[1]) for api in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = images(2, 4, 5, 7)
    for size in (None, (9, 18), (10, 20)):
        found, expected = ours(x, size), theirs(torch.tensor(x), size)
        np.testing.assert_allclose(found.data, expected.detach().numpy(), atol=1e-5)
    with pytest.raises(
        ValueError, match=r"ConvTranspose2d: output_size=\(11, 18\) must be from \(9, 18\) to \(10, 20\)"
    ):
        ours(x, (11, 18))


def test_a_transposed_convolution_in_float64_without_bias():
    layer = nn.ConvTranspose2d(3, 4, 2, stride=2, dilation=3, bias=False, dtype=np.float64)
    assert layer.extra_repr() == "3, 4, kernel_size=(2, 2), stride=(2, 2), dilation=(3, 3), bias=False"
    assert list(layer.state_dict()) == ["weight"]
    assert layer(images(1, 3, 4, 4, dtype=np.float64)).dtype == np.float64
    with pytest.raises(ValueError, match=r"has 2 channels.*this is layer|has 2 channels"):
        layer(images(1, 2, 4, 4, dtype=np.float64))
