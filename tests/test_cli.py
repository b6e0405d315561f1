"""The command: the main job from start to end, and one line for every mistake."""

import csv
import json
import math
import re
import signal
import struct
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from commands import refused

import convkit as ck
from convkit.cli.schedules import schedule

for module in ("matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(module)
Image = pytest.importorskip("PIL.Image")

FILES = ["checkpoint", "confusion", "curves", "filters", "metrics", "model", "settings"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, an empty cache, and the number of threads put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVKIT_DATA_DIR", str(tmp_path / "cache"))
    threads = ck.get_num_threads()
    yield tmp_path
    ck.set_num_threads(threads)


def bits(folder):
    return (folder / "model.safetensors").read_bytes()


def ink_on_paper(path, pixels):
    """Write a digit of 8x8 pixels, 0 to 16, as a large dark drawing on white."""
    drawing = 255 - (pixels * (255 / 16)).astype(np.uint8)
    Image.fromarray(drawing.repeat(20, 0).repeat(20, 1)).save(path)


def test_the_main_job(convkit, folder):
    code, out, err = convkit("train")
    assert (code, err) == (0, "")
    run = folder / "runs" / "digits-convnet"
    assert sorted(path.stem for path in run.iterdir()) == FILES
    *_, last = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    told = re.search(r"^test accuracy (\S+)%: (\d+) of 355 images$", out, re.MULTILINE)
    assert float(last["test_accuracy"]) >= 0.97
    assert round(float(last["test_accuracy"]) * 355) == int(told[2])
    assert "runs/digits-convnet/\n" in out
    for path in run.glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 300

    test = ck.data.Digits(train=False)
    for index in range(5):
        ink_on_paper(f"{index}.png", test.data[index])
    code, out, err = convkit("predict", "runs/digits-convnet", *(f"{index}.png" for index in range(5)), "--top", 2)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 5 * 3
    assert lines[0] == "0.png (light and dark swapped)"
    right = [int(line.split()[0]) for line in lines[1::3]] == test.targets[:5]
    assert right.sum() >= 4
    assert all(re.fullmatch(r"  \d  +\d+\.\d\d%", line) for line in lines[1::3])


def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(convkit, folder):
    for threads in (1, 2):
        code, *_ = convkit("train", "--epochs", 2, "--seed", 7, "--threads", threads, "--out", f"run{threads}")
        assert code == 0
    assert bits(folder / "run1") == bits(folder / "run2")
    convkit("train", "--epochs", 2, "--seed", 8, "--out", "other")
    assert bits(folder / "other") != bits(folder / "run1")


def test_runs_are_never_overwritten(convkit, folder):
    for _ in range(3):
        assert convkit("train", "--epochs", 1)[0] == 0
    assert sorted(path.name for path in (folder / "runs").iterdir()) == [
        "digits-convnet",
        "digits-convnet-2",
        "digits-convnet-3",
    ]
    refused(convkit("train", "--out", "runs/digits-convnet"), "is not empty: choose another --out, or go on with")


def test_resume_goes_on_to_the_same_bits(convkit, folder):
    convkit("train", "--epochs", 4, "--batch-size", 64, "--out", "whole")
    convkit("train", "--epochs", 2, "--batch-size", 64, "--out", "parts")
    code, out, _ = convkit("train", "--resume", "parts", "--epochs", 4)
    assert code == 0
    assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch")] == ["3/4", "4/4"]
    assert bits(folder / "parts") == bits(folder / "whole")
    assert json.loads((folder / "parts" / "settings.json").read_text())["epochs"] == 4


def test_resume_keeps_the_settings(convkit):
    convkit("train", "--epochs", 1, "--out", "run")
    refused(convkit("train", "--resume", "run", "--lr", 0.1), "--lr 0.1 does not fit run, which has 0.001")
    refused(convkit("train", "--resume", "run", "--batch-size", 5), "--batch-size 5 does not fit run, which has 32")
    refused(convkit("train", "--resume", "run", "--out", "new"), "--out new does not go with --resume")
    assert convkit("train", "--resume", "run", "--seed", 0)[0] == 0


# A schedule, early stopping, clipped gradients and TensorBoard's files, all at once.
MORE = ["--lr", 0.01, "--clip-grad-norm", 2, "--patience", 3]


def stopped_by_ctrl_c(monkeypatch, epoch):
    """Let training be interrupted in the middle of an epoch."""
    from convkit.train import trainer

    summary = trainer.summary

    def interrupted(metrics, epochs):
        if metrics.epoch == epoch:
            raise KeyboardInterrupt
        return summary(metrics, epochs)

    monkeypatch.setattr(trainer, "summary", interrupted)


@pytest.mark.parametrize("schedule", ["step", "cosine", "one-cycle"])
def test_resume_goes_on_in_a_schedule(convkit, folder, monkeypatch, schedule):
    options = ["--epochs", 4, "--batch-size", 64, "--schedule", schedule, *MORE]
    assert convkit("train", *options, "--out", "whole")[0] == 0
    with monkeypatch.context() as stop:
        stopped_by_ctrl_c(stop, 3)
        assert convkit("train", *options, "--out", "parts")[0] == 130
    code, out, _ = convkit("train", "--resume", "parts")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch")] == ["3/4", "4/4"]
    assert bits(folder / "parts") == bits(folder / "whole")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("step", [1.0] * 4 + [0.1] * 4 + [0.01] * 4),
        ("cosine", [(1 + math.cos(math.pi * batch / 12)) / 2 for batch in range(12)]),
    ],
)
def test_schedules_of_three_epochs_of_four_batches(name, expected):
    optimizer = ck.optim.Adam([ck.tensor([1.0], requires_grad=True)], lr=1.0)
    followed = schedule(name, optimizer, 3, 4)
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        followed.step()
    np.testing.assert_allclose(rates, expected)


