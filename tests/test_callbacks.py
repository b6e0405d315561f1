"""What happens beside training: callbacks, schedules, clipped gradients, early stopping; and that it all resumes."""

import numpy as np
import pytest
from test_train import assert_same_network, loader_for_tests, small_run, small_set, without_seconds

from convkit import _random, nn, optim
from convkit.data import DataLoader
from convkit.nn.utils import clip_grad_norm_
from convkit.optim import lr_scheduler
from convkit.train import Callback, EarlyStopping, EpochMetrics, Trainer

pytest.importorskip("safetensors")


class Diary(Callback):
    """Writes down every call, and the learning rate at it."""

    def __init__(self):
        self.entries = []

    def on_fit_begin(self, trainer):
        self.entries.append("begin")

    def on_batch_end(self, trainer, metrics):
        assert all(parameter.grad is not None for parameter in trainer.model.parameters())
        self.entries.append((metrics.epoch, metrics.batch, metrics.loss, trainer.optimizer.param_groups[0]["lr"]))

    def on_epoch_end(self, trainer, metrics):
        self.entries.append((metrics.epoch, trainer.optimizer.param_groups[0]["lr"]))

    def on_fit_end(self, trainer):
        self.entries.append("end")

    def state_dict(self):
        return {"entries": list(self.entries)}

    def load_state_dict(self, state_dict):
        self.entries = [tuple(entry) if isinstance(entry, list) else entry for entry in state_dict["entries"]]


class Stop(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, trainer, metrics):
        trainer.should_stop = metrics.epoch == self.epoch


def run(make=None, every="epoch", callbacks=(), run_dir=None, seed=0, **options):
    """The small run of the trainer's tests, with more to it."""
    trainer, loader = small_run(seed=seed)
    scheduler = None if make is None else make(trainer.optimizer)
    trainer = Trainer(
        trainer.model,
        trainer.optimizer,
        run_dir=run_dir,
        progress=False,
        scheduler=scheduler,
        scheduler_every=every,
        callbacks=callbacks,
        **options,
    )
    return trainer, loader


def test_calls_come_in_order():
    diary = Diary()
    trainer, loader = run(callbacks=[diary])
    history = trainer.fit(loader, epochs=2)
    kinds = [entry if isinstance(entry, str) else len(entry) for entry in diary.entries]
    assert kinds == ["begin", *([4] * 5 + [2]) * 2, "end"]
    losses = [entry[2] for entry in diary.entries[1:6]]
    np.testing.assert_allclose(np.average(losses, weights=[5, 5, 5, 5, 4]), history[0].train_loss)


def test_the_end_is_told_after_an_error():
    diary = Diary()
    trainer, loader = run(callbacks=[diary])
    trainer.loss_fn = None
    with pytest.raises(TypeError):
        trainer.fit(loader)
    assert diary.entries == ["begin", "end"]


def test_a_callback_can_stop():
    trainer, loader = run(callbacks=[Stop(2)])
    assert len(trainer.fit(loader, epochs=9)) == 2


def halved(optimizer):
    return lr_scheduler.ExponentialLR(optimizer, 0.5)


def test_a_schedule_by_epoch():
    diary = Diary()
    trainer, loader = run(halved, callbacks=[diary])
    trainer.fit(loader, epochs=3)
    assert [entry[1] for entry in diary.entries if len(entry) == 2] == [0.01, 0.005, 0.0025]


def test_a_schedule_by_batch():
    diary = Diary()
    trainer, loader = run(halved, "batch", [diary])
    trainer.fit(loader, epochs=2)
    assert [entry[3] for entry in diary.entries if len(entry) == 4] == [0.01 / 2**step for step in range(10)]


