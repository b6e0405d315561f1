"""Measuring networks: the same network in every engine, and every millisecond at the layer that takes it."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import convkit as ck
from convkit import _precision, _threads, models, nn, optim
from convkit.autograd.recording import record
from convkit.autograd.tape import Node
from convkit.bench import ENGINES, Comparison, Work, Workload, compare, installed, layer_times, peak
from convkit.bench.layers import LOSS, OPTIMIZER, REST
from convkit.bench.machine import resident, typical
from convkit.bench.process import ISAS, environment
from convkit.bench.torch_network import as_torch

SMALL = {
    "convnet": (8, 8),
    "lenet5": (12, 12),
    "mobilenet_v2": (32, 32),
    "resnet18": (32, 32),
    "resnet20": (8, 8),
    "vgg": (8, 8),
}


def workload(name="convnet", batch_size=3, optimizer="Adam"):
    return Workload({"name": name, "image_size": list(SMALL[name])}, batch_size, optimizer)


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """Engines set these; put them back."""
    monkeypatch.setattr(_threads, "_chosen", None)
    monkeypatch.setattr(_precision, "_chosen", "highest")


def test_a_workload_is_the_same_everywhere():
    here, there = workload(), Workload.from_json(workload().to_json())
    assert here == there
    assert here.name == "convnet n3"
    np.testing.assert_array_equal(here.images(), there.images())
    np.testing.assert_array_equal(here.labels(), there.labels())
    assert here.images().shape == (3, 1, 8, 8)
    assert here.images().transpose(0, 2, 3, 1).flags.c_contiguous
    for name, value in here.network().state_dict().items():
        np.testing.assert_array_equal(value, there.network().state_dict()[name])


@pytest.mark.parametrize("name", models.names())
def test_every_network_is_had_in_pytorch(name):
    torch = pytest.importorskip("torch")
    ours, images = workload(name).network(), workload(name).images()
    ours(images)  # batch norms that have seen a batch
    theirs = as_torch(ours.eval()).eval()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(ours(images).data, expected, rtol=1e-4, atol=1e-5)


class Fork(nn.Module):
    """Parts, numbers and a `forward` that computes with operators and methods."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(1, 2, 3, padding="same", bias=False), nn.LeakyReLU(0.3))
        self.factor = 2.0
        self.nothing = None

    def forward(self, x):
        return (self.part(x) * self.factor + x).flatten(1)


def test_a_forward_of_ones_own_is_had_in_pytorch():
    torch = pytest.importorskip("torch")
    model = Fork()
    x = np.random.default_rng(0).standard_normal((2, 1, 4, 4), np.float32)
    np.testing.assert_allclose(model(x).data, as_torch(model)(torch.from_numpy(x)).detach().numpy(), atol=1e-6)


class Owner(Fork):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.ones(1, np.float32))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: Owner(), "Owner has parameters beside its layers"),
        (lambda: nn.Sequential(nn.WeightedPool2d([[1.0]])), "PyTorch has no layer WeightedPool2d"),
    ],
)
def test_what_pytorch_cannot_have_is_refused(model, message):
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=message):
        as_torch(model())


