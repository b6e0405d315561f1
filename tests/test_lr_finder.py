"""The search for a learning rate: what it finds, and that it leaves everything as it was."""

import numpy as np
import pytest
from test_figures import assert_nothing_is_cut_off
from test_train import small_run

from convkit import _random, nn, optim
from convkit.data import DataLoader, TensorDataset
from convkit.train import LearningRates, figures, lr_finder

SLOPE = 4.0


def bowl(batches=40, lr=1.0):
    """A network whose loss is a parabola of curvature `SLOPE`: it diverges at rates above ``2/SLOPE``."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    model[0].weight.data[...] = 1
    images, labels = np.ones((batches, 1), np.float32), np.zeros(batches, np.int64)
    loss_fn = lambda outputs, labels: SLOPE / 2 * (outputs**2).mean()  # noqa: E731
    return model, optim.SGD(model.parameters(), lr=lr), DataLoader(TensorDataset(images, labels), 1), loss_fn


def test_losses_are_those_of_steps_with_growing_rates():
    found = lr_finder(*bowl(), start_lr=1e-3, end_lr=10, num_iter=60, progress=False)
    weight, expected = 1.0, []
    for rate in np.geomspace(1e-3, 10, 60):
        loss = SLOPE / 2 * weight**2
        if expected and loss > 4 * min(expected):
            break
        expected.append(loss)
        weight -= rate * SLOPE * weight
    assert 5 < len(expected) < 60
    np.testing.assert_allclose(found.losses, expected, rtol=1e-3, atol=1e-12)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-3, 10, 60)[: len(expected)])


def test_the_suggestion_is_where_the_smoothed_loss_falls_fastest():
    rates = np.geomspace(1e-5, 1, 101)
    losses = 2 - np.tanh(2 * np.log10(rates / 1e-3)) + np.where(rates > 0.3, 9.0, 0.0)
    found = LearningRates(rates, losses)
    assert abs(np.log10(found.suggestion / 1e-3)) < 0.06
    np.testing.assert_allclose(found.smoothed[50], losses[45:56].mean())
    np.testing.assert_allclose(found.smoothed[0], (losses[:6].sum() + 5 * losses[0]) / 11)


def test_everything_is_put_back():
    trainer, loader = small_run()
    trainer.fit(loader, epochs=1)
    model, optimizer = trainer.model.eval(), trainer.optimizer
    weights, state = model.state_dict(), optimizer.state_dict()
    before = _random.get_rng_state(), loader.state_dict()
    memory = [parameter.data for parameter in model.parameters()]
    found = lr_finder(model, optimizer, loader, num_iter=12, progress=False)
    assert len(found.rates) > 5  # more than an epoch has batches
    assert (_random.get_rng_state(), loader.state_dict()) == before
    assert not model.training
    assert all(one.data is other for one, other in zip(model.parameters(), memory, strict=True))
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, weights[name])
    assert optimizer.state_dict()["param_groups"] == state["param_groups"]
    for number, values in state["state"].items():
        for key, value in values.items():
            np.testing.assert_array_equal(optimizer.state_dict()["state"][number][key], value)


def test_everything_is_put_back_after_ctrl_c():
    model, optimizer, loader, _ = bowl()
    calls = []

    def interrupted(outputs, labels):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return (outputs**2).mean()

    with pytest.raises(KeyboardInterrupt):
        lr_finder(model, optimizer, loader, interrupted, progress=False)
    assert model[0].weight.item() == 1
    assert optimizer.param_groups[0]["lr"] == 1
    assert loader.epoch == 0


def test_a_loss_that_diverges_at_once():
    model, optimizer, loader, loss_fn = bowl()
    with pytest.raises(ValueError, match=r"diverged after 1 steps, at rate 5\.9: try a smaller start_lr than 5"):
        lr_finder(model, optimizer, loader, loss_fn, start_lr=5, end_lr=100, num_iter=20, progress=False)
    with pytest.raises(ValueError, match="diverged after 0 steps"):
        lr_finder(model, optimizer, loader, lambda outputs, labels: outputs.sum() * np.inf, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_lr": 0}, "0 < start_lr < end_lr, got 0"),
        ({"start_lr": 1, "end_lr": 0.1}, "got 1 and 0.1"),
        ({"end_lr": np.inf}, "start_lr < end_lr"),
        ({"num_iter": 4}, "num_iter must be at least 5, got 4"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lr_finder(*bowl(), **options, progress=False)


def test_shows_a_bar(capsys):
    pytest.importorskip("tqdm")
    lr_finder(*bowl(), start_lr=1e-3, num_iter=10)
    assert capsys.readouterr().out == ""


def test_figure():
    pytest.importorskip("matplotlib")
    found = lr_finder(*bowl(), start_lr=1e-3, progress=False)
    figure = figures.learning_rates(found)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("learning rate", "loss of the batch", "log")
    batch, smoothed, suggestion = axes.get_lines()
    np.testing.assert_array_equal(batch.get_ydata(), found.losses)
    np.testing.assert_array_equal(smoothed.get_ydata(), found.smoothed)
    assert suggestion.get_xdata()[0] == found.suggestion
    assert_nothing_is_cut_off(figure)
