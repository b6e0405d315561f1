"""Optimizers against their equations in float64, and against PyTorch."""

import json

import numpy as np
import pytest

from convkit import nn, optim
from convkit.autograd import Tensor

STEPS = 6


def start(dtype=np.float64):
    """A parameter in C order, and one that lies in memory like a convolution's weight."""
    rng = np.random.default_rng(0)
    return [
        Tensor(rng.standard_normal((4, 3)).astype(dtype), requires_grad=True),
        Tensor(rng.standard_normal((2, 3, 2, 5)).astype(dtype).transpose(3, 2, 0, 1), requires_grad=True),
    ]


def gradients(step):
    rng = np.random.default_rng(100 + step)
    return [rng.standard_normal((4, 3)), rng.standard_normal((2, 3, 2, 5)).transpose(3, 2, 0, 1)]


def run(optimizer, parameters, steps=range(STEPS)):
    for step in steps:
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = Tensor(gradient.astype(parameter.dtype))
        optimizer.step()
    return [parameter.data.copy() for parameter in parameters]


# The equations, in float64 and one after the other.


def plain_sgd(p, gradients, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    velocity = None
    for g in gradients:
        g = (-g if maximize else g) + weight_decay * p
        if momentum:
            velocity = g if velocity is None else momentum * velocity + (1 - dampening) * g
            g = g + momentum * velocity if nesterov else velocity
        p = p - lr * g
    return p


def plain_adam(p, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, maximize=False, decoupled=False):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, 1):
        g = -g if maximize else g
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p


def plain_adamw(p, gradients, weight_decay=1e-2, **options):
    return plain_adam(p, gradients, weight_decay=weight_decay, decoupled=True, **options)


