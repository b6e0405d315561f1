"""Initial values: their distributions, PyTorch's bounds, the seed, and what is refused."""

import math

import numpy as np
import pytest

from convkit import nn
from convkit._random import manual_seed
from convkit.autograd import Tensor


@pytest.mark.parametrize(
    ("mode", "a", "bound"),
    [("fan_in", 0, math.sqrt(6 / 45)), ("fan_out", 0, math.sqrt(6 / 72)), ("fan_in", 2, math.sqrt(6 / 5 / 45))],
)
def test_kaiming_uniform(mode, a, bound):
    manual_seed(1)
    weight = Tensor(np.zeros((8, 5, 3, 3)))
    assert nn.init.kaiming_uniform_(weight, a, mode) is weight
    assert bound * 0.97 < np.abs(weight.data).max() <= bound


def test_kaiming_uniform_refuses():
    with pytest.raises(ValueError, match="mode='fan'"):
        nn.init.kaiming_uniform_(Tensor(np.zeros((2, 2))), mode="fan")
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        nn.init.kaiming_uniform_(Tensor(np.zeros(2)))


def weight(*shape, dtype=np.float64):
    return Tensor(np.full(shape, np.nan, dtype))


# name: (fills a weight (64, 32, 3, 3), and the deviation it should have)
DRAWS = {
    "uniform_": (lambda w: nn.init.uniform_(w, -1, 3), 4 / math.sqrt(12)),
    "normal_": (lambda w: nn.init.normal_(w, 1, 0.2), 0.2),
    "xavier_uniform_": (lambda w: nn.init.xavier_uniform_(w, 2), 2 * math.sqrt(2 / (96 * 9))),
    "xavier_normal_": (nn.init.xavier_normal_, math.sqrt(2 / (96 * 9))),
    "kaiming_uniform_": (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="tanh"), 5 / 3 / math.sqrt(32 * 9)),
    "kaiming_normal_": (lambda w: nn.init.kaiming_normal_(w, mode="fan_out"), math.sqrt(2 / (64 * 9))),
    "kaiming_normal_, leaky": (lambda w: nn.init.kaiming_normal_(w, 1), 1 / math.sqrt(32 * 9)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_have_the_deviation_they_should(name):
    fill, deviation = DRAWS[name]
    manual_seed(0)
    tensor = weight(64, 32, 3, 3)
    assert fill(tensor) is tensor
    assert tensor.data.std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * tensor.numel()))
    mean = {"uniform_": 1, "normal_": 1}.get(name, 0)
    assert abs(tensor.data.mean() - mean) < 5 * deviation / math.sqrt(tensor.numel())


@pytest.mark.parametrize("name", DRAWS)
def test_deviations_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    ours, theirs = weight(64, 32, 3, 3), torch.empty(64, 32, 3, 3, dtype=torch.float64)
    arguments = {
        "uniform_": (-1, 3),
        "normal_": (1, 0.2),
        "xavier_uniform_": (2,),
        "kaiming_uniform_": (0, "fan_in", "tanh"),
        "kaiming_normal_": (0, "fan_out"),
        "kaiming_normal_, leaky": (1,),
    }.get(name, ())
    DRAWS[name][0](ours)
    getattr(torch.nn.init, name.split(",")[0])(theirs, *arguments)
    assert ours.data.std() == pytest.approx(theirs.numpy().std(), rel=10 / math.sqrt(2 * ours.numel()))


def test_the_truncated_normal_stays_between_its_bounds():
    manual_seed(0)
    for dtype in (np.float32, np.float64):
        tensor = nn.init.trunc_normal_(weight(100_000, dtype=dtype), 0.5, 2.0, -0.7, 1.1)
        assert -0.7 <= float(tensor.data.min()) < -0.69
        assert 1.09 < float(tensor.data.max()) <= np.float32(1.1)
    within = nn.init.trunc_normal_(weight(100_000)).data
    assert within.std() == pytest.approx(0.8796, rel=0.01)  # of a standard normal cut at two deviations
    assert (nn.init.trunc_normal_(weight(3), 1.0, 0.0).data == 1).all()


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (4, 2, 3, 3), (0, 3), (3, 0)])
def test_orthogonal_weights_are(shape):
    manual_seed(0)
    tensor = nn.init.orthogonal_(weight(*shape), gain=3)
    matrix = tensor.data.reshape(shape[0], math.prod(shape[1:]))
    if matrix.size:
        square = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
        np.testing.assert_allclose(square, 9 * np.eye(min(matrix.shape)), atol=1e-12)


def test_constants():
    assert (nn.init.constant_(weight(2), 0.5).data == 0.5).all()
    assert (nn.init.zeros_(weight(2)).data == 0).all()
    assert (nn.init.ones_(weight(2)).data == 1).all()


@pytest.mark.parametrize("fill", [nn.init.normal_, nn.init.trunc_normal_, nn.init.xavier_normal_, nn.init.orthogonal_])
def test_a_seed_gives_the_same_values_in_any_precision_and_memory_order(fill):
    def drawn(tensor):
        manual_seed(4)
        return fill(tensor).data

    double = drawn(weight(3, 4, 2, 2))
    np.testing.assert_array_equal(drawn(weight(3, 4, 2, 2, dtype=np.float32)), double.astype(np.float32))
    np.testing.assert_array_equal(drawn(Tensor(np.zeros((2, 2, 4, 3)).transpose(3, 2, 0, 1))), double)


@pytest.mark.parametrize(
    "name", ["linear", "conv2d", "conv_transpose2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
)
def test_gains_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert nn.init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.init.calculate_gain("swish"), "calculate_gain: nonlinearity='swish' must be one of 'conv1d'"),
        (lambda: nn.init.kaiming_normal_(weight(2, 2), nonlinearity="no"), "nonlinearity='no'"),
        (lambda: nn.init.kaiming_normal_(weight(2, 2), mode="fan"), "kaiming_normal_: mode='fan'"),
        (lambda: nn.init.xavier_normal_(weight(2)), r"xavier_normal_: a weight has at least 2 dimensions, .* \(2,\)"),
        (lambda: nn.init.orthogonal_(weight(2)), "orthogonal_: a weight has at least 2 dimensions"),
        (lambda: nn.init.normal_(weight(2), std=-1), "normal_: std=-1 must not be negative"),
        (lambda: nn.init.trunc_normal_(weight(2), a=1, b=1), "trunc_normal_: a=1 must be less than b=1"),
        (lambda: nn.init.trunc_normal_(weight(2), mean=99), "trunc_normal_: mean=99 .* next to nothing"),
        (lambda: nn.init.trunc_normal_(weight(2), std=float("nan")), "trunc_normal_: std=nan"),
    ],
)
def test_these_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
