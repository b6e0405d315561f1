"""The examples run: quickly, on small data made here where they need data, and leave what they promise."""

import re
import runpy
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import convkit as ck

for module in ("matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(module)
Image = pytest.importorskip("PIL.Image")

EXAMPLES = Path(__file__).parents[1] / "examples"
# What they leave, and what they print.
DRAWINGS = {
    "activations": (["activations.png"], []),
    "feature_maps": (["gradient.png", "occlusion.png"], []),
    "gradient_descent": (
        ["descent.gif", "descent.png"],
        [
            r"rate 0\.02: y = \d\.\d+ x [+-]\d\.\d+ after 3 steps",
            r"rate 0\.38: y = \d\.\d+ x [+-]\d\.\d+ after 3 steps",
        ],
    ),
    "hand_made_filters": (["filters.png"], []),
    "pooling": (
        ["pooling.png"],
        [r"\nmaximum: 9\.00\naverage: 4\.44\nL2 norm: 15\.49\nweighted average: 4\.43\n", r"global average: 4\.44"],
    ),
    "sizes_and_weight_sharing": (
        ["equivariance.png"],
        [
            "six 5x5x3 filters on a 32x32x3 picture: 28x28 positions, 28x28x6 maps",
            f"parameters: 456; a fully connected layer with as many neurons has {(3072 + 1) * 4704:,}",
            r"{'padding': 'valid'} -> \(1, 6, 28, 28\)",
            r"{'padding': 'same'} -> \(1, 6, 32, 32\)",
            r"{'padding': 2, 'stride': 2} -> \(1, 6, 16, 16\)",
            r"2 \(Conv2d\) +\(1, 10, 24, 24\) +5,760 +1,510 +864,000 +9x9",
            "moved by 6 and 4, to the bit: True",
        ],
    ),
}
TRAININGS = {"cifar10", "fashion_mnist", "mnist_lenet5", "smiles", "trained_filters"}
OTHERS = {"computational_graph", "equations", "layers"}
LEARNED = ["checkpoint.safetensors", "confusion.png", "curves.png", "metrics.csv"]


@pytest.fixture
def example(tmp_path, monkeypatch, capsys):
    """Run an example quickly; return what it printed and the pictures that it left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)

    def run(name, *args):
        path = str(EXAMPLES / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, "--quick", "--out", "out", *map(str, args)])
        runpy.run_path(path, run_name="__main__")
        files = sorted(file.name for file in (tmp_path / "out").iterdir())
        for file in (tmp_path / "out").glob("*.png"):
            with Image.open(file) as picture:
                assert min(picture.size) > 300
        return capsys.readouterr().out, files

    return run


def test_every_example_is_tested_and_tells_how_to_run_it():
    names = {path.stem for path in EXAMPLES.glob("[!_]*.py")}
    assert names == {*DRAWINGS, *TRAININGS, *OTHERS}
    for name in names:
        assert f"\npython examples/{name}.py" in (EXAMPLES / f"{name}.py").read_text()


def test_the_readme_names_every_example_and_shows_pictures_that_are_there():
    text = (EXAMPLES / "README.md").read_text()
    assert set(re.findall(r"`python examples/(\w+)\.py", text)) == {*DRAWINGS, *TRAININGS, *OTHERS}
    pictures = [EXAMPLES / path for path in re.findall(r"\]\((\.\./docs/[^)]+)\)", text)]
    assert len(pictures) > 5
    assert all(picture.stat().st_size < 150_000 for picture in pictures)


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings(example, name):
    out, files = example(name)
    expected, lines = DRAWINGS[name]
    assert files == expected
    for line in lines:
        assert re.search(line, out)


def test_equations(monkeypatch, capsys):
    path = str(EXAMPLES / "equations.py")
    monkeypatch.setattr(sys, "argv", [path, "--quick"])
    runpy.run_path(path, run_name="__main__")
    differences = [float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines()]
    assert len(differences) == 4
    assert max(differences) < 1e-12


def test_layers(example):
    pytest.importorskip("tensorboardX")
    out, files = example("layers")
    assert re.search(r"11 \(Dropout\) +\(1, 64\)", out)
    assert "model.train(): the same images give the same scores twice: False" in out
    assert "model.eval(): the same images give the same scores twice: True" in out
    assert "test accuracy" in out.splitlines()[-1]
    assert len(files) == 1
    assert files[0].startswith("events.out.tfevents.")


def test_computational_graph(example):
    pytest.importorskip("tensorboardX")
    out, files = example("computational_graph")
    assert f"x = 0.500000, dw7/dx = {np.cos(1):.6f}" in out  # cos(x) sin(x) = sin(2x)/2
    assert f"w7 = {np.cos(0.5) * np.sin(0.5) + 1.5:.6f}" in out
    assert len(files) == 1
    assert files[0].startswith("events.out.tfevents.")


def write_idx(folder, count):
    """Write data sets in MNIST's format, in which the class is where the bright square is."""
    labels = np.arange(count) % 10
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 8, 4:24] = 255
    for prefix in ("train", "t10k"):
        header = struct.pack(">4I", 0x0803, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 0x0801, count) + labels.astype(np.uint8).tobytes()
        )


