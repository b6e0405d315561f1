"""What is written for TensorBoard, read back from its files."""

import io
import struct
import sys

import numpy as np
import pytest
from test_train import assert_same_network, loader_for_tests, small_run, small_set

import convkit as ck
from convkit import _random, models, nn
from convkit import functional as F
from convkit.autograd import Tensor
from convkit.train import Callback, TensorBoard, Trainer
from convkit.train.tensorboard import model_graph, tensor_graph
from convkit.train.tensorboard.pictures import filters_picture, maps_picture

pytest.importorskip("safetensors")
pytest.importorskip("tensorboardX")
Image = pytest.importorskip("PIL.Image")
from tensorboardX.proto import event_pb2, graph_pb2  # noqa: E402 (only where it is installed)

IMAGES = small_set(4).tensors[0]


def events(folder):
    """The events in all files of a folder: records of a length, a checksum, the data and a checksum."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(event_pb2.Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def values(folder, kind):
    """By tag: the steps and values of one kind of summary."""
    found = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField(kind):
                found.setdefault(value.tag, []).append((event.step, getattr(value, kind)))
    return found


def graph(folder):
    (content,) = [event.graph_def for event in events(folder) if event.HasField("graph_def")]
    return graph_pb2.GraphDef.FromString(content)


def shape_of(node):
    return tuple(dim.size for dim in node.attr["_output_shapes"].list.shape[0].dim)


def inputs_by_name(nodes):
    return {node.name: node.inputs for node in nodes}


class Block(nn.Module):
    """A layer that runs twice, a sum around it, and an operation without a layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())
        self.add = nn.Sequential(nn.Dropout(0.5))

    def forward(self, x):
        return F.relu(self.add(x) + self.body(self.body(x)))


# ----------------------------------------------------------------------------------------------------------- graphs


def test_graph_of_a_tensor():
    x, y = (ck.tensor([[1.0, 2.0, 3.0]], requires_grad=True) for _ in range(2))
    product = x * y
    nodes = tensor_graph((product / (x + 1)).sum(), {"x": x, "y": y, "step/product": product})
    assert inputs_by_name(nodes) == {
        "x": (),
        "y": (),
        "step/product": ("x", "y"),
        "add": ("x",),
        "div": ("step/product", "add"),
        "sum": ("div",),
    }
    assert [node.op for node in nodes] == ["Tensor", "Tensor", "mul", "add", "div", "sum"]
    assert [node.shape for node in nodes] == [(1, 3)] * 5 + [()]
    assert {node.dtype for node in nodes} == {"float32"}


def test_the_graph_of_the_articles(tmp_path):
    x, w1, w2 = (ck.tensor(value, requires_grad=True) for value in (0.5, 3.0, 2.0))
    w3, w4, w6 = ck.cos(x), ck.sin(x), w1 / w2
    w5 = w3 * w4
    w7 = w5 + w6
    named = {"x": x, "w1": w1, "w2": w2, "w3": w3, "w4": w4, "w5": w5, "w6": w6, "w7": w7}
    with TensorBoard(tmp_path) as board:
        board.add_tensor_graph(w7, named)
    assert {node.name: (node.op, tuple(node.input)) for node in graph(tmp_path).node} == {
        "x": ("Tensor", ()),
        "w1": ("Tensor", ()),
        "w2": ("Tensor", ()),
        "w3": ("cos", ("x",)),
        "w4": ("sin", ("x",)),
        "w5": ("mul", ("w3", "w4")),
        "w6": ("div", ("w1", "w2")),
        "w7": ("add", ("w5", "w6")),
    }
    w7.backward()
    slopes = {name: tensor.grad.item() for name, tensor in named.items() if tensor.is_leaf}
    np.testing.assert_allclose([slopes[name] for name in ("x", "w1", "w2")], [np.cos(1), 0.5, -0.75], rtol=1e-6)


