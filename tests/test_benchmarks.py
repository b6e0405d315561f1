"""The benchmarks run, and measure what they say; nothing here asserts a time."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import reference

import convkit as ck
from convkit import _threads

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks are no part of the package

from benchmarks import (  # noqa: E402
    bench_augmentation,
    bench_denormals,
    bench_import,
    bench_loader,
    bench_networks,
    bench_optimizer,
    bench_overhead,
    full_runs,
)
from benchmarks.layers import MEMORY_OPS, MEMORY_PASSES, PASSES, SUITES, Layer, MemoryOp  # noqa: E402
from benchmarks.networks import WORKLOADS  # noqa: E402
from benchmarks.peers.engines import ENGINES, _engine  # noqa: E402
from benchmarks.peers.roofline import limits  # noqa: E402
from benchmarks.peers.rows import Row, both, read_csv, summary, write_csv  # noqa: E402

LAYERS = [work for works in SUITES.values() for work in works if isinstance(work, Layer)]


def command(*arguments):
    return [sys.executable, "-m", "benchmarks.peers", "--rounds", "1", "--threads", "1", *arguments]


def run_peers(*arguments):
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=200)


def smaller(layer):
    """A layer of the same kind that is done in no time: kernel, stride, padding, dilation and kind of groups stay."""
    groups = layer.groups if layer.groups < 4 else 4
    channels, outputs = (groups * min(3, n // layer.groups) for n in (layer.channels, layer.outputs))
    return Layer(
        2, channels, min(layer.size, 13), outputs, layer.kernel, layer.stride, layer.padding, layer.dilation, groups,
        layer.transposed,
    )  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_name_is_a_layer(layer):
    assert Layer.parse(layer.name) == layer
    assert Layer.parse(layer.name, batch=99) == layer


@pytest.mark.parametrize("name", ["", "c3", "c3h4k5", "nonsense", "c3h4k5r3x2", "h4c3k5r3"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="is not a layer's name"):
        Layer.parse(name)


@pytest.mark.parametrize("suite", SUITES)
def test_no_shape_twice_in_a_suite(suite):
    names = [work.name for work in SUITES[suite]]
    assert len(set(names)) == len(names)


def test_shapes_and_operations_of_a_layer():
    layer = Layer.parse("n2c6h9k4r3s2d2g2")
    assert (layer.padding, layer.batch) == (2, 2)
    assert layer.weight_shape == (4, 3, 3, 3)
    assert layer.output_shape == (2, 4, 5, 5)
    assert layer.operations == 2 * (2 * 4 * 5 * 5) * (3 * 3 * 3)
    assert layer.traffic == 4 * (2 * 6 * 9 * 9 + 4 * 3 * 3 * 3 + 2 * 4 * 5 * 5)


def test_shapes_and_operations_of_a_transposed_layer():
    layer = Layer.parse("n2c6h5k4r2s2t")
    assert layer.weight_shape == (6, 4, 2, 2)
    assert layer.output_shape == (2, 4, 10, 10)
    assert layer.mirrored() == Layer(2, 4, 10, 6, 2, 2)
    assert layer.mirrored().output_shape == layer.input_shape
    assert layer.operations == layer.mirrored().operations


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_output_shapes_are_those_of_convkit(layer):
    layer = layer.mirrored() if layer.transposed else layer
    shape = ck.ops.conv2d_output_shape(layer.input_shape, layer.weight_shape, **layer.options)
    assert layer.output_shape == shape


@pytest.mark.parametrize(
    ("suite", "times", "multiply_adds"),
    [
        ("resnet50", [1, *(1, 3, 4, 2), *(1, 1, 4, 1, 3, 3), *(1, 1, 6, 1, 5, 5), *(1, 1, 3, 1, 2, 2)], 4.09e9),
        ("vgg16", [1, 1, 1, 1, 1, 2, 1, 2, 3], 15.47e9),
        ("alexnet", [1] * 5, 0.71e9),
    ],
)
def test_a_network_has_the_operations_it_is_known_for(suite, times, multiply_adds):
    """The sum over its convolutions, each as often as it occurs; torchvision's tables count the linear layers too."""
    linear = {"resnet50": 2048 * 1000, "vgg16": 25088 * 4096 + 4096 * 5096, "alexnet": 9216 * 4096 + 4096 * 5096}
    found = sum(n * layer.with_batch(1).operations / 2 for n, layer in zip(times, SUITES[suite], strict=True))
    assert found + linear[suite] == pytest.approx(multiply_adds, rel=0.01)