def test_mnist(example, tmp_path):
    write_idx(tmp_path, 200)
    out, files = example("mnist_lenet5", "--data-dir", tmp_path)
    assert files == sorted([*LEARNED, "model.safetensors"])
    assert "test accuracy" in out.splitlines()[-1]


@pytest.mark.parametrize("augment", [[], ["--augment"]])
def test_fashion_mnist(example, tmp_path, augment):
    write_idx(tmp_path, 200)
    out, files = example("fashion_mnist", "--data-dir", tmp_path, *augment)
    assert files == LEARNED
    assert "test accuracy" in out.splitlines()[-1]


class FewThings(ck.data.ImageDataset):
    """In place of CIFAR-10."""

    SPEC = ck.data.ImageSpec("things", tuple("abcdefghij"), 3, (32, 32), (0.5,) * 3, (0.25,) * 3, False)

    def __init__(self, root, train, download=False):
        assert root == Path("there")
        pixels = np.random.default_rng(train).integers(0, 256, (200, 32, 32, 3)).astype(np.uint8)
        super().__init__(pixels, np.arange(200) % 10, self.SPEC)


@pytest.mark.parametrize("model", ["vgg", "resnet20"])
def test_cifar10_and_its_filters(example, tmp_path, monkeypatch, model):
    monkeypatch.setattr(ck.data, "CIFAR10", FewThings)
    out, files = example("cifar10", "--data-dir", "there", "--model", model)
    assert files == sorted([*LEARNED, "filters.png", "model.safetensors"])
    assert "test accuracy" in out.splitlines()[-1]
    (tmp_path / "out").rename(tmp_path / "trained")
    _, files = example("trained_filters", "--data-dir", "there", tmp_path / "trained" / "model.safetensors")
    assert [file for file in files if not file.startswith(("features", "layer"))] == ["filters.png"]
    assert len(files) == 4


def test_smiles(example, tmp_path):
    rng = np.random.default_rng(0)
    for kind, count in (("smile", 20), ("no smile", 60)):
        folder = tmp_path / "faces" / kind
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (64, 64)).astype(np.uint8)).save(folder / f"{number}.png")
    out, files = example("smiles", "--data-dir", tmp_path / "faces")
    assert files == sorted([*LEARNED, "model.safetensors"])
    assert "of 16 faces" in out.splitlines()[-1]


def test_errors_are_told_in_one_line(example, tmp_path, capsys, monkeypatch):
    (tmp_path / "one" / "smile").mkdir(parents=True)
    (tmp_path / "text").write_text("no network")
    monkeypatch.setenv("CONVKIT_DATA_DIR", str(tmp_path / "cache"))
    for name, args, expected in (
        ("cifar10", ["--data-dir", "nowhere"], "CIFAR10: found no .* in nowhere"),
        ("fashion_mnist", ["--data-dir", "nowhere"], "FashionMNIST: found no .* in nowhere"),
        ("mnist_lenet5", ["--data-dir", "nowhere"], "MNIST: found no .* in nowhere"),
        ("smiles", ["--data-dir", "nowhere"], "nowhere: there is no such folder"),
        ("smiles", ["--data-dir", "one"], "one: needs at least two sub-folders"),
        ("trained_filters", ["nowhere"], "No such file or directory: 'nowhere'"),
        ("trained_filters", ["text"], "text: not a whole safetensors file"),
        ("activations", ["--out", "text"], "File exists: 'text'"),
    ):
        with pytest.raises(SystemExit) as stopped:
            example(name, *args)
        assert stopped.value.code == 2
        assert re.fullmatch(rf"{name}\.py: error: .*{expected}.*\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["hand_made_filters", "pooling", "sizes_and_weight_sharing"])
def test_what_the_photograph_needs_is_named(example, capsys, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "matplotlib.cbook", None)
    with pytest.raises(SystemExit):
        example(name)
    assert capsys.readouterr().err.endswith("needs matplotlib.cbook: pip install 'convkit[train]'\n")
