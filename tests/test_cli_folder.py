"""The command on folders of pictures: training, classes of different sizes, photographs to predict, bad input."""

import json
import re

import numpy as np
import pytest
from commands import refused

for module in ("matplotlib", "safetensors", "tqdm"):
    pytest.importorskip(module)
Image = pytest.importorskip("PIL.Image")

SIZE = 16


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stripes(random, upright, size=SIZE):
    """A noisy picture of stripes that stand or lie."""
    wave = 128 + 80 * np.sin(np.arange(size) * 2 * np.pi * 4 / size + random.uniform(0, 6))
    pixels = np.broadcast_to(wave, (size, size)) + random.normal(0, 20, (size, size))
    return (pixels if upright else pixels.T).clip(0, 255).astype(np.uint8)


def draw(folder, counts, **options):
    random = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(stripes(random, name == "upright", **options)).save(folder / name / f"{index}.png")


def settings(run):
    return json.loads((run / "settings.json").read_text())


def test_the_main_job(convkit, folder):
    draw(folder / "stripes", {"lying": 90, "upright": 30})
    code, out, err = convkit(
        "train", "--data", "stripes", "--epochs", 8, "--augment", "flip", "crop", "--balance", "weights"
    )
    assert (code, err) == (0, "")
    assert "convnet on stripes: 96 images to train, 24 to test" in out
    told = re.search(
        r"^balanced accuracy (\S+)%, the mean over classes of:\n(.*\n)  upright +(\S+)%  (\d) of 6$", out, re.M
    )
    assert float(told[1]) >= 90
    assert re.search(r"^  lying +\S+%  \d+ of 18$", told[2])
    run = folder / "runs" / "stripes-convnet"
    assert settings(run)["data"] == str(folder / "stripes")

    # A photograph of any size, coloured, and of another shape.
    photograph = Image.fromarray(stripes(np.random.default_rng(9), upright=True)).resize((400, 300)).convert("RGB")
    photograph.save("photograph.jpg")
    code, out, _ = convkit("predict", run, "photograph.jpg")
    assert code == 0
    assert out.splitlines()[0] == "photograph.jpg"
    assert out.splitlines()[1].startswith("  upright")
    (folder / "torn.jpg").write_bytes((folder / "photograph.jpg").read_bytes()[:2000])
    refused(
        convkit("predict", run, "photograph.jpg", "torn.jpg"), r"torn\.jpg: cannot be read as a picture: .*truncated"
    )


def test_options_reach_the_network(convkit, folder):
    draw(folder / "stripes", {"lying": 10, "upright": 10})
    arguments = ("--image-size", "8x12", "--colour", "--test-fraction", 0.5, "--epochs", 1, "--out", "run")
    code, out, _ = convkit("train", "--data", "stripes", *arguments)
    assert code == 0
    assert "10 images to train, 10 to test" in out
    kept = settings(folder / "run")
    assert (kept["image_size"], kept["channels"], kept["test_fraction"]) == ([8, 12], 3, 0.5)
    from convkit.train import load_model

    model, spec = load_model(folder / "run" / "model.safetensors")
    assert spec.shape == (3, 8, 12)
    assert spec.classes == ("lying", "upright")
    assert spec.mean[0] == pytest.approx(0.5, abs=0.05)
    assert model.config["in_channels"] == 3


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_resume_goes_on_to_the_same_bits(convkit, folder, balance):
    draw(folder / "stripes", {"lying": 20, "upright": 10})
    common = ("train", "--data", "stripes", "--augment", "crop", "erase", "--balance", balance, "--image-size", 12)
    convkit(*common, "--epochs", 3, "--out", "whole")
    convkit(*common, "--epochs", 1, "--out", "parts")
    code, *_ = convkit("train", "--resume", "parts", "--epochs", 3)
    assert code == 0
    one, other = ((folder / run / "model.safetensors").read_bytes() for run in ("whole", "parts"))
    assert one == other
    refused(
        convkit("train", "--resume", "parts", "--grey"),
        "--grey or --colour does not fit parts, which was begun without",
    )
    refused(convkit("train", "--resume", "parts", "--augment", "flip"), "--augment .* does not fit parts")
    refused(convkit("train", "--resume", "parts", "--balance", "none"), f"--balance none .*, which has {balance}")


