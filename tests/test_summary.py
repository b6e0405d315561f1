"""Module.summary: counts worked out by hand, receptive fields seen by NaNs, and nothing left behind."""

import numpy as np
import pytest

from convkit import functional as F
from convkit import models, nn
from convkit._random import get_rng_state


class Residual(nn.Module):
    """With a forward of its own: a branch, operators, functions, a layer that runs twice, parameters of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(4 * 4 * 4, 7)
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = self.pool(F.relu(self.body(self.body(x)) + x) * self.scale)
        return self.fc(x.flatten(1))


def test_lenet5_by_hand():
    summary = models.lenet5().summary((1, 1, 28, 28))
    rows = {layer.name: layer for layer in summary.layers}
    assert [row.output_shape for row in rows.values()][:3] == [(1, 6, 28, 28), (1, 6, 28, 28), (1, 6, 14, 14)]
    assert rows["conv1"].kind == "Conv2d"
    assert [rows[name].neurons for name in ("conv1", "conv2", "fc3")] == [28 * 28 * 6, 10 * 10 * 16, 10]
    assert rows["conv2"].parameters == 16 * (6 * 25 + 1)
    assert rows["conv1"].multiply_adds == 28 * 28 * 6 * 25
    assert rows["fc1"].multiply_adds == 400 * 120
    assert [row.receptive_field[0] for row in rows.values()] == [5, 5, 6, 14, 14, 16, 16, 28, 28, 28, 28, 28]
    assert rows["conv2"].memory == 10 * 10 * 16 * 4
    assert summary.parameters == summary.trained == 61_706
    assert summary.parameter_memory == 4 * 61_706
    assert summary.multiply_adds == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert summary.memory == sum(row.memory for row in rows.values())


def test_counts_are_of_all_images():
    one, two = (models.lenet5().summary((images, 1, 28, 28)) for images in (1, 2))
    assert two.layers[0].output_shape == (2, 6, 28, 28)
    assert two.multiply_adds == 2 * one.multiply_adds
    assert two.layers[0].neurons == one.layers[0].neurons


def test_a_forward_of_ones_own():
    summary = Residual().summary((1, 3, 16, 16))
    assert [layer.name for layer in summary.layers] == [
        "stem", "body.0", "body.1", "body.0", "body.1", "pool", "fc", ""
    ]  # fmt: skip
    assert [layer.parameters for layer in summary.layers] == [3 * 36 + 4, 4 * 36 + 4, 8, 0, 0, 0, 64 * 7 + 7, 1]
    assert sum(layer.parameters for layer in summary.layers) == summary.parameters
    assert [layer.receptive_field for layer in summary.layers[:6]] == [(n, n) for n in (3, 7, 7, 11, 11, 13)]
    assert summary.layers[-1].kind == "Residual"
    assert summary.layers[-1].receptive_field == (16, 16)


LAYERS = {
    "convolutions": (nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, (2, 3), stride=(2, 3), dilation=(3, 1)), nn.Conv2d(2, 1, 2)),
    "poolings": (nn.MaxPool2d(3, 2, dilation=2), nn.AvgPool2d(2), nn.LPPool2d(1, (1, 3), 1)),
    "weights": (nn.WeightedPool2d(np.ones((3, 2)), 2), nn.ReLU(), nn.MaxPool2d(2, 1)),
    "transposed": (nn.Conv2d(1, 1, 3, stride=2), nn.ConvTranspose2d(1, 1, 4, stride=2), nn.Conv2d(1, 1, 3)),
    "adaptive": (nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d((6, 15)), nn.Conv2d(1, 1, 2)),
    "global": (nn.Conv2d(1, 2, 4, stride=2), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2, 3)),
}


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_receptive_fields_are_what_an_output_sees(layers):
    """A NaN in a row or column of the image reaches the outputs that see it, and no others."""
    model, size = nn.Sequential(*layers), 32
    found = model.summary((1, 1, size, size)).layers[-1].receptive_field
    seen = [0, 0]
    for axis in (0, 1):
        for place in range(size):
            image = np.ones((1, 1, size, size), np.float32)
            image[(0, 0, *[slice(None)] * axis, place)] = np.nan
            output = model(image).data
            middle = tuple(length // 2 for length in output.shape[2:])
            seen[axis] += bool(np.isnan(output[(0, 0, *middle) if output.ndim == 4 else (0, 0)]))
    dilated = any(getattr(layer, "dilation", 1) not in (1, (1, 1)) for layer in layers)
    if dilated:  # between the taps it sees nothing
        assert all(number <= length for number, length in zip(seen, found, strict=True))
    else:
        assert tuple(seen) == found


def test_dilation_by_hand():
    layers = nn.Sequential(*LAYERS["convolutions"]).summary((1, 1, 32, 32)).layers
    assert [layer.receptive_field for layer in layers] == [(3, 3), (6, 5), (8, 8)]


def test_windows_that_are_not_layers_make_a_field_unknown():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            self.again = nn.Conv2d(2, 2, 3)
            self.fc = nn.Linear(2 * 5 * 5, 3)

        def forward(self, x):
            return self.fc(self.again(F.max_pool2d(self.conv(x), 2)).flatten(1))

    summary = Functional().summary((1, 1, 16, 16))
    assert [layer.receptive_field for layer in summary.layers] == [(3, 3), None, (16, 16)]
    assert "?" in repr(summary)


def test_what_is_no_image_has_no_field():
    summary = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).summary((5, 4))
    assert [layer.receptive_field for layer in summary.layers] == [None, None]
    assert summary.multiply_adds == 5 * 12


def test_nothing_is_left_behind():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Dropout(0.5)), nn.Flatten())
    model[2].eval()
    state, random = model.state_dict(), get_rng_state()
    model.summary((2, 1, 8, 8))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    assert get_rng_state() == random
    assert [module.training for module in model.modules()] == [True, True, True, False, False, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ValueError, match="layer 0, Conv2d"):
        model.summary((2, 3, 8, 8))
    assert [module.training for module in model.modules()] == [True, True, True, False, False, True]
    assert not any(module._forward_hooks for module in model.modules())


def test_frozen_parameters_and_other_dtypes():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, dtype=np.float64), nn.Conv2d(2, 2, 3, bias=False, dtype=np.float64))
    model[0].requires_grad_(False)
    summary = model.summary((1, 1, 8, 8))
    assert (summary.parameters, summary.trained) == (20 + 36, 36)
    assert summary.layers[0].memory == 2 * 36 * 8
    assert "56 parameters, 20 of them frozen" in repr(summary)


def test_the_table():
    text = repr(nn.Sequential({"conv": nn.Conv2d(3, 6, 5), "pool": nn.MaxPool2d(2)}).summary((1, 3, 32, 32)))
    assert text.splitlines() == [
        "layer             output shape    neurons  parameters  multiply-adds  field   memory",
        "------------------------------------------------------------------------------------",
        "conv (Conv2d)     (1, 6, 28, 28)    4,704         456        352,800    5x5  18.8 kB",
        "pool (MaxPool2d)  (1, 6, 14, 14)    1,176           0              0    6x6   4.7 kB",
        "------------------------------------------------------------------------------------",
        "input (1, 3, 32, 32)",
        "456 parameters",
        "352,800 multiply-adds",
        "1.82 kB of parameters, 23.5 kB of outputs",
    ]


@pytest.mark.parametrize(
    ("shape", "error"), [(28, TypeError), ((), TypeError), ((1, 1, 0, 8), ValueError), ((1, 1, 8.0, 8), TypeError)]
)
def test_shapes_that_are_none(shape, error):
    with pytest.raises(error, match="summary: input_shape="):
        nn.ReLU().summary(shape)
