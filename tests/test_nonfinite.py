"""A loss that is NaN or infinite: training stops, and the error says where it began."""

import re

import numpy as np
import pytest

from convkit import _random, nn, optim
from convkit import functional as F
from convkit.data import DataLoader, TensorDataset
from convkit.train import Trainer, evaluate
from convkit.train.nonfinite import culprit

IMAGES = np.random.default_rng(0).standard_normal((6, 1, 4, 4)).astype(np.float32)
LABELS = np.arange(6) % 2


class Nested(nn.Module):
    """Two levels of names, dropout, running statistics, and arithmetic between the layers."""

    def __init__(self, divisor=1.0):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(48, 2)
        self.divisor = np.float32(divisor)

    def forward(self, x):
        return self.fc(self.drop(F.flatten(self.features(x), 1) / self.divisor))


def stopped(model, images=IMAGES, loss_fn=None, lr=0.1, epochs=1):
    loader = DataLoader(TensorDataset(images, LABELS), 3)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=lr), loss_fn, progress=False)
    with pytest.raises(FloatingPointError) as caught, np.errstate(all="ignore"):
        trainer.fit(loader, epochs=epochs)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_layer_whose_parameters_are_spoiled(bad):
    model = Nested()
    model.fc.weight.data[1, 5] = bad
    assert re.match(
        r"the loss is (nan|inf) in epoch 1, batch 1: layer fc, Linear\(.*\), was the first to give NaN or infinity "
        r"\(an earlier step put them into its weight\); try a smaller learning rate, or clip_grad_norm$",
        stopped(model),
    )


def test_the_innermost_layer_is_named():
    model = Nested()
    model.features[0].bias.data[0] = np.nan
    assert "layer features.0, Conv2d(1, 3" in stopped(model)


def test_a_layer_that_overflows_from_finite_values():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2))
    for parameter in model.parameters():
        parameter.data[...] = 1e30
    message = stopped(model, np.abs(IMAGES))
    assert "layer 3, Linear(" in message
    assert "was the first to give NaN or infinity; try" in message


def test_a_rate_that_is_too_large():
    _random.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    message = stopped(model, lr=1e30, epochs=9)
    assert re.search(r"in epoch \d, batch \d: layer \d, Linear\(.*\), was the first to give NaN or infinity", message)


def test_arithmetic_between_layers():
    assert "NaN or infinity first came out of what is computed before layer drop, Dropout" in stopped(Nested(0.0))


def test_arithmetic_at_the_end_of_a_forward():
    class Log(Nested):
        def forward(self, x):
            return super().forward(x) / np.float32(0)

    assert "batch 1: Log, was the first to give NaN or infinity; try" in stopped(Log())


def test_a_loss_of_its_own():
    message = stopped(Nested(), loss_fn=lambda outputs, labels: outputs.sum() / np.float32(0))
    assert "what every layer gives is finite, only the loss made of it is not; try" in message


def test_images():
    images = IMAGES.copy()
    images[4] = np.inf
    assert stopped(Nested(), images).endswith("in epoch 1, batch 2: the images hold NaN or infinity")


def test_a_test_loss_warns_and_training_goes_on():
    images = IMAGES.copy()
    images[4] = np.inf
    model = Nested()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), progress=False)
    train, test = (DataLoader(TensorDataset(data, LABELS), 3) for data in (IMAGES, images))
    message = "the test loss is nan in batch 2: the images hold NaN or infinity$"
    with pytest.warns(RuntimeWarning, match=message) as caught, np.errstate(all="ignore"):
        history = trainer.fit(train, test, epochs=2)
    assert len(caught) == 2, "one an epoch"
    assert all(np.isfinite(metrics.train_loss) and np.isnan(metrics.test_loss) for metrics in history)
    assert model.training


def test_a_layer_that_only_a_test_spoils():
    model = Nested()
    model.features[1].running_var.data[0] = np.nan
    message = "the test loss is nan in batch 1: layer features.1, BatchNorm2d.* was the first to give NaN or infinity"
    with pytest.warns(RuntimeWarning, match=message) as caught, np.errstate(all="ignore"):
        score = evaluate(model, DataLoader(TensorDataset(IMAGES, LABELS), 3), nn.CrossEntropyLoss())
    assert len(caught) == 1, "the first batch alone"
    assert score.count == 6
    assert np.isnan(score.loss)


def test_the_search_changes_nothing():
    model = Nested()
    model.fc.weight.data[...] = np.nan
    state, random = model.state_dict(), _random.get_rng_state()
    culprit(model, IMAGES)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    assert _random.get_rng_state() == random
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