def test_names_that_are_not_given_are_unique():
    x, y = (ck.tensor([1.0], requires_grad=True) for _ in range(2))
    z = x + y
    nodes = inputs_by_name(tensor_graph(z + z * z + y, {"add": x}))
    assert nodes == {
        "add": (),
        "tensor": (),
        "add_1": ("add", "tensor"),
        "mul": ("add_1", "add_1"),
        "add_2": ("add_1", "mul"),
        "add_3": ("add_2", "tensor"),
    }


def test_a_long_tape():
    x = y = ck.tensor([1.0], requires_grad=True)
    for _ in range(2000):
        y = y + x
    assert len(tensor_graph(y)) == 2001


def test_graphs_that_are_not_there():
    x = ck.tensor([1.0], requires_grad=True)
    y = x * 2 + 1
    y.backward()
    with pytest.raises(ValueError, match="backward took the tape apart"):
        tensor_graph(y)
    with pytest.raises(ValueError, match="requires no gradient, so nothing of its computation was recorded"):
        tensor_graph(x.detach() * 2)


def test_graph_of_a_network():
    model = nn.Sequential({"conv": nn.Conv2d(1, 3, 3), "drop": nn.Dropout(0.5), "flat": nn.Flatten()})
    nodes = model_graph(model, IMAGES)
    assert inputs_by_name(nodes) == {
        "input": (),
        "conv/weight": (),
        "conv/bias": (),
        "conv/conv2d": ("input", "conv/weight", "conv/bias"),
        "drop/dropout": ("conv/conv2d",),
        "flat/flatten": ("drop/dropout",),
    }
    assert {node.name: node.shape for node in nodes}["conv/conv2d"] == (4, 3, 2, 2)


def test_scopes_of_modules_within_modules():
    nodes = inputs_by_name(model_graph(nn.Sequential(Block(), nn.Flatten()), IMAGES))
    assert nodes["0/body/0/conv2d_1"] == ("0/body/1/relu", "0/body/0/weight", "0/body/0/bias")
    assert nodes["0/body/1/relu_1"] == ("0/body/0/conv2d_1",)
    (total,) = [name for name, inputs in nodes.items() if "0/body/1/relu_1" in inputs]
    assert total == "0/add_1"  # what is computed beside a layer called add is not taken for it
    assert nodes["0/relu"] == (total,)
    assert nodes["1/flatten"] == ("0/relu",)
    assert all(before in nodes for inputs in nodes.values() for before in inputs)


def test_reading_a_graph_changes_nothing():
    trainer, _ = small_run()
    model = trainer.model
    state, random = model.state_dict(), _random.get_rng_state()
    model_graph(model, IMAGES)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    assert _random.get_rng_state() == random
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", models.names())
def test_every_model_has_a_graph_in_one_piece(name):
    model = models.create(name)
    nodes = model_graph(model, np.zeros((2, model.config["in_channels"], *model.config["image_size"]), np.float32))
    used = {before for node in nodes for before in node.inputs}
    assert [node.name for node in nodes if node.name not in used] == [nodes[-1].name]
    assert {name.replace(".", "/") for name, _ in model.named_parameters()} <= {node.name for node in nodes}


def test_written_graph(tmp_path):
    model = models.lenet5()
    images = np.zeros((2, 1, 28, 28), np.float32)
    with TensorBoard(tmp_path) as board:
        board.add_graph(model, images)
    written = graph(tmp_path)
    assert [(node.name, node.op, tuple(node.input), shape_of(node)) for node in written.node] == [
        (node.name, node.op, node.inputs, node.shape) for node in model_graph(model, images)
    ]


# ---------------------------------------------------------------------------------------------------- a training run


def trained(folder, epochs=2, seed=0, run_dir=None, resume=False, callbacks=(), board=None):
    trainer, loader = small_run(seed=seed)
    board = board or TensorBoard(folder, IMAGES)
    trainer = Trainer(trainer.model, trainer.optimizer, run_dir=run_dir, progress=False, callbacks=[*callbacks, board])
    return trainer, trainer.fit(loader, loader_for_tests(), epochs, resume)