def test_a_schedule_is_followed_batch_by_batch(convkit, folder):
    pytest.importorskip("tensorboardX")
    from test_tensorboard import values

    convkit("train", "--epochs", 1, "--lr", 0.01, "--schedule", "one-cycle", "--tensorboard", "--out", "run")
    rates = np.array([rate for _, rate in values(folder / "run", "simple_value")["batch/learning_rate"]])
    top = int(rates.argmax())
    assert (len(rates), top) == (46, 13)
    np.testing.assert_allclose([rates[0], rates[top], rates[-1]], [0.01 / 25, 0.01, 0], rtol=0.01, atol=1e-6)


def test_a_schedule_keeps_its_number_of_epochs(convkit, folder):
    convkit("train", "--epochs", 2, "--schedule", "cosine", "--out", "run")
    settings = (folder / "run" / "settings.json").read_text()
    for epochs in (1, 3):
        message = f"--epochs {epochs} does not fit run: its schedule, cosine, was made for 2, and a run with"
        refused(convkit("train", "--resume", "run", "--epochs", epochs), message)
    assert (folder / "run" / "settings.json").read_text() == settings
    assert convkit("train", "--resume", "run", "--epochs", 2)[0] == 0


def test_patience_keeps_the_best_network(convkit, folder):
    code, out, _ = convkit("train", "--epochs", 50, "--lr", 0.02, "--patience", 1, "--out", "run")
    assert code == 0
    rows = list(csv.DictReader((folder / "run" / "metrics.csv").read_text().splitlines()))
    losses = [float(row["test_loss"]) for row in rows]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 50
    assert f"kept the network of epoch {best + 1}, whose test loss was the least\n" in out
    told = re.search(r"^test accuracy .*: (\d+) of 355 images$", out, re.MULTILINE)
    assert int(told[1]) == round(float(rows[best]["test_accuracy"]) * 355)


def test_gradients_are_clipped(convkit, folder):
    for norm in (1e-9, 1e9):
        convkit("train", "--epochs", 1, "--clip-grad-norm", norm, "--out", f"{norm}")
    convkit("train", "--epochs", 1, "--out", "plain")
    assert bits(folder / "1000000000.0") == bits(folder / "plain")
    assert bits(folder / "1e-09") != bits(folder / "plain")


def test_tensorboard_goes_on_in_the_same_curves(convkit, folder):
    pytest.importorskip("tensorboardX")
    from test_tensorboard import graph, values

    code, out, _ = convkit("train", "--epochs", 1, "--tensorboard", "--out", "run")
    assert code == 0
    assert "\n  events.out.tfevents.*   for tensorboard --logdir\n" in out
    convkit("train", "--resume", "run", "--epochs", 2)
    assert [step for step, _ in values(folder / "run", "simple_value")["loss/test"]] == [1, 2]
    assert {node.name.split("/")[0] for node in graph(folder / "run").node} >= {"input", "conv1", "fc"}
    assert "feature_maps/conv1" in values(folder / "run", "image")


