"""`convkit bench`: its tables and picture, what it refuses, and that Ctrl-C leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from commands import refused

import convkit as ck
from convkit import models
from convkit.cli.bench import markdown
from convkit.data import ImageSpec

for module in ("matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(module)

QUICK = "--batch-size", 2, "--seconds", 0.001


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, the number of threads put back, and a bandwidth that takes no time to measure."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("convkit.bench.bandwidth", lambda threads: threads * 1e10)
    threads = ck.get_num_threads()
    yield tmp_path
    ck.set_num_threads(threads)


def tables(text):
    """The tables in Markdown: lists of rows, each a list of cells, without the rule."""
    found = [[]]
    for line in text.splitlines():
        if not line.startswith("|"):
            found.append([])
        elif not line.startswith("|-"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [table for table in found if table]


def test_tables_and_a_picture(convkit, folder):
    code, out, err = convkit("bench", *QUICK, "--image-size", "8x12", "--threads", 1)
    assert (code, err) == (0, "")
    assert out.startswith("convnet: 15,274 parameters; 2 images of 1x8x12; 1 thread, ")
    speed, layers = tables(out)
    assert [row[0] for row in speed[:3]] == ["", "training", "inference"]
    images, milliseconds = (float(cell.replace(",", "")) for cell in speed[1][1:3])
    assert images == pytest.approx(2 / (milliseconds * 1e-3), rel=0.05)
    names = [row[0] for row in layers[1:]]
    assert names[0] == "conv1 (Conv2d)"
    assert names[-4:] == ["the loss", "the optimizer", "between layers", "the step"]
    assert layers[-3][:3] == ["the optimizer", "", ""]
    for column in (1, 2, 3, 4):
        *cells, last = (float(row[column].rstrip("%") or 0) for row in layers[1:])
        assert sum(cells) == pytest.approx(last, abs=0.06 * len(cells))
    assert [row[0] for row in layers[1:-1] if row[5]] == ["conv1 (Conv2d)", "conv2 (Conv2d)", "fc (Linear)"]
    assert [path.name for path in folder.iterdir()] == ["convnet-bench.png"]
    assert (folder / "convnet-bench.png").read_bytes().startswith(b"\x89PNG")


def test_a_named_network_and_a_file_to_write(convkit, folder):
    (folder / "figures").mkdir()
    code, out, _ = convkit("bench", *QUICK, "--model", "resnet20", "--image-size", 8, "--output", "figures/speed.png")
    assert code == 0
    assert "layer3.2 (_BasicBlock)" in out
    assert [path.name for path in (folder / "figures").iterdir()] == ["speed.png"]


def test_a_network_of_ones_own(convkit, folder):
    model = models.lenet5(num_classes=3, in_channels=2, image_size=(12, 16))
    spec = ImageSpec("signs", ("a", "b", "c"), 2, (12, 16), (0.5, 0.5), (0.2, 0.2), False)
    ck.train.save_model(folder / "model.safetensors", model, spec)
    for path in (folder, folder / "model.safetensors"):
        code, out, _ = convkit("bench", path, *QUICK)
        assert code == 0
        assert "2 images of 2x12x16" in out
        assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in out


def test_peers_beside(convkit, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("convkit.bench.installed", lambda *names: ["convkit", "torch_nhwc"])
    code, out, _ = convkit("bench", *QUICK, "--image-size", 8, "--threads", 1, "--peers")
    assert code == 0
    *_, training, inference = tables(out)
    assert [row[0] for row in training] == ["engine", "convkit", "torch_nhwc"]
    assert [row[0] for row in inference] == ["engine", "convkit", "torch_nhwc"]
    assert re.search("^not installed, left out: .*torch, ", out, re.MULTILINE)
    own, other = (float(row[2]) for row in training[1:3])
    assert float(training[2][3]) == pytest.approx(other / own, rel=0.1, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not the folder of a run"),
        (["--model", "alexnet"], "invalid choice: 'alexnet'"),
        (["--image-size", "2"], r"convnet: image_size=\(2, 2\) is too small"),
        (["--batch-size", "0"], "must be a whole number of at least 1"),
        (["--seconds", "0"], "must be a number above 0"),
        (["--output", "no/such/folder.png"], r"--output no/such/folder.png: there is no folder no/such"),
        (["run", "--model", "vgg"], "--model vgg does not go with run, whose network it has"),
    ],
)
def test_bench_refuses(convkit, folder, arguments, message):
    refused(convkit("bench", *arguments), message)
    assert list(folder.iterdir()) == []


def test_extras_are_missed_before_the_measurement(convkit, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(convkit("bench"), "drawing figures needs matplotlib")


def test_an_interrupt_ends_all_processes(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "convkit", "bench", "--image-size", "8", "--seconds", "60", "--peers"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "convkit bench: stopped"
    assert list(folder.iterdir()) == []


def running(word):
    """Whether a process has `word` in its command line."""
    return word in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_an_interrupt_ends_the_engines():
    code = (
        "import os, signal\n"
        "from convkit.bench import Workload, compare\n"
        "workload = Workload({'name': 'convnet', 'image_size': [4, 4093]}, 1)\n"
        "compare(workload, 'training', ['convkit'], 1, after_turn=lambda: os.kill(os.getpid(), signal.SIGINT))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=60)
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert not running('"image_size": [4, 4093]')


def test_markdown_has_aligned_columns():
    table = markdown(("name", "n"), [("a", "1,000"), ("bb", "")])
    assert len({len(line) for line in table.splitlines()}) == 1
    assert re.fullmatch(r"\|-+\|-+:\|", table.splitlines()[1])
    assert tables(table)[0] == [["name", "n"], ["a", "1,000"], ["bb", ""]]