@pytest.mark.parametrize("engine", ["torch", "torch_nhwc"])
@pytest.mark.parametrize(("name", "optimizer"), [("convnet", "Adam"), ("resnet20", "SGD")])
def test_engines_take_the_same_steps(engine, name, optimizer, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("convkit.bench.workload.LEARNING_RATE", 0.01)  # so that a step can be seen
    what = workload(name, optimizer=optimizer)
    ours, theirs = (ENGINES[e](1).prepare(what, "training") for e in ("convkit", engine))
    losses = [[step() for _ in range(3)] for step in (ours, theirs)]
    assert len(set(losses[0])) == 3
    np.testing.assert_allclose(*losses, rtol=2e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_give_the_same_scores(engine):
    if engine not in installed():
        pytest.skip(f"{engine} is not installed")
    own, other = (np.asarray(ENGINES[e](1).prepare(workload(), "inference")()) for e in ("convkit", engine))
    np.testing.assert_allclose(own, other, atol=0.02 if engine == "openvino_bf16" else 1e-5)


def test_a_workload_has_its_precision():
    ENGINES["convkit"](1).prepare(replace(workload(), precision="medium"), "inference")
    assert ck.get_float32_precision() == "medium"


def test_engines_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr("convkit.bench.engines.find_spec", lambda library: library in ("convkit", "torch"))
    assert installed() == ["convkit", "torch", "torch_nhwc"]
    assert installed(["torch_nhwc", "openvino"]) == ["convkit", "torch_nhwc"]
    monkeypatch.setattr("convkit.bench.engines.find_spec", lambda library: library.startswith("convkit"))
    assert installed(["torch"]) == ["convkit", "compiled"]


@pytest.mark.parametrize("isa", [None, *ISAS])
def test_others_get_raised_thresholds_and_the_same_instructions(isa, monkeypatch):
    monkeypatch.delenv("CONVKIT_ISA", raising=False)
    own, other = environment("convkit", 3, isa), environment("torch", 3, isa)
    assert own["OMP_NUM_THREADS"] == other["OMP_NUM_THREADS"] == "3"
    assert own.get("CONVKIT_ISA") == isa
    assert "MALLOC_TRIM_THRESHOLD_" in other
    assert "MALLOC_TRIM_THRESHOLD_" not in own
    assert ("ONEDNN_MAX_CPU_ISA" in other) == (isa is not None)


def test_processes_take_turns():
    turns = []
    found = compare(workload(), "training", ["convkit"], 1, rounds=2, seconds=0, after_turn=lambda: turns.append(1))
    assert len(turns) == 3
    assert (found.network, found.batch_size, found.name, found.threads) == ("convnet", 3, "training", 1)
    assert found.seconds["convkit"] > 0
    assert 0 <= found.memory["convkit"] < 1e9
    assert (found.to_torch, found.to_best, found.memory_to_torch) == (None, None, None)


def test_an_engine_without_a_pass_is_left_out():
    if "onnxruntime" not in installed():
        pytest.skip("ONNX Runtime is not installed")
    assert list(compare(workload(), "training", ["convkit", "onnxruntime"], 1, rounds=1, seconds=0).seconds) == [
        "convkit"
    ]


def test_a_process_that_ends_is_told(capfd):
    wrong = Workload({"name": "convnet", "image_size": [1, 1]}, 1)
    with pytest.raises(ChildProcessError, match="the process of convkit has ended"):
        compare(wrong, "training", ["convkit"], 1)
    assert "image_size=(1, 1) is too small" in capfd.readouterr().err


def test_ratios_are_to_the_better_and_to_float32():
    row = Comparison(
        "convnet", 10, "inference", 1,
        {"convkit": 0.5, "torch": 2.0, "torch_nhwc": 1.0, "openvino": 0.25, "openvino_bf16": 0.1},
        {"convkit": 10.0, "torch": 20.0, "torch_nhwc": 40.0},
    )  # fmt: skip
    assert (row.to_torch, row.to_best, row.memory_to_torch) == (2.0, 0.5, 0.5)
    row.seconds["compiled"], row.memory["compiled"] = 0.2, 5.0
    assert (row.to_torch, row.to_best, row.memory_to_torch) == (5.0, 1.25, 0.25)
    assert row.images_per_second["torch"] == 5.0


def times(model, images, labels=None, loss_fn=None):
    labels = np.zeros(len(images), np.int64) if labels is None else labels
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    return layer_times(model, loss_fn or nn.CrossEntropyLoss(), optimizer, images, labels, seconds=0)


@pytest.mark.parametrize("name", models.names())
def test_a_row_for_each_layer(name):
    what = workload(name)
    model = what.network()
    rows = times(model, what.images(), what.labels())
    summary = model.summary(what.images().shape).layers
    layers = [row for row in rows if row.kind and not row.kind.startswith("_")]
    assert [(row.name, row.kind) for row in layers] == [(layer.name, layer.kind) for layer in summary]
    assert [row.forward_work.operations for row in layers] == [2 * layer.multiply_adds for layer in summary]
    assert [row.name for row in rows[-3:]] == [LOSS, OPTIMIZER, REST]
    assert all(row.seconds > 0 for row in layers)
    residual = {"resnet18": 8, "resnet20": 9, "mobilenet_v2": 10}.get(name, 0)
    assert len(rows) - len(layers) - 3 == residual


def test_the_least_work_of_layers():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5))
    conv, relu, _, linear, *_ = times(model, np.ones((4, 2, 4, 4), np.float32))
    weights, image, maps, scores = (27 * 2 + 3) * 4, 4 * 32 * 4, 4 * 12 * 4, 4 * 5 * 4
    assert conv.forward_work == Work(2 * 4 * 4 * 3 * 18, weights + image + maps)
    assert conv.backward_work == Work(2 * 4 * 4 * 3 * 18, maps + image + 2 * weights)  # none for the image
    assert relu.forward_work == Work(0, 2 * maps)
    assert relu.backward_work == Work(0, 3 * maps)
    assert linear.backward_work.operations == 2 * linear.forward_work.operations == 2 * 2 * 4 * 60
    assert linear.forward_work.traffic == 65 * 4 + maps + scores