@pytest.mark.parametrize("tested", [False, True])
def test_a_plateau_looks_at_the_loss_of_the_test_set_if_there_is_one(tested):
    trainer, loader = run(lambda opt: lr_scheduler.ReduceLROnPlateau(opt, patience=100))
    history = trainer.fit(loader, loader_for_tests() if tested else None, epochs=3)
    losses = [metrics.test_loss if tested else metrics.train_loss for metrics in history]
    assert trainer.scheduler.best == min(losses)


def test_gradients_are_clipped():
    limit = 0.05
    norms = []

    class Norms(Callback):
        def on_batch_end(self, trainer, metrics):
            norms.append(clip_grad_norm_(trainer.model.parameters(), 1e9).item())

    trainer, loader = run(callbacks=[Norms()], clip_grad_norm=limit)
    trainer.fit(loader)
    assert max(norms) == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize(("every", "steps"), [("batch", 15), ("epoch", 3)])
def test_a_cycle_too_short_is_told_before_training(every, steps):
    def cycle(optimizer):
        return lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=steps)

    trainer, loader = run(cycle, every)
    assert len(trainer.fit(loader, epochs=3)) == 3
    trainer, loader = run(cycle, every)
    before = trainer.model.state_dict()
    message = f"4 more epochs take {4 * steps // 3} steps of OneCycleLR, .* total_steps={steps} and has {steps} left"
    with pytest.raises(ValueError, match=message):
        trainer.fit(loader, epochs=4)
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


# ----------------------------------------------------------------------------------------------------------- resume

SCHEDULES = {
    "epoch": lambda opt: lr_scheduler.CosineAnnealingLR(opt, 6),
    "batch": lambda opt: lr_scheduler.OneCycleLR(opt, max_lr=0.02, total_steps=40),
}


@pytest.mark.parametrize("every", SCHEDULES)
def test_goes_on_to_the_same_bits(tmp_path, every):
    def fresh(folder, seed):
        (tmp_path / folder).mkdir(exist_ok=True)
        callbacks = [Diary(), EarlyStopping(patience=100)]
        return run(SCHEDULES[every], every, callbacks, tmp_path / folder, seed, clip_grad_norm=0.5)

    whole, loader = fresh("whole", 0)
    expected = whole.fit(loader, loader_for_tests(), epochs=6)
    first, loader = fresh("parts", 0)
    first.fit(loader, loader_for_tests(), epochs=2)
    second, loader = fresh("parts", 99)
    history = second.fit(loader, loader_for_tests(), epochs=6, resume=True)
    assert without_seconds(history) == without_seconds(expected)
    assert_same_network(second.model, whole.model)
    assert second.scheduler.state_dict() == whole.scheduler.state_dict()
    entries = [trainer.callbacks[0].entries for trainer in (second, whole)]
    assert [entry for entry in entries[0] if entry not in ("begin", "end")] == entries[1][1:-1]
    assert second.callbacks[1].best_epoch == whole.callbacks[1].best_epoch


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    trainer, loader = run(SCHEDULES["epoch"], run_dir=tmp_path)
    trainer.fit(loader)
    for make, callbacks, message in [
        (None, [], r"was saved with CosineAnnealingLR \(scheduler\), and here is neither scheduler nor callbacks"),
        (halved, [], r"was saved with CosineAnnealingLR \(scheduler\), and here is ExponentialLR \(scheduler\)"),
        (SCHEDULES["epoch"], [Diary()], r"and here is CosineAnnealingLR \(scheduler\), Diary \(callback 0\)"),
    ]:
        other, loader = run(make, callbacks=callbacks, run_dir=tmp_path, seed=5)
        before = other.model.state_dict()
        with pytest.raises(ValueError, match=message):
            other.fit(loader, resume=True)
        assert all(np.array_equal(array, before[name]) for name, array in other.model.state_dict().items())


# --------------------------------------------------------------------------------------------------- early stopping


