"""What `compile` and compiled networks refuse, and why; files of compiled networks."""

import json
import re

import numpy as np
import pytest
import safetensors.numpy
from cases import assert_exact

import convkit as ck
from convkit import functional, models, nn


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


X = images(2, 3, 6, 6)


def model_of(forward):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return forward(self.conv(x))

    return Model()


def outside(x):
    return x / float(np.abs(x.data).max())


def looks_at_values(x):
    return functional.relu(x) if x.data.sum() > 0 else functional.relu(-x)


REFUSED = {
    "exp cannot be compiled": lambda x: x.exp(),
    "getitem cannot be compiled": lambda x: x[:, :2],
    "transpose cannot be compiled": lambda x: x.transpose(2, 3),
    "conv_transpose2d cannot be compiled": nn.ConvTranspose2d(3, 2, 3),
    "lp_pool2d cannot be compiled": nn.LPPool2d(2, 2),
    "pad cannot be compiled": lambda x: functional.pad(x, (1, 1)),
    "mean mixes images": lambda x: x.mean(0),
    "mean over dim=3 of shape .* only over the pixels": lambda x: x.mean(3),
    "sum cannot be compiled": lambda x: x.sum((2, 3)),
    "max cannot be compiled": lambda x: x.max(1)[0],
    "cat along dim=2": lambda x: ck.cat([x, x], 2),
    "cat of a constant": lambda x: ck.cat([x, X], 1),
    "softmax over dim=-1": lambda x: functional.softmax(x, -1),
    "reshape of shape .* only to": lambda x: x.reshape(2, 6, 3, 6),
    "linear of shape": nn.Linear(6, 2),
    "mul with a computed operand": lambda x: x * x,
    r"add with a constant of shape \(6,\)": lambda x: x + X[0, 0, 0],
    r"add of shapes": lambda x: x + x.mean((2, 3), keepdim=True),
    "conv2d with a computed weight": lambda x: functional.conv2d(x, x),
    "conv2d with an untied bias": nn.Conv2d(3, 2, 3, untied_bias=True, map_size=4),
    "batch_norm with the statistics of the batch": lambda x: functional.batch_norm(x, None, None, training=True),
    "to changes the dtype|to cannot be compiled": lambda x: x.to(np.float64),
    "forward must return one tensor, but returned tuple": lambda x: (x, x),
    "forward must compute its result from its input": lambda x: ck.tensor(X),
    "differ for random images": outside,
    "differ for .*random images": looks_at_values,
}


@pytest.mark.parametrize("message", REFUSED)
def test_networks_that_cannot_be_compiled(message):
    model = model_of(REFUSED[message])
    model.conv.weight.data[...] = 1
    with pytest.raises(ValueError, match=f"^compile: .*(?:{message})"):
        ck.compile(model, abs(X))


def test_what_is_not_a_network_or_no_images():
    model = nn.Conv2d(3, 2, 3)
    with pytest.raises(TypeError, match="compile: model must be a Module, got function"):
        ck.compile(outside, X)
    with pytest.raises(TypeError, match="compile: example must be a Tensor or ndarray of float32 or float64, got list"):
        ck.compile(model, [1.0])
    with pytest.raises(TypeError, match="got int64"):
        ck.compile(model, np.ones((1, 3, 6, 6), np.int64))
    with pytest.raises(ValueError, match=r"compile: example has shape \(0, 3, 6, 6\)"):
        ck.compile(model, X[:0])
    with pytest.raises(ValueError, match="precision='low' must be 'highest', 'high' or 'medium'"):
        ck.compile(model, X, precision="low")
    with pytest.raises(ValueError, match=r"input has 2 channels"):
        ck.compile(model, X[:, :2])


def test_images_that_do_not_fit():
    compiled = ck.compile(nn.Conv2d(3, 2, 3), X)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 6, 5\) but the model was compiled for \(N, 3, 6, 6\)"):
        compiled(X[:, :, :, :5])
    with pytest.raises(ValueError, match=r"input has shape \(3, 6, 6\)"):
        compiled(X[0])
    with pytest.raises(TypeError, match="input must be a Tensor or ndarray of float32, got int32"):
        compiled(X.astype(np.int32))
    with pytest.raises(TypeError, match="got list"):
        compiled([1.0])