def test_the_roofline_is_the_slower_of_two_limits():
    assert Work(100, 10).least_seconds(peak=50, bandwidth=10) == 2
    assert Work(100, 10).least_seconds(peak=100, bandwidth=2) == 5
    assert Work(1, 2) + Work(3, 4) == Work(4, 6)


class Slow(nn.Module):
    """Sleeps forward and backward."""

    def __init__(self, forward, backward):
        super().__init__()
        self.seconds = forward, backward

    def forward(self, x):
        time.sleep(self.seconds[0])
        return record("slow", x.data, (x, lambda grad: time.sleep(self.seconds[1]) or grad))


class Around(nn.Module):
    """Computes before, between and after its parts."""

    def __init__(self):
        super().__init__()
        self.before, self.inside, self.after = Slow(0.01, 0.02), nn.Sequential(Slow(0.1, 0.1)), Slow(0.0, 0.0)

    def forward(self, x):
        x = Slow.forward(self.before, x)  # its own work, by no call of a part
        return self.after(self.inside(x))


def test_time_is_told_where_it_is_spent():
    model = nn.Sequential({"flatten": nn.Flatten(), "fc": nn.Linear(4, 2), "around": Around()})
    rows = {row.name: row for row in times(model, np.ones((1, 1, 2, 2), np.float32))}
    assert "around.before" not in rows
    own, inside, after = (rows[name] for name in ("around", "around.inside.0", "around.after"))
    assert 0.01 <= own.forward < 0.1  # without its part's
    assert 0.02 <= own.backward < 0.1
    assert inside.forward >= 0.1
    assert inside.backward >= 0.1
    assert after.seconds < 0.1


def test_a_layer_that_is_called_twice_has_one_row():
    twice = Slow(0.01, 0.0)
    model = nn.Sequential({"flatten": nn.Flatten(), "fc": nn.Linear(4, 2), "a": twice, "b": twice})
    rows = {row.name: row for row in times(model, np.ones((1, 1, 2, 2), np.float32))}
    assert "b" not in rows
    assert rows["a"].forward >= 0.02


def test_the_stopwatch_is_taken_away():
    model, gradients = workload().network(), Node.gradients
    with pytest.raises(ValueError, match="conv1"):
        times(model, np.ones((1, 2, 8, 8), np.float32))
    times(model, np.ones((2, 1, 8, 8), np.float32))
    assert all("forward" not in vars(module) for module in model.modules())
    assert Node.gradients is gradients


def test_a_forward_that_was_assigned_stays():
    layer = nn.Flatten()
    layer.forward = assigned = lambda x: x.flatten(1)
    times(nn.Sequential(layer, nn.Linear(4, 2)), np.ones((1, 1, 2, 2), np.float32))
    assert layer.forward is assigned


def test_typical_is_the_median_of_three_at_the_least(monkeypatch):
    clock = iter([0, 1, 1, 6, 6, 8])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert typical(lambda: None, 0) == 2


def test_memory_and_peak_are_measured():
    now, most = resident()
    assert 0 < now <= most
    code = (
        "from convkit.bench.machine import resident\n"
        "import numpy as np\n"
        "before = resident()[1]; np.ones(10**8, np.uint8); print(resident()[1] - before, resident()[0] - before)"
    )
    most, now = map(
        int, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert 0.9e8 < most < 1.3e8
    assert now < 0.5e8
    assert peak() > 1e8