def test_a_row_for_each_layer_and_pass(tmp_path):
    names = "n2c3h9k5r3", "n2c8h9k8r3g8"
    files = tmp_path / "rows.csv", tmp_path / "rows.json", tmp_path / "roofline.png"
    options = "--csv", str(files[0]), "--json", str(files[1]), "--roofline", str(files[2])
    done = run_peers("--engines", "convkit", "--layers", *names, "--passes", "forward", "backward_weight", *options)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(n2\w+) +(\w+) +1 +(\d+) +(\d+)%", done.stdout, re.MULTILINE)
    expected = [(name, p) for name in names for p in ("forward", "backward_weight")]
    assert [row[:2] for row in rows] == expected
    records = json.loads(files[1].read_text())
    assert [(r["work"], r["pass"]) for r in records] == expected
    with files[0].open(newline="") as file:
        assert [(r["work"], r["pass"]) for r in csv.DictReader(file)] == expected
    assert all(r["convkit"] > 0 and r["peak"] > 0 and r["to_best"] is None for r in records)
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_operations_that_move_memory_have_a_sum():
    done = run_peers("--engines", "convkit", "--suites", "elementwise")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^relu +(\w+) +1 +(\d+\.\d+)", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == [*MEMORY_PASSES, "sum"]
    times = [float(time) for _, time in rows]
    assert times[2] == pytest.approx(times[0] + times[1], abs=0.02)


def test_other_engines_are_compared():
    pytest.importorskip("torch")
    done = run_peers("--engines", "torch", "torch_nhwc", "--layers", "n2c3h9k5r3", "--passes", "forward")
    assert done.returncode == 0, done.stderr
    (row,) = re.findall(r"^n2c3h9k5r3 +forward .*$", done.stdout, re.MULTILINE)
    ratio = float(row.split()[-2])
    assert ratio > 0
    assert f"least {ratio:.2f}: layers n2c3h9k5r3 forward" in done.stdout


def test_batch_and_least_operations_choose():
    done = run_peers("--engines", "convkit", "--suites", "cifar_resnet", "--batch", "1", "--min-flops", "4.7e6",
                     "--passes", "forward")  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^(n\w+) +forward", done.stdout, re.MULTILINE)
    assert names == ["n1c16h32k16r3", "n1c32h16k32r3", "n1c64h8k64r3"]


def test_a_measurement_goes_on_where_it_stopped(tmp_path):
    rows = tmp_path / "rows.csv"
    options = "--engines", "convkit", "--passes", "forward", "--csv", str(rows)
    run_peers(*options, "--layers", "n2c3h9k5r3")
    before = rows.read_text()
    done = run_peers(*options, "--layers", "n2c3h9k5r3", "n2c3h9k7r3", "--resume")
    assert done.returncode == 0, done.stderr
    assert rows.read_text().startswith(before)
    assert [row.work for row in read_csv(rows)] == ["n2c3h9k5r3", "n2c3h9k7r3"]


