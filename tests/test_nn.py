"""Modules: what they hold, save and load, their sequences, and errors that name the layer."""

import copy

import numpy as np
import pytest

from convkit import functional as F
from convkit import nn
from convkit._random import manual_seed
from convkit._threads import num_threads
from convkit.autograd import Tensor


def images(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Net(nn.Module):
    """Nested, with buffers, and with a part that has two names."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.fc = nn.Linear(12, 12)
        self.again = self.fc
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.register_buffer("offset", Tensor(np.zeros(12, np.float32)))
        self.register_buffer("scratch", Tensor(np.zeros(3, np.float32)), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, x):
        x = self.features(x).flatten(1)
        return self.again(self.fc(x)) * self.scale + self.offset


PARAMETERS = ["scale", "features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias"]
BUFFERS = ["features.1.running_mean", "features.1.running_var", "features.1.num_batches_tracked"]


# --------------------------------------------------------------------------------------------------------- modules


def test_parts_are_found_among_the_attributes():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [*PARAMETERS, "fc.weight", "fc.bias"]
    assert [name for name, _ in net.named_buffers()] == ["offset", "scratch", *BUFFERS]
    assert [name for name, _ in net.named_children()] == ["features", "fc"]
    assert [name for name, _ in net.named_modules()] == ["", "features", "features.0", "features.1", "features.2", "fc"]
    assert [len(list(parts())) for parts in (net.parameters, net.buffers, net.children, net.modules)] == [7, 5, 2, 6]


def test_the_state_has_every_name():
    first, *rest = PARAMETERS
    shared = ["fc.weight", "fc.bias", "again.weight", "again.bias"]
    assert list(Net().state_dict()) == [first, "offset", *rest, *BUFFERS, *shared]


def test_the_state_is_copied_in_c_order():
    net = Net()
    state = net.state_dict()
    for name, value in state.items():
        assert type(value) is np.ndarray, name
        assert value.flags.c_contiguous, name
    state["scale"][:] = 7
    assert net.scale.data[0] == 1


def test_load_state_dict_copies_into_the_memory_that_is_there():
    source, net = Net(), Net()
    memory = {name: parameter.data for name, parameter in net.named_parameters()}
    strides = {name: array.strides for name, array in memory.items()}
    net.load_state_dict(source.state_dict())
    for name, parameter in net.named_parameters():
        assert parameter.data is memory[name]
        assert parameter.data.strides == strides[name]
        np.testing.assert_array_equal(parameter.data, dict(source.named_parameters())[name].data)
    x = images(2, 2, 4, 4)
    np.testing.assert_array_equal(net(x).data, source(x).data)


def test_load_state_dict_refuses_all_at_once_and_loads_nothing():
    net = Net()
    state = net.state_dict()
    before = net.state_dict()
    state["scale"] = np.zeros(2, np.float32)
    state["offset"] = np.zeros(12, complex)
    state["stranger"] = np.zeros(1)
    state["fc.weight"] = np.zeros((12, 12))
    del state["fc.bias"]
    with pytest.raises(ValueError, match="load_state_dict: state_dict does not fit this Net") as caught:
        net.load_state_dict(state)
    for part in (
        "fc.bias is missing",
        "stranger is unexpected",
        "scale is float32 (2,), but must be float32 (1,)",
        "offset is complex128 (12,), but must be float32 (12,)",
    ):
        assert part in str(caught.value)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_load_state_dict_returns_what_it_passed_over():
    net = Net()
    found = net.load_state_dict({"scale": np.array([5.0]), "stranger": np.zeros(1)}, strict=False)
    assert net.scale.item() == 5
    assert found.unexpected_keys == ["stranger"]
    assert "scale" not in found.missing_keys
    assert len(found.missing_keys) == 12
    with pytest.raises(ValueError, match="scale"):
        net.load_state_dict({"scale": np.zeros(2)}, strict=False)


def test_a_part_is_not_lost_by_assigning_something_else():
    net = Net()
    for name, kind in (("scale", "Parameter"), ("offset", "Buffer"), ("fc", "Module")):
        with pytest.raises(TypeError, match=f"Net.{name} is a {kind}: assign another, or None, not Tensor"):
            setattr(net, name, Tensor(np.zeros(1)))
        setattr(net, name, None)
    assert "scale" not in net.state_dict()


def test_train_and_eval_reach_every_module():
    net = Net()
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())


def test_zero_grad_and_requires_grad():
    net = Net()
    net(images(2, 2, 4, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.zero_grad(set_to_none=False)
    assert not any(parameter.grad.data.any() for parameter in net.parameters())
    net.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())
    net.requires_grad_(False)
    assert net(images(2, 2, 4, 4)).is_leaf


def test_apply_goes_from_the_children_up():
    visited = []
    net = Net()
    assert net.apply(lambda module: visited.append(type(module).__name__)) is net
    assert visited == ["Conv2d", "BatchNorm2d", "ReLU", "Sequential", "Linear", "Net"]


def test_double_and_float_keep_values_and_memory_order():
    net = Net()
    net(images(2, 2, 4, 4)).sum().backward()
    before = net.state_dict()
    assert net.double() is net
    assert net.features[0].weight.grad.dtype == np.float64
    assert net.features[1].num_batches_tracked.dtype == np.int64
    assert {value.dtype for value in net.state_dict().values()} == {np.dtype(np.float64), np.dtype(np.int64)}
    assert net.features[0].weight.data.transpose(2, 3, 1, 0).flags.c_contiguous
    assert net(images(2, 2, 4, 4, dtype=np.float64)).dtype == np.float64
    for name, value in net.float().state_dict().items():
        if "features.1" not in name:
            np.testing.assert_array_equal(value, before[name])


def test_a_copy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    twin.scale.data[:] = 9
    assert net.scale.item() == 1
    assert twin.again is twin.fc
    assert twin.features[0].weight.data.transpose(2, 3, 1, 0).flags.c_contiguous
    twin.scale.data[:] = 1
    np.testing.assert_array_equal(twin(images(2, 2, 4, 4)).data, net(images(2, 2, 4, 4)).data)


def test_parameter_repr():
    assert repr(nn.Parameter([1.0])) == "Parameter containing:\ntensor([1.], requires_grad=True)"


# ------------------------------------------------------------------------------------------------------ Sequential


def test_sequential_is_a_sequence():
    relu, flatten = nn.ReLU(), nn.Flatten()
    model = nn.Sequential(relu, flatten, relu)
    assert len(model) == 3
    assert list(model) == [relu, flatten, relu]
    assert model[1] is flatten
    assert model[-1] is relu
    assert list(model[1:]) == [flatten, relu]
    assert [name for name, _ in model[1:].named_modules()] == ["", "1", "2"]
    assert list(model.append(flatten)) == [relu, flatten, relu, flatten]
    with pytest.raises(IndexError):
        model[4]


def test_sequential_runs_a_module_as_often_as_it_is_there():
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

    twice = Doubled()
    assert nn.Sequential(twice, twice, twice)(Tensor(1.0)).item() == 8
    assert nn.Sequential()(3) == 3


def test_sequential_takes_names():
    model = nn.Sequential({"first": nn.Linear(2, 3), "second": nn.Linear(3, 4)})
    assert list(model.state_dict()) == ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert model.second.out_features == 4


@pytest.mark.parametrize("name", ["a.b", "forward", "float", "training"])
def test_sequential_refuses_names(name):
    with pytest.raises(ValueError, match=f"Sequential: '{name}' cannot name a module"):
        nn.Sequential({name: nn.ReLU()})


def test_sequential_refuses_what_is_no_module():
    with pytest.raises(TypeError, match="Sequential: '1' must be a Module, not function"):
        nn.Sequential(nn.ReLU(), F.relu)


# ----------------------------------------------------------------------------------------- errors name the layer


def deep():
    block = nn.Sequential({"conv": nn.Conv2d(3, 4, 5, padding=1), "pool": nn.MaxPool2d(2)})
    return nn.Sequential(nn.Sequential(block, nn.Flatten()), nn.Linear(36, 2))


@pytest.mark.parametrize(
    ("x", "error", "start", "end"),
    [
        (
            images(2, 1, 8, 8),
            ValueError,
            "conv2d: input has 1 channels but weight (4, 3, 5, 5) with groups=1 expects 3; this is layer 0.0.conv,",
            "which takes a float32 (N, 3, H, W) with H >= 3 and W >= 3",
        ),
        (images(2, 3, 2, 8), ValueError, "conv2d: the kernel's height 5", "with H >= 3 and W >= 3"),
        (images(2, 3, 3, 3), ValueError, "max_pool2d: ", "takes (N, C, H, W) with H >= 2 and W >= 2"),
        (images(2, 3, 9, 9), ValueError, "linear: input (2, 36)", ""),
        (images(2, 3, 10, 8), ValueError, "linear: input (2, 48) has 48 features", "takes a float32 (..., 36)"),
        (images(2, 3, 8, 8, dtype=np.float64), TypeError, "conv2d: weight has dtype float32", "H >= 3 and W >= 3"),
        ([1, 2], TypeError, "conv2d: input must be a numpy.ndarray, not list; this is layer 0.0.conv", "W >= 3"),
    ],
)
def test_errors_name_the_layer_and_what_would_fit(x, error, start, end):
    model = deep()
    if not end:
        assert model(x).shape == (2, 2)
        return
    with pytest.raises(error) as caught:
        model(x)
    assert type(caught.value) is error
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith(end)


def test_errors_of_somebody_else_stay_as_they_are():
    class Picky(nn.Module):
        def forward(self, x):
            raise ValueError("not today")

    with pytest.raises(ValueError, match=r"^not today$"):
        nn.Sequential(nn.ReLU(), Picky())(images(1, 1))


def test_errors_of_one_layer_called_alone():
    with pytest.raises(ValueError, match=r"; this is Linear\(in_features=3, out_features=2, bias=True\), which takes"):
        nn.Linear(3, 2)(images(1, 4))


# ----------------------------------------------------------------------------------------- the same for any threads


def test_training_gives_the_same_bits_for_any_number_of_threads():
    def train(threads):
        manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2),
            nn.Conv2d(16, 16, 3, groups=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 9, 10),
        )  # fmt: skip
        with num_threads(threads):
            for step in range(3):
                loss = F.cross_entropy(model(images(16, 3, 16, 16, seed=step)), np.arange(16) % 10)
                model.zero_grad()
                loss.backward()
                for parameter in model.parameters():
                    parameter.data -= 0.1 * parameter.grad.data
        return model.state_dict()

    one = train(1)
    for threads in (2, 3):
        for name, value in train(threads).items():
            np.testing.assert_array_equal(value, one[name], err_msg=f"{name}, {threads} threads")
