"""The training loop: what it learns, measures and keeps, and how it stops and goes on."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from convkit import _random, models, nn, optim
from convkit.data import DataLoader, Digits, TensorDataset
from convkit.train import EpochMetrics, Score, Trainer, evaluate, predict
from convkit.train.checkpoint import load_checkpoint
from convkit.train.metrics import write_csv

pytest.importorskip("safetensors")
tqdm = pytest.importorskip("tqdm")

CHECKPOINT = "checkpoint.safetensors"


def small_set(n=24):
    random = np.random.default_rng(1)
    images = random.standard_normal((n, 1, 4, 4)).astype(np.float32)
    return TensorDataset(images, (images.mean(axis=(1, 2, 3)) > 0).astype(np.int64))


def small_run(run_dir=None, seed=0, optimizer=optim.Adam, dataset=None):
    """A network that has everything that must survive a stop: running statistics, dropout, optimizer state."""
    _random.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(48, 2)
    )
    trainer = Trainer(model, optimizer(model.parameters(), lr=0.01), run_dir=run_dir, progress=False)
    return trainer, DataLoader(dataset or small_set(), 5, shuffle=True, seed=seed)


def assert_same_network(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, array in one.state_dict().items():
        assert array.tobytes() == other.state_dict()[name].tobytes(), name


def without_seconds(history):
    return [(m.epoch, m.train_loss, m.train_accuracy, m.test_loss, m.test_accuracy) for m in history]


class Interrupted:
    """Items that raise after a number of them were read, as Ctrl-C would."""

    def __init__(self, items, after, error):
        self.items = items
        self.left = after
        self.error = error

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.items[index]


class TestFit:
    def test_learns_the_digits(self, capsys):
        _random.manual_seed(0)
        model = models.convnet(image_size=(8, 8))
        loader = DataLoader(Digits(train=True), 32, shuffle=True)
        trainer = Trainer(model, optim.Adam(model.parameters()))
        history = trainer.fit(loader, DataLoader(Digits(train=False), 500), epochs=3)
        assert [metrics.epoch for metrics in history] == [1, 2, 3]
        assert history[-1].test_accuracy > 0.95
        assert history[-1].train_loss < history[0].train_loss
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3
        assert lines[2].startswith("epoch 3/3  loss 0.")

    def test_without_progress_nothing_is_printed(self, capsys):
        trainer, loader = small_run()
        trainer.fit(loader)
        assert capsys.readouterr() == ("", "")

    def test_without_a_test_set(self, tmp_path):
        trainer, loader = small_run(tmp_path)
        (metrics,) = trainer.fit(loader)
        assert (metrics.test_loss, metrics.test_accuracy) == (None, None)
        row = (tmp_path / "metrics.csv").read_text().splitlines()[1].split(",")
        assert row[3:5] == ["", ""]

    def test_metrics_have_a_row_an_epoch(self, tmp_path):
        trainer, loader = small_run(tmp_path)
        history = trainer.fit(loader, loader, epochs=3)
        names, *rows = (line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines())
        assert names == ["epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"]
        assert [int(row[0]) for row in rows] == [1, 2, 3]
        np.testing.assert_allclose([float(row[3]) for row in rows], [m.test_loss for m in history], rtol=1e-5)
        assert sorted(os.listdir(tmp_path)) == [CHECKPOINT, "metrics.csv"]

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_loss_that_is_not_finite_stops_the_run(self, tmp_path, bad):
        trainer, loader = small_run(tmp_path)
        trainer.fit(loader, epochs=1)
        before = (tmp_path / CHECKPOINT).read_bytes()
        images, labels = small_set().tensors
        images[12] = bad
        _, spoiled = small_run(dataset=TensorDataset(images, labels))
        spoiled.shuffle = False
        with pytest.raises(
            FloatingPointError, match=r"the loss is nan in epoch 2, batch 3: the images hold NaN or infinity$"
        ):
            trainer.fit(spoiled, epochs=2, resume=True)
        assert (tmp_path / CHECKPOINT).read_bytes() == before

    @pytest.mark.parametrize("progress", [False, True])
    def test_an_error_leaves_no_thread_and_no_bar(self, progress):
        def failing_loss(outputs, labels):
            raise ArithmeticError("a loss of its own")

        trainer, loader = small_run()
        trainer.progress = progress
        trainer.loss_fn = failing_loss
        # The traceback is kept here, as an interactive session keeps it.
        with pytest.raises(ArithmeticError) as caught:
            trainer.fit(loader)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("convkit")]
        assert not list(tqdm.tqdm._instances)
        assert caught.tb is not None

    def test_a_folder_that_cannot_be_saved_to_is_told_before_training(self, tmp_path, monkeypatch):
        with pytest.raises(NotADirectoryError, match=r"run_dir must be an existing folder, got .*nowhere"):
            small_run(tmp_path / "nowhere")
        monkeypatch.setitem(sys.modules, "safetensors", None)
        with pytest.raises(ImportError, match=r"saving checkpoints needs safetensors: pip install 'convkit\[train\]'"):
            small_run(tmp_path)

    def test_the_progress_bar_needs_tqdm(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tqdm", None)
        trainer, loader = small_run()
        trainer.progress = True
        with pytest.raises(ImportError, match=r"the progress bar needs tqdm: pip install 'convkit\[train\]'"):
            trainer.fit(loader)


class TestResume:
    @pytest.mark.parametrize(
        "optimizer",
        [optim.Adam, optim.AdamW, lambda params, lr: optim.SGD(params, lr=lr, momentum=0.9, nesterov=True)],
        ids=["Adam", "AdamW", "SGD"],
    )
    def test_goes_on_to_the_same_bits(self, tmp_path, optimizer):
        (tmp_path / "whole").mkdir()
        (tmp_path / "parts").mkdir()
        whole, loader = small_run(tmp_path / "whole", optimizer=optimizer)
        expected = whole.fit(loader, loader_for_tests(), epochs=5)
        first, loader = small_run(tmp_path / "parts", optimizer=optimizer)
        first.fit(loader, loader_for_tests(), epochs=2)
        second, loader = small_run(tmp_path / "parts", seed=99, optimizer=optimizer)
        history = second.fit(loader, loader_for_tests(), epochs=5, resume=True)
        assert_same_network(second.model, whole.model)
        assert without_seconds(history) == without_seconds(expected)
        for part in ("whole", "parts"):
            assert len((tmp_path / part / "metrics.csv").read_text().splitlines()) == 6

    def test_goes_on_to_the_same_bits_after_ctrl_c_within_an_epoch(self, tmp_path):
        whole, loader = small_run()
        whole.fit(loader, epochs=4)
        # 24 items an epoch: this one stops in the third.
        stopped, loader = small_run(tmp_path, dataset=Interrupted(small_set(), 24 * 2 + 12, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(loader, epochs=4)
        resumed, loader = small_run(tmp_path, seed=99)
        assert len(resumed.fit(loader, epochs=4, resume=True)) == 4
        assert_same_network(resumed.model, whole.model)

    def test_a_finished_run_stays_as_it_is(self, tmp_path):
        trainer, loader = small_run(tmp_path)
        trainer.fit(loader, epochs=2)
        again, loader = small_run(tmp_path, seed=99)
        assert len(again.fit(loader, epochs=2, resume=True)) == 2
        assert_same_network(again.model, trainer.model)

    def test_needs_a_folder_and_a_checkpoint(self, tmp_path):
        trainer, loader = small_run()
        with pytest.raises(ValueError, match="resume needs a run_dir"):
            trainer.fit(loader, resume=True)
        trainer, loader = small_run(tmp_path)
        with pytest.raises(FileNotFoundError, match=CHECKPOINT):
            trainer.fit(loader, resume=True)

    def test_a_checkpoint_of_another_network_is_refused(self, tmp_path):
        trainer, loader = small_run(tmp_path)
        trainer.fit(loader)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        other = Trainer(model, optim.Adam(model.parameters()), run_dir=tmp_path, progress=False)
        before = model.state_dict()
        with pytest.raises(ValueError, match=rf"{CHECKPOINT}: .*0\.weight is unexpected"):
            other.fit(loader, resume=True)
        assert all(np.array_equal(array, model.state_dict()[name]) for name, array in before.items())


def loader_for_tests():
    return DataLoader(small_set(10), 4)


class TestKill:
    """A process that is killed while it saves leaves the checkpoint before, and the run goes on from it."""

    SCRIPT = """
        import os, signal, sys
        from resource import RLIMIT_FSIZE, setrlimit

        sys.path.insert(0, {tests!r})
        from convkit.train.checkpoint import save_checkpoint
        from test_train import small_run

        def kill(*args):
            os.kill(os.getpid(), signal.SIGKILL)

        trainer, loader = small_run({folder!r})
        trainer.fit(loader, epochs=1)
        {moment}
        save_checkpoint(trainer.checkpoint_path, trainer.model, trainer.optimizer, loader, [])
    """

    @pytest.mark.parametrize(
        ("moment", "by"),
        [
            ("os.replace = kill", signal.SIGKILL),
            ("os.fsync = kill", signal.SIGKILL),
            # The kernel itself ends the process when its file grows beyond 1,000 bytes.
            (
                "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); setrlimit(RLIMIT_FSIZE, (1000, 1000))",
                signal.SIGXFSZ,
            ),
        ],
        ids=["before the rename", "before the data is on the disk", "within the write"],
    )
    def test_leaves_the_checkpoint_before(self, tmp_path, moment, by):
        script = textwrap.dedent(self.SCRIPT).format(
            tests=os.path.dirname(__file__), folder=str(tmp_path), moment=moment
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == -by, done.stderr
        whole, loader = small_run()
        whole.fit(loader, epochs=3)
        resumed, loader = small_run(tmp_path, seed=99)
        history = load_checkpoint(tmp_path / CHECKPOINT, resumed.model, resumed.optimizer, loader)
        assert [metrics.epoch for metrics in history] == [1]
        resumed.fit(loader, epochs=3, resume=True)
        assert_same_network(resumed.model, whole.model)

    def test_a_full_disk_leaves_the_checkpoint_before(self, tmp_path, monkeypatch):
        trainer, loader = small_run(tmp_path)
        trainer.fit(loader, epochs=1)
        before = (tmp_path / CHECKPOINT).read_bytes()

        def full(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            trainer.fit(loader, epochs=2)
        assert (tmp_path / CHECKPOINT).read_bytes() == before
        assert sorted(os.listdir(tmp_path)) == [CHECKPOINT, "metrics.csv"]


class TestEvaluation:
    def test_uses_running_statistics_and_changes_nothing(self):
        trainer, loader = small_run()
        trainer.fit(loader)
        model = trainer.model.train()
        before = model.state_dict()
        images, labels = small_set().tensors
        together = predict(model, images)
        alone = np.concatenate([predict(model, images[i : i + 1]) for i in range(len(images))])
        np.testing.assert_allclose(together, alone, rtol=1e-5)
        np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-6)
        score = evaluate(model, DataLoader(small_set(), 7), nn.CrossEntropyLoss())
        expected = -np.log(together.astype(float)[np.arange(len(labels)), labels]).mean()
        np.testing.assert_allclose(score.loss, expected, rtol=1e-5)
        assert score.accuracy == np.mean(together.argmax(axis=1) == labels)
        assert model.training
        assert all(module.training for module in model.modules())
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    def test_an_error_in_the_data_puts_the_mode_back(self):
        trainer, _ = small_run()
        trainer.model.train()
        broken = DataLoader(Interrupted(small_set(), 5, KeyError("gone")), 2)
        with pytest.raises(KeyError):
            evaluate(trainer.model, broken, nn.CrossEntropyLoss())
        assert trainer.model.training

    def test_score_over_batches_of_different_sizes(self):
        random = np.random.default_rng(0)
        outputs, labels, losses = random.standard_normal((50, 4)), random.integers(0, 4, 50), random.random(50)
        score = Score()
        for start, stop in ((0, 20), (20, 21), (21, 50)):
            score.add(losses[start:stop].mean(), outputs[start:stop], labels[start:stop])
        expected = np.zeros((4, 4), int)
        for label, answer in zip(labels, outputs.argmax(axis=1), strict=True):
            expected[label, answer] += 1
        np.testing.assert_array_equal(score.confusion, expected)
        np.testing.assert_allclose(score.loss, losses.mean())
        assert (score.accuracy, score.count) == (np.trace(expected) / 50, 50)

    def test_score_by_class(self):
        score = Score()
        outputs = np.eye(4)[[0, 0, 1, 1, 1, 0, 2, 3]]
        score.add(1.0, outputs, np.array([0, 0, 0, 0, 1, 1, 2, 2]))
        np.testing.assert_array_equal(score.recall, [2 / 4, 1 / 2, 1 / 2, np.nan])
        assert score.balanced_accuracy == 0.5
        assert score.accuracy == 4 / 8
        assert np.isnan(Score().balanced_accuracy)

    def test_score_of_nothing(self):
        score = Score()
        assert score.count == 0
        assert np.isnan(score.loss)
        assert np.isnan(score.accuracy)


def test_csv_keeps_the_old_file_if_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    write_csv(path, [EpochMetrics(1, 0.5, 0.25, None, None, 1.0)])
    assert path.read_text().splitlines()[1] == "1,0.5,0.25,,,1"

    def fail(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_csv(path, [])
    assert len(path.read_text().splitlines()) == 2