def test_an_interrupt_summarises_what_there_is():
    pytest.importorskip("torch")
    process = subprocess.Popen(
        command("--engines", "torch", "--rounds", "3", "--suites", "vgg16"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if "forward" in line:  # the first row
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "interrupted" in rest
    assert "least " in rest


def test_an_unknown_layer_is_refused_by_name():
    done = run_peers("--layers", "nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def row(name="forward", suite="a", operations=10**9, **seconds):
    return Row(suite, "n1c1h1k1r1", name, 1, operations, 4000, 4e9, seconds)


def test_figures_and_ratios_of_a_row():
    fast = row(convkit=0.5, torch=2.0, torch_nhwc=1.0, jax=0.25, openvino=None)
    assert fast.figures == {"convkit": 2.0, "torch": 0.5, "torch_nhwc": 1.0, "jax": 4.0, "openvino": None}
    assert (fast.share, fast.to_torch, fast.to_best) == (0.5, 2.0, 0.5)
    absent = row(convkit=None, torch=1.0)
    assert (absent.share, absent.to_torch, absent.to_best) == (None, None, None)
    moving = both(row(convkit=0.5, torch=1.0), row("backward", convkit=0.5, torch=2.0))
    assert (moving.name, moving.to_torch, moving.share) == ("sum", 3.0, None)
    assert moving.figures == {"convkit": 1000.0, "torch": 3000.0}


def test_the_summary_has_means_and_the_least():
    rows = [row(convkit=1, torch=2), row(convkit=1, torch=8), row(suite="b", convkit=2, torch=1)]
    lines = summary(rows).splitlines()
    assert [line.split() for line in lines[-5:-1]] == [
        ["forward", "all"], ["a", "4.00", "4.00"], ["b", "0.50", "0.50"], ["overall", "2.00", "2.00"],
    ]  # fmt: skip
    assert lines[-1] == "least 0.50: b n1c1h1k1r1 forward; below 1: 1 of 3"


def test_the_roofline_is_that_of_arithmetic_or_of_memory():
    by_peak, by_memory = row(convkit=0.5, torch=1), row(operations=4000, convkit=1e-6, torch=4e-6)
    assert by_peak.roof(8e9) == 0.5
    assert by_memory.roof(8e9) == 1
    assert by_memory.roof(4e9 * 4) == 1
    assert row(convkit=None, torch=1).roof(8e9) is None
    lines = limits([by_peak, by_memory], {1: 8e9, 2: 8e9}).splitlines()
    assert "8.0 GB/s" in lines[1]
    assert "threads: 1" in lines[1]
    assert [line.split() for line in lines[3:]] == [["a", "71%", "4.00"]]  # sqrt(1/2), and sqrt(2*4) of that


def test_rows_survive_a_file(tmp_path):
    rows = [row(convkit=0.1, torch=None), row("backward_weight", convkit=0.3, torch=1 / 3)]
    write_csv(tmp_path / "rows.csv", rows)
    assert read_csv(tmp_path / "rows.csv") == rows


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    monkeypatch.setattr(_threads, "_chosen", None)  # engines set it; put it back
    kind = ENGINES[request.param]
    pytest.importorskip(kind.library)
    return kind(1)


@pytest.mark.parametrize("suite", [suite for suite in SUITES if suite != "elementwise"])
def test_engines_compute_convolutions(engine, suite):
    """Else their times could not be compared."""
    for layer in dict.fromkeys(smaller(layer) for layer in SUITES[suite]):
        x, w, grad = _engine.operands(layer)
        conv = layer.mirrored() if layer.transposed else layer
        wide, narrow = (grad, x) if layer.transposed else (x, grad)
        answers = {
            "forward": reference.conv2d(wide, w, **conv.options),
            "backward_input": reference.conv2d_backward_input(wide.shape, w, narrow, **conv.options),
            "backward_weight": reference.conv2d_backward_weight(wide, w.shape, narrow, **conv.options),
        }
        if layer.transposed:
            answers["forward"], answers["backward_input"] = answers["backward_input"], answers["forward"]
        for name, call in engine.passes(layer).items():
            assert name in PASSES
            agrees(call(), answers[name], f"{layer.name} {name}")


def agrees(found, answer, label):
    """`found` in any library's type; of the right shape, or channels-last, or a weight's axes in another order."""
    found = np.asarray(found)
    orders = [found] if found.ndim < 4 else [found, found.transpose(0, 3, 1, 2), found.transpose(3, 2, 0, 1)]
    if found.ndim == 4 and found.shape[3] * found.shape[2] == answer.shape[0]:  # depthwise (R, S, C, K/C)
        orders.append(found.reshape(*found.shape[:2], -1, 1).transpose(2, 3, 0, 1))
    same = [o for o in orders if o.shape == answer.shape and np.allclose(o, answer, rtol=1e-4, atol=1e-4)]
    assert same, f"{label}: shape {found.shape}, expected the values of {answer.shape}"


@pytest.mark.parametrize("layout", ["torch", "torch_nhwc"])
@pytest.mark.parametrize("op", MEMORY_OPS)
def test_engines_compute_what_moves_memory(op, layout, monkeypatch):
    monkeypatch.setattr(_threads, "_chosen", None)
    pytest.importorskip("torch")
    own, other = (ENGINES[engine](1).passes(MemoryOp(op, (2, 4, 8, 8))) for engine in ("convkit", layout))
    assert list(other) == list(MEMORY_PASSES)
    for name, call in own.items():
        found, expected = call(), other[name]()
        found = found[0] if isinstance(found, tuple) else found  # beside pooling's indices, or a scale's gradient
        np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-4, atol=1e-5, err_msg=f"{op} {name}")


def test_no_network_twice():
    for workloads in WORKLOADS.values():
        names = [workload.name for workload in workloads]
        assert len(set(names)) == len(names)


def test_a_row_for_each_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.networks", "--networks", "lenet5", "convnet", "--batch-sizes", "32",
         "100", "--passes", "training", "--engines", "convkit", "--threads", "1", "--rounds", "1", "--seconds", "0",
         "--csv", str(tmp_path / "rows.csv")],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = re.findall(r"^(\w+ n\d+) +training +1 +[\d,]+: \d+ ", done.stdout, re.MULTILINE)
    assert printed == ["convnet n32", "convnet n100", "lenet5 n100"]
    with (tmp_path / "rows.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    assert [f"{r['network']} n{r['batch_size']}" for r in records] == printed
    assert all(float(r["convkit"]) > 0 and float(r["convkit_memory"]) >= 0 and not r["torch"] for r in records)


@pytest.mark.parametrize("suite", [bench_networks.Training, bench_networks.Inference])
def test_networks_have_suites(suite, monkeypatch):
    monkeypatch.setattr(_threads, "_chosen", None)
    monkeypatch.setattr(bench_networks, "typical", lambda call, seconds: 0.5)
    benchmark = suite()
    assert benchmark.params[0] == [workload.name for workload in WORKLOADS[suite.name]]
    benchmark.setup("convnet n32", 1)
    benchmark.time_call("convnet n32", 1)
    assert benchmark.track_images_per_second("convnet n32", 1) == 64


def test_the_loader_is_measured_beside_a_step(monkeypatch):
    monkeypatch.setattr(_threads, "_chosen", None)
    monkeypatch.setattr(bench_loader, "_STEPS", 2)
    monkeypatch.setattr(bench_augmentation, "_IMAGES", 200)
    benchmark = bench_loader.Loader()
    benchmark.setup("cifar10", 32, 2)
    assert benchmark.track_supply("cifar10", 32, 2) > 0
    assert benchmark.track_surcharge("cifar10", 32, 2) > -100


@pytest.mark.parametrize("engine", full_runs.ENGINES)
def test_full_runs_learn_alike(engine):
    if engine != "convkit":
        pytest.importorskip("torch")
    augment = full_runs.Compose([full_runs.RandomCrop(8, padding=1)])
    run = full_runs.Run(lambda root, train: ck.data.Digits(train), "convnet", 3, 50, "Adam", 0.01, augment=augment)
    accuracies = [accuracy for _, accuracy in full_runs.train(run, engine, seed=0, data_dir=None, epochs=3)]
    assert len(accuracies) == 3
    assert accuracies[-1] > 0.95
    assert accuracies[0] < accuracies[-1]


def test_full_runs_are_shown(capsys, monkeypatch):
    monkeypatch.setattr(_threads, "_chosen", None)
    monkeypatch.setattr(full_runs, "train", lambda *_: iter([(1.0, 0.5), (2.0, 0.75)]))
    options = SimpleNamespace(threads=1, epochs=2, seed=0, data_dir=None, run="fashion-mnist")
    full_runs.show(full_runs.RUNS["fashion-mnist"], "convkit", options)
    first, second, whole, _ = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"convkit +epoch  1/2 +1\.0 s  test accuracy 50\.00%", first)
    assert re.fullmatch(r"convkit +epoch  2/2 +2\.0 s  test accuracy 75\.00%", second)
    assert re.fullmatch(r"convkit +fashion-mnist, convnet: 75\.00% after \d\.\d s", whole)


@pytest.mark.parametrize("name", bench_overhead.CALLS)
def test_overhead_is_measured(name):
    assert bench_overhead.Overhead().track_microseconds(name) > 0


@pytest.mark.parametrize("name", bench_overhead.FUNCTIONS)
def test_the_overhead_of_the_tape_is_measured(name, monkeypatch):
    timed = []
    monkeypatch.setattr(bench_overhead, "fastest", lambda call: timed.append(call()) or 1.0)
    ops_called = sum(len(names) for names in bench_overhead.FUNCTIONS[name][2:])
    assert bench_overhead.Tape().track_microseconds_over_ops(name) == (2 - ops_called) * 1e6
    assert len(timed) == 2 + ops_called


def test_the_import_is_measured(monkeypatch):
    monkeypatch.setattr(bench_import, "ROUNDS", 1)
    for statement in bench_import.Import.params[0]:
        assert bench_import._seconds(statement) > 0
    assert np.isfinite(bench_import.Import().track_milliseconds_over_numpy("import convkit"))


@pytest.mark.parametrize("network", bench_optimizer.NETWORKS)
@pytest.mark.parametrize("step", bench_optimizer.STEPS)
def test_steps_are_timed(step, network):
    suite = bench_optimizer.Step()
    suite.setup(step, network)
    suite.time_step(step, network)
    if network != "convnet":
        assert sum(param.numel() for param in bench_optimizer.NETWORKS[network]()) == 11_689_512


@pytest.mark.parametrize("name", bench_denormals.CALLS)
def test_denormals_are_measured(name, monkeypatch):
    monkeypatch.setattr(_threads, "_chosen", None)
    monkeypatch.setattr(bench_denormals, "fastest", lambda call, seconds: 1 if np.all(np.isfinite(call()[0])) else 0)
    for denormal in bench_denormals.Denormals.params[1]:
        assert bench_denormals.Denormals().track_ratio(name, denormal) == 1
        operands = bench_denormals._operands(denormal)
        tiny = np.finfo(np.float32).tiny
        assert ["images" in denormal] * 2 + ["weights" in denormal] * 2 == [np.abs(a).max() < tiny for a in operands]
