"""Forward hooks: they see what a module computes, may change it, and go away again."""

import copy

import numpy as np
import pytest

from convkit import nn
from convkit.autograd import Tensor

IMAGES = np.ones((2, 1, 4, 4), np.float32)


class Twice(nn.Module):
    """Calls its layer twice, once with an argument by name."""

    def __init__(self):
        super().__init__()
        self.layer = nn.ReLU()

    def forward(self, x):
        return self.layer(input=self.layer(x))


def test_a_hook_sees_module_arguments_and_output():
    model, seen = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten()), []
    model[0].register_forward_hook(lambda *found: seen.append(found))
    output = model[0](IMAGES)
    ((module, args, shown),) = seen
    assert module is model[0]
    assert args[0] is IMAGES
    assert len(args) == 1
    assert shown is output


def test_a_hook_runs_at_every_call_after_the_children_and_in_order():
    model, calls = Twice(), []
    for name, module in (("net", model), ("layer", model.layer), ("layer again", model.layer)):
        module.register_forward_hook(lambda module, args, output, name=name: calls.append((name, len(args))))
    model(IMAGES)
    assert calls == [("layer", 1), ("layer again", 1), ("layer", 0), ("layer again", 0), ("net", 1)]


def test_a_hook_changes_the_output_and_the_gradient_follows():
    layer, x = nn.ReLU(), Tensor(IMAGES, requires_grad=True)
    layer.register_forward_hook(lambda module, args, output: output * 2)
    layer.register_forward_hook(lambda module, args, output: output + 1)
    layer.register_forward_hook(lambda module, args, output: None)
    output = layer(x)
    assert np.all(output.data == 3)
    output.sum().backward()
    assert np.all(x.grad.data == 2)


def test_a_hook_is_removed_by_its_handle_or_the_end_of_a_block():
    layer, calls = nn.ReLU(), []
    handle = layer.register_forward_hook(lambda module, args, output: calls.append("first"))
    with layer.register_forward_hook(lambda module, args, output: calls.append("second")):
        layer(IMAGES)
    layer(IMAGES)
    handle.remove()
    handle.remove()
    layer(IMAGES)
    assert calls == ["first", "second", "first"]
    with pytest.raises(ZeroDivisionError), layer.register_forward_hook(lambda module, args, output: 1 // 0):
        layer(IMAGES)
    layer(IMAGES)


def test_a_hook_may_remove_itself():
    layer, calls = nn.ReLU(), []

    def once(module, args, output):
        calls.append("once")
        handle.remove()

    handle = layer.register_forward_hook(once)
    layer.register_forward_hook(lambda module, args, output: calls.append("always"))
    layer(IMAGES)
    layer(IMAGES)
    assert calls == ["once", "always", "always"]


def test_hooks_belong_to_one_module_and_are_no_state():
    first, second, calls = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), []
    state, text = list(first.state_dict()), repr(first)
    first.register_forward_hook(lambda module, args, output: calls.append(module))
    second(IMAGES)
    assert calls == []
    assert list(first.state_dict()) == state
    assert repr(first) == text
    twin = copy.deepcopy(first)
    twin(IMAGES)
    assert calls == [twin]


def test_an_error_in_a_hook_is_not_taken_for_the_layers_own():
    layer = nn.Conv2d(1, 1, 1)

    def fail(module, args, output):
        raise ValueError("mine")

    layer.register_forward_hook(fail)
    with pytest.raises(ValueError, match=r"^mine$"):
        layer(IMAGES)


def test_a_layer_that_fails_calls_no_hook():
    layer, calls = nn.Conv2d(2, 1, 1), []
    layer.register_forward_hook(lambda module, args, output: calls.append(module))
    with pytest.raises(ValueError, match="Conv2d"):
        layer(IMAGES)
    assert calls == []