def test_resume_adds_no_options(convkit):
    convkit("train", "--epochs", 1, "--augment", "crop", "--out", "run")
    for option in (["--patience", 3], ["--clip-grad-norm", 0.5], ["--tensorboard"]):
        message = f"{' '.join(map(str, option))} does not fit run, which was begun without it"
        refused(convkit("train", "--resume", "run", *option), message)
    refused(convkit("train", "--resume", "run", "--schedule", "step"), "--schedule step does not fit run, which has no")
    refused(convkit("train", "--resume", "run", "--augment", "crop", "flip"), "--augment crop flip does not fit run")


def test_resume_of_what_is_no_run(convkit, folder):
    refused(convkit("train", "--resume", "nowhere"), "nowhere is not the folder of a run")
    (folder / "settings.json").write_text('{"data": "digits"}')
    refused(convkit("train", "--resume", "."), r"settings\.json: not the settings of a run")


def test_ctrl_c_leaves_a_run_that_goes_on(convkit, folder):
    command = [sys.executable, "-m", "convkit", "train", "--epochs", "1000", "--out", "stopped"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (folder / "stopped" / "checkpoint.safetensors").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "go on with: convkit train --resume stopped" in err
    refused(convkit("predict", "stopped", "any.png"), "stopped has no model.safetensors yet: finish it by convkit")
    assert err.splitlines()[-1] == "convkit train: stopped"
    assert "Traceback" not in err
    done = out.count("test accuracy")
    code, out, _ = convkit("train", "--resume", "stopped", "--epochs", done + 2)
    assert code == 0
    assert bits(folder / "stopped")


def test_idx_files_in_a_folder(convkit, folder):
    random = np.random.default_rng(0)
    for prefix, count in (("train", 150), ("t10k", 40)):
        images = random.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = random.integers(0, 10, count).astype(np.uint8)
        header = struct.pack(">4I", 0x0803, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x0801, count) + labels.tobytes())
    for model in ("convnet", "lenet5"):
        code, out, _ = convkit("train", "--data", "fashion-mnist", "--data-dir", ".", "--model", model, "--epochs", 1)
        assert code == 0
        assert f"{model} on fashion-mnist: 150 images to train, 40 to test" in out
        assert (folder / "runs" / f"fashion-mnist-{model}" / "model.safetensors").exists()
    (folder / "t10k-images-idx3-ubyte").write_bytes(b"torn")
    refused(convkit("train", "--data", "mnist", "--data-dir", "."), "t10k-images-idx3-ubyte: truncated")


def test_data_that_is_not_there(convkit, folder):
    refused(convkit("train", "--data", "mnist"), "MNIST: found no train-images-idx3-ubyte .* --download")
    assert not (folder / "runs").exists()


def test_a_network_that_does_not_fit_the_images(convkit, folder):
    refused(convkit("train", "--model", "lenet5"), r"lenet5: image_size=\(8, 8\) is too small")
    assert not (folder / "runs").exists()


def test_a_learning_rate_that_blows_up(convkit):
    refused(convkit("train", "--lr", "1e38", "--out", "run"), "the loss is .* in epoch 1, batch")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs: must be a whole number of at least 1, got '0'"),
        (["--batch-size", "many"], "--batch-size: must be a whole number of at least 1, got 'many'"),
        (["--seed", "-1"], "--seed: must be a whole number of at least 0, got '-1'"),
        (["--threads", "0"], "--threads: must be a whole number of at least 1"),
        (["--lr", "nan"], "--lr: must be a number above 0, got 'nan'"),
        (["--lr", "-1"], "--lr: must be a number above 0"),
        (["--data", "imagenet"], "--data: 'imagenet' is neither a folder .*, nor one of digits, "),
        (["--model", "alexnet"], "--model: invalid choice: 'alexnet'"),
        (["--schedule", "linear"], "--schedule: invalid choice: 'linear'"),
        (["--patience", "-1"], "--patience: must be a whole number of at least 0, got '-1'"),
        (["--clip-grad-norm", "0"], "--clip-grad-norm: must be a number above 0, got '0'"),
    ],
)
def test_bad_arguments(convkit, folder, arguments, message):
    refused(convkit("train", *arguments), message)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("module", ["tqdm", "matplotlib", "safetensors"])
