"""`compile`: networks that only compute give what the ones they were made of give."""

import itertools
import threading

import numpy as np
import pytest
from cases import ACTIVATIONS, RMS, assert_exact, rms

import convkit as ck
from convkit import functional, models, nn
from convkit._random import get_rng_state
from convkit.inference.arena import ARENA, place_values
from convkit.inference.graph import INPUT

# Images that each network takes in little time.
SIZES = dict.fromkeys(models.names(), 16)


def images(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def lived_in(model):
    """Give batch norm averages, scales and shifts, and biases, that training could have left."""
    rng = np.random.default_rng(1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.data[...] = rng.uniform(0.5, 2, buffer.shape)
        elif name.endswith("running_mean"):
            buffer.data[...] = rng.normal(size=buffer.shape) / 3
    for _, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data[...] += rng.normal(size=parameter.shape) / 5
    return model.eval()


def assert_alike(model, x, limit=None):
    """The compiled network, made from `x`, agrees for it, for other batches and for tensors."""
    compiled = ck.compile(model, x)
    with ck.no_grad():
        for batch in (x, x[:1], np.concatenate([x, -x, x[:1]])):
            expected = model(ck.tensor(batch)).data
            found = compiled(batch)
            assert found.shape == expected.shape
            assert found.dtype == expected.dtype
            assert rms(found.astype(np.float64), expected) < (limit or 3 * RMS[x.dtype.type])
            tensor = compiled(ck.tensor(batch))
            assert isinstance(tensor, ck.Tensor)
            assert tensor.data.tobytes() == found.tobytes()
    return compiled


def operations(compiled):
    return [node.op for node in compiled.graph.nodes]


def model_of(forward):
    """A network without parameters."""

    class Model(nn.Module):
        def forward(self, x):
            return forward(x)

    return Model()


@pytest.mark.parametrize("name", models.names())
def test_every_network(name):
    model = lived_in(models.create(name, num_classes=7, in_channels=3, image_size=SIZES[name]))
    compiled = assert_alike(model, images(3, 3, SIZES[name], SIZES[name]))
    assert not {"scale", "activation", "add", "flatten"} & set(operations(compiled)), "everything is fused"


def test_double_precision():
    assert_alike(lived_in(nn.Sequential(nn.Conv2d(2, 5, 3, dtype="float64"), nn.ELU())), images(2, 2, 6, 6, dtype="f8"))


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_precision_is_that_of_compiling(precision):
    model, x = lived_in(nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU())), images(2, 32, 12, 12)
    with ck.float32_precision(precision):
        inside = ck.compile(model, x)
        expected = model(x).data
    asked = ck.compile(model, x, precision=precision)
    assert asked.graph.precision == precision
    assert_exact(asked(x), inside(x), np.float32, precision)
    assert rms(asked(x).astype(np.float64), expected) < {"highest": 2e-6, "high": 2e-5, "medium": 1e-2}[precision]


LAYERS = {
    **{name: model_of(getattr(functional, name)) for name in ACTIVATIONS},
    "leaky": nn.LeakyReLU(0.3),
    "elu alpha": nn.ELU(0.7),
    "softplus beta": nn.Softplus(2.0, 3.0),
    "gelu tanh": nn.GELU("tanh"),
    "max pool": nn.MaxPool2d(3, 2, 1),
    "max pool dilated": nn.MaxPool2d(2, 1, 0, 2),
    "max pool ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "avg pool": nn.AvgPool2d(2),
    "avg pool padded": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "avg pool ceil": nn.AvgPool2d((3, 2), 2, 1, ceil_mode=True),
    "adaptive avg pool": nn.AdaptiveAvgPool2d((3, None)),
    "adaptive max pool": nn.AdaptiveMaxPool2d((2, 5)),
    "mean": model_of(lambda x: x.mean((2, 3))),
    "mean kept": model_of(lambda x: x.mean((3, -2), keepdim=True)),
    "batch norm": nn.BatchNorm2d(4),
    "softmax": model_of(lambda x: functional.softmax(x, 1)),
    "log softmax": model_of(lambda x: functional.log_softmax(x.flatten(1), 1)),
    "flatten": nn.Flatten(),
    "view": model_of(lambda x: x.view(x.shape[0], -1) * 2),
    "dropout": nn.Sequential(nn.Dropout(0.5), nn.ReLU()),
    "arithmetic": model_of(lambda x: 1 - (x / 4 + 1) * 3),
    "twice": model_of(lambda x: x + x),
    "clone": model_of(lambda x: functional.relu(x.clone())),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4, padding="same"),
    "grouped": nn.Conv2d(4, 6, (3, 2), groups=2, stride=2, bias=False),
    "dilated": nn.Conv2d(4, 9, 3, dilation=2, padding=(2, 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name):
    model = lived_in(LAYERS[name])
    assert_alike(model, images(2, 4, 9, 8))
    # The same behind and before a convolution, which it may be fused with.
    between = lived_in(nn.Sequential(nn.Conv2d(3, 4, 2), model, nn.Flatten()))
    assert_alike(between, images(3, 3, 10, 9))


class Branches(nn.Module):
    """All that makes a graph more than a list: bypasses, values read twice, channels side by side."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.right = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 1))
        self.scale = nn.Parameter(np.full((8, 1, 1), 0.5, np.float32))
        self.head = nn.Linear(24 * 16, 5)

    def forward(self, x):
        x = self.stem(x)
        y = functional.relu(self.left(x) + self.right(x))
        y = functional.leaky_relu(y * functional.softplus(self.scale) + x, 0.2)
        unused = functional.cross_entropy(y.mean((2, 3)), np.zeros(len(y), np.int64))
        assert unused.shape == ()
        z = functional.max_pool2d(ck.cat((x, y, x + y), dim=-3), 2)
        return self.head(functional.dropout(z.flatten(1), training=self.training)) + 1


def test_branches():
    compiled = assert_alike(lived_in(Branches()), images(2, 3, 8, 8))
    assert operations(compiled).count("flatten") == 0


def test_fusion_sees_who_else_reads_a_value():
    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return ck.cat([y, self.norm(y), functional.relu(y)], 1)

    assert operations(assert_alike(lived_in(Read()), images(2, 2, 6, 6))) == ["conv2d", "scale", "activation", "cat"]


def test_places_are_shared_but_never_at_the_same_time():
    x = images(2, 3, 32, 32)
    compiled = ck.compile(lived_in(Branches()), images(2, 3, 8, 8))
    deep = ck.compile(nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(9))), x)
    assert place_values(deep.graph, 1).size == 2 * 3 * 32 * 32, "two places, in turn"
    for graph in (compiled.graph, deep.graph):
        arena = place_values(graph, 5)
        last = {value: index for index, node in enumerate(graph.nodes) for value in node.reads}
        lives = {
            node.output: (index, last.get(node.output, index), arena.places[node.output].offset)
            for index, node in enumerate(graph.nodes)
            if arena.places[node.output].memory == ARENA
        }
        for (a, (born, dies, start)), (b, (born2, dies2, start2)) in itertools.combinations(lives.items(), 2):
            apart = start + 5 * np.prod(graph.shape(a)) <= start2 or start2 + 5 * np.prod(graph.shape(b)) <= start
            assert apart or dies < born2 or dies2 < born or graph[max(a, b)].op == "activation"
        assert arena.places[INPUT].memory != ARENA
        assert arena.places[graph.output].memory != ARENA


def test_images_in_any_memory_order():
    model = lived_in(models.create("lenet5", in_channels=2, image_size=16))
    x = images(4, 2, 16, 16)
    compiled = ck.compile(model, x)
    expected = compiled(x)
    for name, other in {
        "channels-last": np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "every other image": np.repeat(x, 2, 0)[::2],
        "Fortran order": np.asfortranarray(x),
        "float64": x.astype(np.float64),
        "read-only": np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    }.items():
        assert_exact(compiled(other), expected, np.float32, name)


def test_no_images():
    compiled = ck.compile(models.create("convnet").eval(), images(1, 1, 28, 28))
    assert compiled(images(0, 1, 28, 28)).shape == (0, 10)


def test_the_model_is_left_as_it_is_and_left_alone():
    model = models.create("convnet", image_size=8).train()
    model[1].eval()
    before, random = {name: value.copy() for name, value in model.state_dict().items()}, get_rng_state()
    x = images(3, 1, 8, 8)
    compiled = ck.compile(model, x)
    assert [module.training for module in model[:3]] == [True, False, True]
    assert get_rng_state() == random
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    expected = compiled(x)
    for parameter in model.parameters():
        parameter.data[...] = 7
    assert_exact(compiled(x), expected, np.float32, "after the model changed")
    x[...] = 5
    assert not np.shares_memory(compiled(x), compiled(x))


def test_nan_and_infinity_stay():
    model = lived_in(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2)))
    x = images(2, 1, 10, 10)
    compiled = ck.compile(model, x)
    x[0, 0, 2, 3], x[1, 0, 7, 7] = np.nan, np.inf
    with ck.no_grad():
        expected = model(x).data
    found = compiled(x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


def test_called_by_several_threads_at_once():
    model = lived_in(models.create("resnet20", image_size=8))
    batches = [images(size, 3, 8, 8) + size for size in (1, 2, 5, 9)]
    compiled = ck.compile(model, batches[0])
    expected = [compiled(batch).tobytes() for batch in batches]
    wrong = []

    def work(order):
        wrong.extend(index for index in order if compiled(batches[index]).tobytes() != expected[index])

    workers = [threading.Thread(target=work, args=(order * 3,)) for order in itertools.permutations(range(4))][::4]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_memory_does_not_grow():
    compiled = ck.compile(models.create("convnet").eval(), images(1, 1, 28, 28))
    x = images(64, 1, 28, 28)
    compiled(x)
    before = ck.memory_stats()["in_use"]
    for size in range(1, 64):
        compiled(x[:size])
    assert ck.memory_stats()["in_use"] == before
    assert len(compiled._plans) <= 32


def test_representation():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))
    assert repr(ck.compile(model, images(1, 1, 4, 4))) == (
        "CompiledModel((N, 1, 4, 4) -> (N, 4), float32: conv2d+relu, linear)"
    )