def test_a_folder_that_is_cut_already(convkit, folder):
    draw(folder / "stripes" / "train", {"lying": 20, "upright": 20})
    draw(folder / "stripes" / "test", {"lying": 6, "upright": 5})
    code, out, _ = convkit("train", "--data", "stripes", "--epochs", 1)
    assert code == 0
    assert "convnet on stripes: 40 images to train, 11 to test" in out
    (folder / "stripes" / "test" / "lying").rename(folder / "stripes" / "test" / "flat")
    refused(
        convkit("train", "--data", "stripes"), r"must have the same classes, got \('lying', 'upright'\) and \('flat'"
    )


def test_settings_of_older_runs(convkit, folder):
    convkit("train", "--epochs", 1, "--out", "run")
    old = {name: settings(folder / "run")[name] for name in ("data", "model", "epochs", "batch_size", "lr", "seed")}
    (folder / "run" / "settings.json").write_text(json.dumps(old))
    assert convkit("train", "--resume", "run", "--epochs", 2)[0] == 0


class TestBadFolders:
    @pytest.fixture(autouse=True)
    def stripes(self, folder):
        draw(folder / "stripes", {"lying": 4, "upright": 4})
        yield
        assert not (folder / "runs").exists()

    def test_one_class(self, convkit, folder):
        for path in (folder / "stripes" / "lying").iterdir():
            path.unlink()
        (folder / "stripes" / "lying").rmdir()
        refused(convkit("train", "--data", "stripes"), "stripes: needs at least two sub-folders .* found only upright")

    def test_an_unreadable_picture(self, convkit, folder):
        (folder / "stripes" / "lying" / "x.jpg").write_text("words")
        refused(convkit("train", "--data", "stripes"), r"stripes/lying/x\.jpg: cannot be read as a picture")

    def test_different_sizes(self, convkit, folder):
        draw(folder / "stripes" / "lying", {"more": 1}, size=9)
        refused(convkit("train", "--data", "stripes"), r"0\.png: is 9x9 pixels, but .* is 16x16: .*--image-size")

    def test_too_small_for_the_network(self, convkit):
        refused(convkit("train", "--data", "stripes", "--image-size", 2), r"convnet: image_size=\(2, 2\) is too small")

    def test_none_left_to_test_with(self, convkit):
        refused(
            convkit("train", "--data", "stripes", "--test-fraction", 0.01), "none is left .*: raise --test-fraction"
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["--data", "nowhere"],
                "--data: 'nowhere' is neither a folder with one sub-folder a class, nor one of",
            ),
            (["--image-size", "0"], "--image-size: must be a number of pixels, or HEIGHTxWIDTH, got '0'"),
            (["--image-size", "8x8x8"], "--image-size: must be a number"),
            (["--image-size", "x8"], "--image-size: must be a number"),
            (["--test-fraction", "1"], "--test-fraction: must be a number between 0 and 1, got '1'"),
            (["--grey", "--colour"], "--colour/--color: not allowed with argument --grey/--gray"),
            (["--augment", "turn"], "--augment: invalid choice: 'turn'"),
            (["--balance", "scales"], "--balance: invalid choice: 'scales'"),
            (["--image-size", "8"], "--image-size: for a folder of pictures, not for digits"),
            (["--colour"], "--grey or --colour: for a folder of pictures, not for digits"),
            (["--test-fraction", "0.5"], "--test-fraction: for a folder of pictures, not for digits"),
        ],
    )
    def test_bad_arguments(self, convkit, arguments, message):
        refused(convkit("train", *arguments), message)