def test_a_missing_extra_is_told_before_training(convkit, folder, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    refused(convkit("train"), rf"needs {module}: pip install 'convkit\[train\]'")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("module", ["tensorboardX", "PIL"])
def test_a_missing_extra_of_tensorboard_is_told_before_training(convkit, folder, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    name, extra = {"tensorboardX": ("tensorboardX", "tensorboard"), "PIL": ("Pillow", "train")}[module]
    refused(convkit("train", "--tensorboard"), rf"--tensorboard needs {name}: pip install 'convkit\[{extra}\]'")
    assert not (folder / "runs").exists()


def test_a_warning_is_one_line(convkit, monkeypatch):
    def warns(args):
        warnings.warn("of two\n  lines", RuntimeWarning, stacklevel=2)

    monkeypatch.setattr("convkit.cli.info.run", warns)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert convkit("info") == (0, "", "convkit info: warning: of two lines\n")


def test_show_draws_what_a_network_makes_of_a_picture(convkit, folder):
    convkit("train", "--epochs", 1, "--out", "run")
    ink_on_paper("5.png", ck.data.Digits(train=False).data[0])
    code, out, err = convkit("show", "run", "5.png")
    assert (code, err) == (0, "")
    predicted = convkit("predict", "run", "5.png")[1]
    assert out == predicted + "5-explained.png: the picture, what decides, and the maps of 8 layers\n"
    by_occlusion = (folder / "5-explained.png").read_bytes()
    code, *_ = convkit("show", "run/model.safetensors", "5.png", "--method", "gradient")
    assert code == 0
    assert (folder / "5-explained.png").read_bytes() != by_occlusion
    code, out, _ = convkit("show", "run", "5.png", "--layers", "relu2", "conv1", "--out", "two.png")
    assert (code, out.splitlines()[-1]) == (0, "two.png: the picture, what decides, and the maps of 2 layers")
    with Image.open("two.png") as small, Image.open("5-explained.png") as large:
        assert 300 < small.height < large.height
        assert small.width == large.width


def test_show_with_bad_arguments(convkit, folder):
    convkit("train", "--epochs", 1, "--out", "run")
    ink_on_paper("5.png", ck.data.Digits(train=False).data[0])
    refused(convkit("show", "run", "5.png", "--layers", "conv9"), "--layers conv9 must be one of conv1, bn1, relu1")
    refused(convkit("show", "run", "5.png", "--method", "magic"), "--method: invalid choice: 'magic'")
    refused(convkit("show", "run", "6.png"), r"6\.png: there is no such picture")
    refused(convkit("show", "run", "."), r"\.: is a folder, not a picture")
    refused(convkit("show", ".", "5.png"), r"\. holds no model\.safetensors")
    refused(convkit("show", "run", "5.png", "--out", "no/5.png"), "no/5.png: there is no folder no to write it into")
    refused(convkit("show", "nowhere", "5.png"), "nowhere is not the folder of a run")
    assert sorted(path.name for path in folder.iterdir()) == ["5.png", "run"]


def test_predict_with_bad_files(convkit, folder):
    convkit("train", "--epochs", 1, "--out", "run")
    (folder / "text.png").write_text("no picture")
    refused(convkit("predict", "run", "text.png"), r"text\.png: cannot be read as a picture")
    refused(convkit("predict", "run", "nothing.png"), r"nothing\.png: there is no such picture")
    refused(convkit("predict", "nowhere", "text.png"), r"nowhere is not the folder of a run, nor a model\.safetensors")
    (folder / "run" / "model.safetensors").write_bytes(bits(folder / "run")[:-1])
    refused(convkit("predict", "run", "text.png"), r"run/model\.safetensors: not a whole safetensors file")
    refused(convkit("predict", "run/checkpoint.safetensors", "text.png"), "must hold a model, but holds a checkpoint")


def test_info(convkit, capsys):
    code, out, _ = convkit("info")
    ck.show_config()
    assert (code, out) == (0, capsys.readouterr().out)


def test_version(convkit):
    assert convkit("--version") == (0, f"convkit {ck.__version__}\n", "")


def test_without_a_command(convkit):
    refused(convkit(), "required: COMMAND")


@pytest.mark.parametrize("command", [[], ["train"], ["predict"], ["show"], ["info"]])
def test_help(convkit, command):
    code, out, _ = convkit(*command, "--help")
    assert code == 0
    assert out.startswith("usage: convkit")


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "convkit", "info"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("convkit")