PLAIN = {"SGD": plain_sgd, "Adam": plain_adam, "AdamW": plain_adamw}
CASES = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.7), "eps": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.0), "weight_decay": 0.3}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.3, "maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.5}),
    ("AdamW", {"lr": 0.1, "maximize": True}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_follow_the_equations(name, options):
    parameters = start()
    expected = [
        PLAIN[name](parameter.data.copy(), [gradients(step)[i] for step in range(STEPS)], **options)
        for i, parameter in enumerate(parameters)
    ]
    memory = [parameter.data for parameter in parameters]
    for i, found in enumerate(run(getattr(optim, name)(parameters, **options), parameters)):
        np.testing.assert_allclose(found, expected[i], rtol=1e-12, atol=1e-14)
        assert parameters[i].data is memory[i]
    single = start(np.float32)
    for found, answer in zip(run(getattr(optim, name)(single, **options), single), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, answer, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_are_those_of_pytorch(name, options):
    torch = pytest.importorskip("torch")
    parameters = start()
    theirs = [torch.tensor(parameter.data, requires_grad=True) for parameter in parameters]
    optimizer = getattr(torch.optim, name)(theirs, **options)
    for step in range(STEPS):
        for parameter, gradient in zip(theirs, gradients(step), strict=True):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
    ours = getattr(optim, name)(parameters, **options)
    run(ours, parameters)
    for parameter, their in zip(parameters, theirs, strict=True):
        np.testing.assert_allclose(parameter.data, their.detach().numpy(), rtol=1e-11, atol=1e-13)
    for key, value in ours.defaults.items():
        assert optimizer.defaults[key] == value, key


@pytest.mark.parametrize("name", PLAIN)
def test_gradients_are_left_alone(name):
    options = {"weight_decay": 0.1, "lr": 0.1, **({"momentum": 0.9, "dampening": 0.1} if name == "SGD" else {})}
    parameters = start()
    optimizer = getattr(optim, name)(parameters, **options)
    for step in range(3):
        run(optimizer, parameters, [step])
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            np.testing.assert_array_equal(parameter.grad.data, gradient)


@pytest.mark.parametrize("name", PLAIN)
def test_state_lies_in_memory_like_its_parameter(name):
    parameters = start()
    optimizer = getattr(optim, name)(parameters, **({"momentum": 0.9} if name == "SGD" else {}))
    run(optimizer, parameters, [0])
    optimizer.load_state_dict(optimizer.state_dict())
    for parameter in parameters:
        arrays = [value for value in optimizer.state[parameter].values() if isinstance(value, np.ndarray)]
        assert arrays
        assert all(array.strides == parameter.data.strides for array in arrays)


def test_what_has_no_gradient_stays():
    x, y = start()
    optimizer = optim.Adam([x, y], lr=1)
    before = y.data.copy()
    x.grad = Tensor(np.ones_like(x.data))
    optimizer.step()
    np.testing.assert_array_equal(y.data, before)
    assert list(optimizer.state) == [x]


def test_zero_grad():
    x, y = start()
    optimizer = optim.SGD([x, y])
    x.grad = Tensor(np.ones_like(x.data))
    optimizer.zero_grad(set_to_none=False)
    assert not x.grad.data.any()
    assert y.grad is None
    optimizer.zero_grad()
    assert x.grad is None


def test_closure():
    x = Tensor([3.0], requires_grad=True)
    optimizer = optim.SGD([x], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (x**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9
    assert x.item() == 0
    assert optimizer.step() is None


def test_groups_have_options_of_their_own():
    x, y = start()
    expected = x.data - 0.1 * gradients(0)[0], y.data - 0.5 * gradients(0)[1]
    optimizer = optim.SGD([{"params": [x]}, {"params": y, "lr": 0.5}], lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    for found, answer in zip(run(optimizer, [x, y], [0]), expected, strict=True):
        np.testing.assert_allclose(found, answer)


def test_the_learning_rate_can_change_between_steps():
    x = Tensor([0.0], requires_grad=True)
    optimizer = optim.SGD([x], lr=1)
    for lr in (1, 0.5):
        optimizer.param_groups[0]["lr"] = lr
        x.grad = Tensor([1.0])
        optimizer.step()
    assert x.item() == -1.5


# ----------------------------------------------------------------------------------------------------------- state


def through_json(state):
    """Arrays apart, as in a checkpoint; numbers become strings as keys, tuples become lists."""
    arrays = {
        (number, key): value
        for number, values in state["state"].items()
        for key, value in values.items()
        if isinstance(value, np.ndarray)
    }
    rest = {
        number: {key: value for key, value in values.items() if (number, key) not in arrays}
        for number, values in state["state"].items()
    }
    back = json.loads(json.dumps({"state": rest, "param_groups": state["param_groups"]}))
    for (number, key), value in arrays.items():
        back["state"][str(number)][key] = value
    return back


@pytest.mark.parametrize("route", [lambda state: state, through_json], ids=["plain", "json"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_going_on_from_a_saved_state_gives_the_same_bits(name, options, route):
    parameters = start()
    expected = run(getattr(optim, name)(parameters, **options), parameters)
    parameters = start()
    first = getattr(optim, name)(parameters, **options)
    run(first, parameters, range(3))
    second = getattr(optim, name)(parameters, lr=77)
    second.load_state_dict(route(first.state_dict()))
    run(second, parameters, range(3, STEPS))
    for parameter, answer in zip(parameters, expected, strict=True):
        np.testing.assert_array_equal(parameter.data, answer)


def test_a_saved_state_is_a_copy():
    parameters = start()
    optimizer = optim.Adam(parameters)
    run(optimizer, parameters, [0])
    state = optimizer.state_dict()
    kept = state["state"][0]["exp_avg"].copy()
    run(optimizer, parameters, [1])
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], kept)
    assert state["state"][1]["exp_avg"].flags.c_contiguous
    assert state["state"][0]["step"] == 1
    assert state["param_groups"][0]["params"] == [0, 1]


def broken(change):
    parameters = start()
    optimizer = optim.Adam(parameters)
    run(optimizer, parameters, [0])
    state = optimizer.state_dict()
    change(state)
    return state


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("state"),
        lambda state: state["param_groups"].append(state["param_groups"][0]),
        lambda state: state["param_groups"][0]["params"].append(2),
        lambda state: state["param_groups"][0].pop("lr"),
        lambda state: state["param_groups"][0].update(lr=-1),
        lambda state: state["state"].update({5: {}}),
        lambda state: state["state"].update({"x": {}}),
        lambda state: state["state"][0].update(exp_avg=np.zeros(3)),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change):
    parameters = start()
    optimizer = optim.Adam(parameters, lr=0.25)
    run(optimizer, parameters, [0])
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="Adam: state_dict does not fit these parameters"):
        optimizer.load_state_dict(broken(change))
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, values in before["state"].items():
        for key, value in values.items():
            np.testing.assert_array_equal(after["state"][number][key], value)


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda x: optim.SGD([]), ValueError, "SGD: params is empty"),
        (lambda x: optim.SGD(x), TypeError, "SGD: params must be an iterable of tensors or groups, not a Tensor"),
        (lambda x: optim.SGD([x, x]), ValueError, r"SGD: params\[1\], of shape \(3,\), is there twice"),
        (lambda x: optim.SGD([{"params": [x]}, {"params": [x]}]), ValueError, "is there twice"),
        (lambda x: optim.SGD([np.ones(3)]), TypeError, r"SGD: params\[0\] must be a Tensor, not ndarray"),
        (lambda x: optim.SGD([2 * x]), ValueError, r"SGD: params\[0\] was computed"),
        (lambda x: optim.SGD([{"lr": 1}]), TypeError, "a group must be a dict with 'params'"),
        (lambda x: optim.SGD([{"params": [x], "rate": 1}]), ValueError, "SGD: there is no option rate"),
        (lambda x: optim.SGD([x], lr=-1), ValueError, "SGD: lr=-1 must be at least 0"),
        (lambda x: optim.SGD([x], lr=float("nan")), ValueError, "SGD: lr=nan"),
        (lambda x: optim.SGD([x], lr="0.1"), TypeError, "SGD: lr='0.1' must be a number"),
        (lambda x: optim.SGD([x], momentum=-0.5), ValueError, "SGD: momentum=-0.5"),
        (lambda x: optim.SGD([x], weight_decay=-1), ValueError, "SGD: weight_decay=-1"),
        (lambda x: optim.SGD([x], nesterov=True), ValueError, "SGD: nesterov=True needs momentum > 0"),
        (lambda x: optim.SGD([{"params": [x], "lr": -2}]), ValueError, "SGD: lr=-2"),
        (lambda x: optim.Adam([x], betas=(0.9, 1.0)), ValueError, r"Adam: betas=\(0.9, 1.0\)"),
        (lambda x: optim.Adam([x], betas=(0.9,)), ValueError, "Adam: betas="),
        (lambda x: optim.Adam([x], eps=-1), ValueError, "Adam: eps=-1"),
        (lambda x: optim.AdamW([x], weight_decay=-1), ValueError, "AdamW: weight_decay=-1"),
    ],
)
def test_optimizers_refuse(build, error, message):
    with pytest.raises(error, match=message):
        build(Tensor(np.ones(3), requires_grad=True))


# -------------------------------------------------------------------------------------------------- they do train


@pytest.mark.parametrize("name", PLAIN)
def test_a_network_learns(name):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    images = rng.standard_normal((64, 1, 6, 6)).astype(np.float32)
    images[labels == 1, :, 2:4, :] += 2  # a bright bar
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    optimizer = getattr(optim, name)(model.parameters(), lr=0.05)
    criterion = nn.CrossEntropyLoss()
    for _ in range(60):
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    assert np.mean(model(images).data.argmax(axis=1) == labels) > 0.95
