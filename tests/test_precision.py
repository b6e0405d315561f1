"""How precisely float32 convolutions compute, and who decides."""

import threading

import numpy as np
import pytest
from cases import assert_same_bits, reals, refuses

import convkit as ck
from convkit import _precision, ops
from convkit.ops import _convolution


@pytest.fixture
def restored():
    """Give the process its precision back."""
    before = ck.get_float32_precision()
    yield before
    ck.set_float32_precision(before)


def test_the_default_is_the_highest():
    assert ck.get_float32_precision() == "highest"


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
def test_set_and_get(precision, capsys):
    ck.set_float32_precision(precision)
    assert ck.get_float32_precision() == precision
    assert ck.config()["float32_precision"] == precision
    ck.show_config()
    assert f"float32_precision  {precision}\n" in capsys.readouterr().out


def test_context_manager_restores(restored):
    with ck.float32_precision("high"):
        assert ck.get_float32_precision() == "high"
        with ck.float32_precision("medium"):
            assert ck.get_float32_precision() == "medium"
        assert ck.get_float32_precision() == "high"
    with pytest.raises(KeyError), ck.float32_precision("high"):
        raise KeyError
    assert ck.get_float32_precision() == restored


def test_context_comes_before_what_is_set(restored):
    with ck.float32_precision("high"):
        ck.set_float32_precision("medium")
        assert ck.get_float32_precision() == "high"
    assert ck.get_float32_precision() == "medium"


def test_context_of_one_thread_is_not_that_of_another(restored):
    seen = []
    with ck.float32_precision("medium"):
        other = threading.Thread(target=lambda: seen.append(ck.get_float32_precision()))
        other.start()
        other.join()
    assert seen == [restored]


def test_what_is_set_is_seen_by_every_thread(restored):
    seen = []
    ck.set_float32_precision("high")
    other = threading.Thread(target=lambda: seen.append(ck.get_float32_precision()))
    other.start()
    other.join()
    assert seen == ["high"]


@pytest.mark.parametrize("value", ["tf32", "HIGH", "", None, True, 1, ["high"], np.array(["high", "medium"])], ids=str)
def test_what_is_no_precision(restored, value):
    def enter(precision):
        with ck.float32_precision(precision):
            pass

    rule = r"precision=.* must be 'highest', 'high' or 'medium'"
    refuses(ValueError, rf"^set_float32_precision: {rule}", ck.set_float32_precision, value)
    refuses(ValueError, rf"^float32_precision: {rule}", enter, value)
    assert ck.get_float32_precision() == restored


class Seen:
    """The layers that algorithms are chosen for."""

    def __init__(self, monkeypatch):
        self.layers = []
        for rules in ("choose", "choose_linear"):
            monkeypatch.setattr(_convolution, rules, self.noting(getattr(_convolution, rules)))

    def noting(self, rules):
        def choose(layer):
            self.layers.append(layer)
            return rules(layer)

        return choose

    def take(self):
        """Return pass and precision of each since the last time."""
        seen, self.layers = [(layer.pass_, layer.precision) for layer in self.layers], []
        return seen


def test_gradients_have_the_precision_in_force_when_they_are_computed(monkeypatch):
    seen = Seen(monkeypatch)
    x, w = ck.tensor(np.ones((1, 3, 6, 7), np.float32)), ck.tensor(np.ones((5, 3, 3, 3), np.float32))
    x.requires_grad = w.requires_grad = True
    with ck.float32_precision("high"):
        y = ck.functional.conv2d(x, w)
    assert seen.take() == [("forward", "high")]
    with ck.float32_precision("medium"):
        y.sum().backward()
    assert sorted(seen.take()) == [("backward_input", "medium"), ("backward_weight", "medium")]


def test_every_op_on_convolutions_asks(monkeypatch):
    seen = Seen(monkeypatch)
    x, w = np.ones((1, 3, 6, 7), np.float32), np.ones((3, 3, 3, 3), np.float32)
    a, b = np.ones((2, 4), np.float32), np.ones((5, 4), np.float32)
    y, z = ops.conv_transpose2d(x, w), ops.linear(a, b)
    assert seen.take() == [("backward_input", "highest"), ("forward", "highest")]
    with ck.float32_precision("medium"):
        ops.conv_transpose2d_backward_input(x.shape, w, y)
        ops.conv_transpose2d_backward_weight(x, w.shape, y)
        ops.linear_backward_input(a.shape, b, z)
        ops.linear_backward_weight(a, b.shape, z)
    passes = ["forward", "backward_weight", "backward_input", "backward_weight"]
    assert seen.take() == [(name, "medium") for name in passes]


def test_float64_is_not_concerned(monkeypatch):
    seen = Seen(monkeypatch)
    with ck.float32_precision("medium"):
        ops.conv2d(np.ones((1, 3, 6, 7)), np.ones((5, 3, 3, 3)))
    assert seen.take() == [("forward", "highest")]


def test_a_context_changes_nothing_behind_it():
    rng = np.random.default_rng(7)
    x, w = reals(rng, (2, 33, 9, 10), np.float32), reals(rng, (40, 33, 3, 3), np.float32)
    before = ops.conv2d(x, w)
    for precision in _precision.PRECISIONS:
        with ck.float32_precision(precision):
            ops.conv2d(x, w)
    assert_same_bits({"before": [before], "behind": [ops.conv2d(x, w)]}, "conv2d")