def test_curves_of_a_run(tmp_path):
    losses = []

    class Losses(Callback):
        def on_batch_end(self, trainer, metrics):
            losses.append(metrics.loss)

    _, history = trained(tmp_path, 3, callbacks=[Losses()])
    scalars = values(tmp_path, "simple_value")
    for tag, field in {
        "loss/train": "train_loss",
        "loss/test": "test_loss",
        "accuracy/train": "train_accuracy",
        "accuracy/test": "test_accuracy",
    }.items():
        steps, found = zip(*scalars.pop(tag), strict=True)
        assert steps == (1, 2, 3)
        np.testing.assert_allclose(found, [getattr(metrics, field) for metrics in history], rtol=1e-6)
    steps, found = zip(*scalars.pop("batch/loss"), strict=True)
    assert steps == tuple(range(1, 16))
    np.testing.assert_allclose(found, losses, rtol=1e-6)
    assert {round(rate, 6) for _, rate in scalars.pop("batch/learning_rate")} == {0.01}
    assert not scalars


def test_histograms_of_a_run(tmp_path):
    trainer, _ = trained(tmp_path)
    histograms = values(tmp_path, "histo")
    names = [name for name, _ in trainer.model.named_parameters()]
    assert set(histograms) == {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}
    for name, parameter in trainer.model.named_parameters():
        for kind, array in (("weights", parameter.data), ("gradients", parameter.grad.data)):
            steps, (_, last) = zip(*histograms[f"{kind}/{name}"], strict=True)
            assert steps == (1, 2)
            assert last.num == array.size
            np.testing.assert_allclose([last.min, last.max], [array.min(), array.max()], rtol=1e-6)
            np.testing.assert_allclose(last.sum, array.sum(dtype=float), rtol=1e-5, atol=1e-6)
            assert sum(last.bucket) == array.size


def test_values_that_are_not_finite_are_left_out_of_histograms(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2))
    model[0].weight.data[0, 0] = np.nan
    model[0].weight.grad = Tensor(np.full((2, 3), np.inf, np.float32))
    with TensorBoard(tmp_path) as board:
        board.add_histograms(model, 1)
    histograms = values(tmp_path, "histo")
    assert set(histograms) == {"weights/0.weight", "weights/0.bias"}
    assert histograms["weights/0.weight"][0][1].num == 5


def picture(image):
    with Image.open(io.BytesIO(image.encoded_image_string)) as opened:
        return np.asarray(opened)


def test_pictures_of_a_run(tmp_path):
    trainer, _ = trained(tmp_path)
    images = values(tmp_path, "image")
    assert {tag.partition("/")[0] for tag in images} == {"filters", "feature_maps"}
    assert [tag for tag in images if tag.startswith("feature_maps")] == [
        f"feature_maps/{name}" for name in ("input", "0", "1", "2")
    ]
    (_, (step, filters)) = images["filters/0.weight"]
    assert step == 2
    np.testing.assert_array_equal(picture(filters)[..., :1], filters_picture(trainer.model[0].weight.data))
    model = trainer.model.eval()
    maps = model[0](Tensor(IMAGES[:1])).data[0]
    np.testing.assert_array_equal(picture(images["feature_maps/0"][1][1])[..., :1], maps_picture(maps))


def test_filters_as_pictures():
    weight = np.random.default_rng(0).standard_normal((5, 3, 2, 3)).astype(np.float32)
    drawn = filters_picture(weight)
    scale = 24 // 3
    assert drawn.shape == (2 * (2 * scale + 2) - 2, 3 * (3 * scale + 2) - 2, 3)
    first = 127.5 + 127.5 * weight[0] / np.abs(weight[0]).max()
    np.testing.assert_allclose(drawn[: 2 * scale : scale, : 3 * scale : scale], first.transpose(1, 2, 0), atol=0.51)
    assert filters_picture(np.ones((70, 20, 3, 3))).shape == (16 * 26 - 2, 16 * 26 - 2, 1)
    assert filters_picture(np.ones((70, 1, 3, 3))).shape == (8 * 26 - 2, 8 * 26 - 2, 1)
    assert (filters_picture(np.zeros((1, 1, 30, 30))) == 128).all()