def followed(stopping, measures):
    """Give a stopping callback a course of measures; return the epochs that were run, and the network at the end."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    trainer = Trainer(model, optim.SGD(model.parameters()), progress=False, callbacks=[stopping])
    trainer.test_loader = loader_for_tests()
    stopping.on_fit_begin(trainer)
    epoch = 0
    for epoch, measure in enumerate(measures, start=1):
        model[0].weight.data[...] = epoch
        stopping.on_epoch_end(trainer, EpochMetrics(epoch, measure, measure, measure, measure, 1.0))
        if trainer.should_stop:
            break
    stopping.on_fit_end(trainer)
    return epoch, model[0].weight.item()


@pytest.mark.parametrize(
    ("options", "measures", "epochs", "best"),
    [
        ({"patience": 2}, [5, 4, 6, 6, 6, 1], 5, 2),
        ({"patience": 0}, [5, 4, 4, 1], 3, 2),
        ({"patience": 2}, [5, 6, 6, 4, 6, 6, 3], 7, 7),
        ({"patience": 1, "min_delta": 0.5}, [5, 4.6, 4.4, 4.2, 4.1, 0], 5, 3),
        ({"patience": 1, "monitor": "test_accuracy"}, [0.5, 0.6, 0.6, 0.5, 0.9], 4, 2),
        ({"patience": 1, "monitor": "train_loss"}, [5, 4, 3], 3, 3),
        ({"patience": 1}, [5, np.nan, np.nan, 1], 3, 1),
    ],
)
def test_stops_after_its_patience_and_restores_the_best(options, measures, epochs, best):
    stopping = EarlyStopping(**options)
    assert followed(stopping, measures) == (epochs, best)
    assert (stopping.best_epoch, stopping.best) == (best, measures[best - 1])


def test_the_best_comes_back_after_ctrl_c():
    class Interrupt(Callback):
        def on_batch_end(self, trainer, metrics):
            if metrics.epoch == 2:
                raise KeyboardInterrupt

    trainer, loader = run(callbacks=[EarlyStopping("train_loss"), Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, epochs=5)
    whole, loader = run()
    whole.fit(loader, epochs=1)
    assert_same_network(trainer.model, whole.model)


def test_a_run_that_was_stopped_stays_stopped(tmp_path):
    def fresh(seed):
        return run(callbacks=[EarlyStopping(patience=0, min_delta=1e9)], run_dir=tmp_path, seed=seed)

    trainer, loader = fresh(0)
    assert len(trainer.fit(loader, loader_for_tests(), epochs=9)) == 2
    again, loader = fresh(5)
    assert len(again.fit(loader, loader_for_tests(), epochs=9, resume=True)) == 2
    assert_same_network(again.model, trainer.model)


def test_stopping_on_the_training_set_alone():
    _random.manual_seed(0)
    trainer, _ = run(callbacks=[EarlyStopping("train_accuracy", patience=3)])
    history = trainer.fit(DataLoader(small_set(), 24), epochs=60)
    assert len(history) < 60


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: EarlyStopping("loss"), ValueError, "monitor='loss' must be one of train_loss, train_accuracy, test_l"),
        (lambda: EarlyStopping(patience=-1), ValueError, "must be at least 0, got -1 and 0.0"),
        (lambda: run(halved, "step"), ValueError, "scheduler_every='step' must be 'epoch' or 'batch'"),
        (lambda: run(lambda opt: 0.5), ValueError, "scheduler must be an LRScheduler made for this optimizer"),
        (lambda: run(lambda opt: halved(small_run()[0].optimizer)), ValueError, "made for this optimizer"),
        (lambda: run(lr_scheduler.ReduceLROnPlateau, "batch"), ValueError, "looks at the loss of an epoch"),
        (lambda: run(clip_grad_norm=0), ValueError, "clip_grad_norm=0 must be above 0"),
        (lambda: run(callbacks=[print]), TypeError, "callbacks must be Callbacks, not builtin_function_or_method"),
    ],
)
def test_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_early_stopping_without_a_test_set():
    trainer, loader = run(callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match="EarlyStopping: test_loss needs a test_loader"):
        trainer.fit(loader)