def test_an_error_in_forward_is_the_models_own():
    with pytest.raises(ZeroDivisionError):
        ck.compile(model_of(lambda x: 1 // 0), X)


# ---------------------------------------------------------------------------------------------------------------------
# Files


@pytest.fixture(params=["resnet20", "flat", "all"])
def saved(request, tmp_path):
    x = images(3, 3, 8, 8)
    if request.param == "resnet20":
        model = models.create("resnet20", image_size=8)
    elif request.param == "flat":
        model, x = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Softmax(1)), images(3, 5)
    else:
        model = model_of(lambda x: ck.cat([functional.max_pool2d(x, 2, ceil_mode=True), x.mean((2, 3), True)
                                           + functional.avg_pool2d(functional.silu(x * 2 + x), 8)], 1)
                         if x.shape[2] == 2 else functional.silu(ck.cat([x * 2 + x, x], 1)).flatten(1))  # fmt: skip
    compiled = ck.compile(model, x)
    path = tmp_path / "compiled.safetensors"
    compiled.save(path)
    return compiled, x, path


def test_the_same_bits_after_saving(saved):
    compiled, x, path = saved
    again = ck.load_compiled(path)
    assert_exact(again(x), compiled(x), np.float32, "loaded")
    assert repr(again) == repr(compiled)
    content = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == content, "equal networks make equal files"


def rewritten(path, change):
    """Change what is in the file, as somebody with an editor could."""
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["convkit"])
    change(arrays, about)
    safetensors.numpy.save_file(arrays, path, metadata={"convkit": json.dumps(about)})


def set_in(about, index, **values):
    about["nodes"][index].update(values)


DAMAGE = {
    "lacks 'nodes'": lambda a, t: t.pop("nodes"),
    "lacks '1.weight'|lacks '[0-9]+.weight'": lambda a, t: [a.pop(name) for name in list(a) if name.endswith("weight")],
    "dtype 'int8' must be": lambda a, t: t.update(dtype="int8"),
    "precision 'low' is not one of": lambda a, t: t.update(precision="low"),
    "images 0 must be": lambda a, t: t.update(images=0),
    "constants of .* are not all float64": lambda a, t: t.update(dtype="float64"),
    "has shape|expects": lambda a, t: a.update({name: array[..., :0] for name, array in a.items()}),
    "bias has shape": lambda a, t: a.update({n: b[:-1] for n, b in a.items() if n.endswith("bias")}),
    "must be .* or |must be a list": lambda a, t: t.update(input_shape=[8, 8]),
    "must be a list of sizes": lambda a, t: t.update(input_shape=[-1, 8, 8]),
    "cannot be the output": lambda a, t: t.update(output=0),
    "cannot be the output, of": lambda a, t: t.update(output_shape=[3]),
    "operation 'nothing' is not one of": lambda a, t: set_in(t, 0, op="nothing"),
    "makes value .* of": lambda a, t: set_in(t, 0, inputs=[99]),
    "makes value 0 of": lambda a, t: set_in(t, 0, output=0, arrays=[]),
    "reads one value": lambda a, t: set_in(t, 0, inputs=[0, 0]),
    "rectifier 'elu' is not one of": lambda a, t: set_in(t, 0, rectifier="elu"),
    "cannot be added": lambda a, t: set_in(t, 0, residual=0),
    "arguments do not fit": lambda a, t: set_in(t, 0, options={"strides": 2, "kind": 3}),
    "expected|str|subscript|indices|attribute|fit|list|iter": lambda a, t: t.update(nodes=["conv2d"]),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damaged_files(message, tmp_path):
    path = tmp_path / "damaged.safetensors"
    ck.compile(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)), X).save(path)
    rewritten(path, DAMAGE[message])
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*(?:{message})"):
        ck.load_compiled(path)


def test_files_that_are_no_compiled_networks(tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(FileNotFoundError):
        ck.load_compiled(path)
    compiled = ck.compile(nn.Conv2d(3, 2, 3), X)
    compiled.save(path)
    content = path.read_bytes()
    for broken in (b"", b"hello", content[:40], content[:-3]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            ck.load_compiled(path)
    safetensors.numpy.save_file({"a": X}, path)
    with pytest.raises(ValueError, match="lacks convkit's metadata: a compiled model must be one that convkit wrote"):
        ck.load_compiled(path)
    rewritten_kind = {"convkit": json.dumps({"kind": "model"})}
    safetensors.numpy.save_file({"a": X}, path, metadata=rewritten_kind)
    with pytest.raises(ValueError, match="must hold a compiled model, but holds a model"):
        ck.load_compiled(path)