def test_maps_as_pictures():
    maps = np.arange(2 * 30 * 40, dtype=np.float32).reshape(2, 30, 40)
    drawn = maps_picture(maps)
    assert drawn.shape == (30, 82, 1)
    assert (drawn[0, 0, 0], drawn[0, 40, 0], drawn[29, 81, 0]) == (0, 255, 255)
    assert drawn[29, 39, 0] == 127
    assert not maps_picture(np.ones((1, 30, 30))).any()


def test_pictures_of_what_is_not_finite():
    maps = np.array([[[np.nan, np.inf], [3e38, -3e38]]], np.float32)
    drawn = maps_picture(maps)[::12, ::12, 0]
    np.testing.assert_array_equal(drawn, [[127, 127], [255, 0]])
    assert (filters_picture(np.full((1, 1, 2, 2), np.nan)) == 128).all()


def test_the_run_itself_is_the_same(tmp_path):
    trainer, _ = trained(tmp_path)
    alone, loader = small_run()
    alone.fit(loader, loader_for_tests(), epochs=2)
    assert_same_network(trainer.model, alone.model)


def test_a_run_that_is_resumed_goes_on_in_the_same_curves(tmp_path):
    class Interrupt(Callback):
        def on_batch_end(self, trainer, metrics):
            if self.armed and (metrics.epoch, metrics.batch) == (2, 3):
                raise KeyboardInterrupt

    log, run_dir, interrupt = tmp_path / "log", tmp_path / "run", Interrupt()
    run_dir.mkdir()
    interrupt.armed = True
    with pytest.raises(KeyboardInterrupt):
        trained(log, 2, run_dir=run_dir, callbacks=[interrupt])
    interrupt.armed = False
    trained(log, 2, seed=9, run_dir=run_dir, resume=True, callbacks=[interrupt])
    assert [step for step, _ in values(log, "simple_value")["batch/loss"]] == [*range(1, 8), *range(6, 11)]
    assert [event.step for event in events(log) if event.HasField("session_log")] == [6]  # the first 6 and 7 are hidden
    assert [step for step, _ in values(log, "simple_value")["loss/test"]] == [1, 2]
    assert len([event for event in events(log) if event.HasField("graph_def")]) == 1


def test_writers_within_a_second_keep_each_other_files(tmp_path):
    for step in range(3):
        with TensorBoard(tmp_path) as board:
            board.writer.add_scalar("loss", 0.5, step)
    assert [step for step, _ in values(tmp_path, "simple_value")["loss"]] == [0, 1, 2]


def test_the_real_tensorboard_reads_it(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trained(tmp_path)
    read = accumulator.EventAccumulator(str(tmp_path)).Reload()
    tags = read.Tags()
    assert tags["graph"]
    assert "loss/test" in tags["scalars"]
    assert "weights/0.weight" in tags["histograms"]
    assert "feature_maps/input" in tags["images"]
    assert [event.step for event in read.Scalars("loss/test")] == [1, 2]


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(("module", "name"), [("tensorboardX", "tensorboardX"), ("PIL", "Pillow")])
def test_tensorboard_is_an_extra(monkeypatch, tmp_path, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"TensorBoard needs {name}: pip install 'convkit\["):
        TensorBoard(tmp_path)


def test_an_error_closes_the_file(tmp_path):
    board = TensorBoard(tmp_path, IMAGES)
    trainer, loader = small_run()
    trainer = Trainer(trainer.model, trainer.optimizer, lambda *args: None, progress=False, callbacks=[board])
    with pytest.raises(AttributeError):
        trainer.fit(loader)
    assert board._writer is None
    assert graph(tmp_path).node
