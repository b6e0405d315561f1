"""Networks on disk: what is in the file, and everything that can be wrong with one."""

import json

import numpy as np
import pytest

from convkit import _random, models, nn, optim
from convkit.data import DataLoader, ImageSpec, TensorDataset
from convkit.train import Trainer, load_model, predict, save_model
from convkit.train.checkpoint import load_checkpoint, save_checkpoint

safetensors = pytest.importorskip("safetensors.numpy")

SPEC = ImageSpec("stripes", ("across", "down"), 3, (8, 12), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), dark_background=False)


@pytest.fixture
def model():
    _random.manual_seed(0)
    return models.create("convnet", num_classes=2, in_channels=3, image_size=(8, 12))


@pytest.fixture
def path(tmp_path, model):
    save_model(tmp_path / "model.safetensors", model, SPEC)
    return tmp_path / "model.safetensors"


def contents(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["convkit"])
    return safetensors.load_file(path), about


def rewrite(path, arrays, about):
    path.write_bytes(safetensors.save(arrays, None if about is None else {"convkit": json.dumps(about)}))


def test_a_network_comes_back(path, model):
    loaded, spec = load_model(path)
    assert spec == SPEC
    assert loaded.config == model.config
    assert not loaded.training
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 12)).astype(np.float32)
    np.testing.assert_array_equal(predict(loaded, images), predict(model, images))


def test_the_file_says_what_rebuilds_the_network(path, model):
    arrays, about = contents(path)
    assert arrays.keys() == model.state_dict().keys()
    assert about["model"] == model.config
    assert about["images"] == json.loads(json.dumps(SPEC.to_dict()))
    assert about["version"]


def test_equal_networks_make_equal_files(path, model, tmp_path):
    for attempt in range(5):
        save_model(tmp_path / f"{attempt}", model, SPEC)
        assert (tmp_path / f"{attempt}").read_bytes() == path.read_bytes()


def test_a_network_that_cannot_be_rebuilt_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"model must be made by convkit\.models, but Sequential has no config"):
        save_model(tmp_path / "model", nn.Sequential(nn.Linear(2, 2)), SPEC)
    assert not list(tmp_path.iterdir())


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_truncated_file(path, size):
    path.write_bytes(path.read_bytes()[:size])
    refused(path, "not a whole safetensors file")


def test_a_file_with_more_behind_it(path):
    path.write_bytes(path.read_bytes() + b"more")
    refused(path, "not a whole safetensors file")


def test_another_kind_of_file(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    refused(path, "not a whole safetensors file")


def test_no_metadata(path):
    rewrite(path, contents(path)[0], None)
    refused(path, "lacks convkit's metadata: a model must be one that convkit wrote")


def test_metadata_that_is_not_json(path):
    path.write_bytes(safetensors.save(contents(path)[0], {"convkit": "{"}))
    refused(path, "convkit's metadata is not JSON")


@pytest.mark.parametrize("about", [[], "model", {}, {"kind": "poem"}])
def test_metadata_of_something_else(path, about):
    rewrite(path, contents(path)[0], about)
    refused(path, "must hold a model, but holds a")


def test_a_checkpoint_is_no_model(path, model):
    dataset = TensorDataset(np.zeros((2, 3, 8, 12), np.float32), np.zeros(2, np.int64))
    save_checkpoint(path, model, optim.Adam(model.parameters()), DataLoader(dataset), [])
    refused(path, "must hold a model, but holds a checkpoint")


def test_a_model_is_no_checkpoint(path, model):
    path.rename(path.with_name("checkpoint.safetensors"))
    trainer = Trainer(model, optim.Adam(model.parameters()), run_dir=path.parent, progress=False)
    dataset = TensorDataset(np.zeros((2, 3, 8, 12), np.float32), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="must hold a checkpoint, but holds a model"):
        trainer.fit(DataLoader(dataset), resume=True)


@pytest.mark.parametrize("key", ["model", "images"])
def test_a_missing_part(path, key):
    arrays, about = contents(path)
    del about[key]
    rewrite(path, arrays, about)
    refused(path, f"its metadata lacks '{key}'")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", {"name": "resnet9000"}, "name='resnet9000' must be one of convnet"),
        ("model", {"name": "convnet", "colour": "red"}, "colour"),
        ("model", "convnet", "convnet|mapping"),
        ("images", {"dataset": "stripes"}, "fields must be"),
        ("images", {**SPEC.to_dict(), "mean": [0.5]}, "one value for each of 3 channels"),
        ("images", {**SPEC.to_dict(), "std": None}, "NoneType"),
    ],
)
def test_parts_that_make_no_sense(path, key, value, message):
    arrays, about = contents(path)
    rewrite(path, arrays, {**about, key: value})
    refused(path, message)


def test_a_missing_weight(path):
    arrays, about = contents(path)
    del arrays["conv2.weight"]
    rewrite(path, arrays, about)
    refused(path, r"conv2\.weight is missing")


def test_a_weight_too_many(path):
    arrays, about = contents(path)
    rewrite(path, {**arrays, "conv3.weight": np.zeros(3, np.float32)}, about)
    refused(path, r"conv3\.weight is unexpected")


def test_a_weight_of_another_shape(path):
    arrays, about = contents(path)
    rewrite(path, {**arrays, "conv2.bias": np.zeros(33, np.float32)}, about)
    refused(path, r"conv2\.bias is float32 \(33,\), but must be float32 \(32,\)")


def test_a_dtype_that_numpy_lacks(path):
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"0")
    refused(path, "not a whole safetensors file of NumPy's dtypes")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        load_model(tmp_path / "nothing.safetensors")


def test_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError):
        load_model(tmp_path)


@pytest.mark.parametrize("broken", ["optimizer", "loader", "random"])
def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path, model, broken):
    """Whichever part is found out to be wrong, and however late."""
    loader = DataLoader(TensorDataset(np.zeros((4, 3, 8, 12), np.float32), np.zeros(4, np.int64)), seed=3)
    optimizer = optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    file = tmp_path / "checkpoint.safetensors"
    save_checkpoint(file, model, optimizer, loader, [])
    arrays, about = contents(file)
    about[broken] = {"wrong": 1}
    rewrite(file, arrays, about)

    for parameter in model.parameters():
        parameter.data[...] += 1
    optimizer.param_groups[0]["lr"] = 0.25
    loader.epoch = 5
    weights, drawn = model.state_dict(), _random.get_rng_state()
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors"):
        load_checkpoint(file, model, optimizer, loader)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, weights[name])
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert loader.state_dict() == {"seed": 3, "epoch": 5}
    assert _random.get_rng_state() == drawn
