"""Looking into a network: maps of every layer, pixels that decide, pieces of images that excite filters."""

import numpy as np
import pytest

from convkit import data, functional, models, nn
from convkit._random import manual_seed
from convkit.train import explain, receptive_fields, top_patches


def image(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def network(dtype=np.float64):
    """A small network whose answers can be worked out by hand."""
    manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, dtype=dtype), nn.BatchNorm2d(3, dtype=dtype), nn.ReLU(), nn.Flatten(),
        nn.Linear(3 * 4 * 5, 4, dtype=dtype),
    )  # fmt: skip
    model[1].running_mean.data[...] = (0.1, -0.2, 0.3)
    return model


def softmax(scores):
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def test_maps_of_every_layer():
    model, x = network(), image(2, 6, 7, dtype=np.float64)
    conv, norm, relu = explain.feature_maps(model, x)
    assert [(layer.name, layer.kind) for layer in (conv, norm, relu)] == [
        ("0", "Conv2d"),
        ("1", "BatchNorm2d"),
        ("2", "ReLU"),
    ]
    weight, bias = model[0].weight.data, model[0].bias.data
    expected = [[[(x[:, i : i + 3, j : j + 3] * w).sum() + b for j in range(5)] for i in range(4)]
                for w, b in zip(weight, bias, strict=True)]  # fmt: skip
    np.testing.assert_allclose(conv.maps, expected, atol=1e-12)
    shift = np.array([0.1, -0.2, 0.3]).reshape(3, 1, 1)
    np.testing.assert_allclose(norm.maps, (conv.maps - shift) / np.sqrt(1 + 1e-5), atol=1e-12)
    np.testing.assert_array_equal(relu.maps, np.maximum(norm.maps, 0))


def test_maps_of_a_layer_that_runs_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return self.conv(functional.relu(self.conv(x))).flatten(1)

    maps = explain.feature_maps(Twice(), image(1, 3, 3))
    assert [layer.name for layer in maps] == ["conv", "conv"]
    assert not np.array_equal(maps[0].maps, maps[1].maps)


def test_gradient_is_the_slope_of_the_score():
    model, x, step = network(), image(2, 6, 7, dtype=np.float64), 1e-6
    found = explain.gradient(model, x, label=2)
    model.eval()
    slopes = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        moved = np.zeros(x.shape)
        moved[place] = step
        slopes[place] = (model((x + moved)[None]).data[0, 2] - model((x - moved)[None]).data[0, 2]) / (2 * step)
    assert np.abs(slopes).max() > 0.01
    np.testing.assert_allclose(found, np.abs(slopes).max(axis=0), atol=1e-7)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 3), (6, 1)])
def test_occlusion_is_what_a_loop_over_squares_finds(size, stride):
    model, x, label = network().eval(), image(2, 6, 7, dtype=np.float64), 1
    found = explain.occlusion(model, x, label, size, stride)
    whole = softmax(model(x[None]).data[0])[label]
    total, covered = np.zeros((6, 7)), np.zeros((6, 7))
    for top in {*range(0, 6 - size, stride), 6 - size}:
        for left in {*range(0, 7 - size, stride), 7 - size}:
            hidden = x.copy()
            hidden[:, top : top + size, left : left + size] = 0
            drop = whole - softmax(model(hidden[None]).data[0])[label]
            total[top : top + size, left : left + size] += drop
            covered[top : top + size, left : left + size] += 1
    expected = np.divide(total, covered, out=np.zeros((6, 7)), where=covered > 0)
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_occlusion_finds_the_pixel_that_decides():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    model[1].weight.data[...] = 0
    model[1].weight.data[1, 8 * 2 + 5] = 3
    found = explain.occlusion(model, np.ones((1, 8, 8), np.float32), label=1, size=1)
    assert np.unravel_index(found.argmax(), found.shape) == (2, 5)
    assert np.count_nonzero(np.abs(found) > 1e-6) == 1


@pytest.mark.parametrize(
    "ask", [explain.gradient, explain.occlusion, lambda model, image, label: explain.feature_maps(model, image)]
)
def test_the_network_stays_as_it_was(ask):
    model = network(np.float32)
    model[0].bias.requires_grad = False
    model[1].eval()  # a part that is frozen
    modes = [module.training for module in model.modules()]
    before = model.state_dict()
    ask(model, image(2, 6, 7), label=0)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False, True, True, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert not any(module._forward_hooks for module in model.modules())


def reach(length, layers):
    """What each output of a chain of (kernel, stride, padding) depends on, by following every tap."""
    lines = [{i} for i in range(length)]
    for kernel, stride, padding in layers:
        padded = [set()] * padding + lines + [set()] * padding
        count = (len(padded) - kernel) // stride + 1
        lines = [set().union(*padded[i * stride : i * stride + kernel]) for i in range(count)]
    return [[min(seen), max(seen) + 1] for seen in lines]


def test_receptive_fields_of_a_chain():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 5, padding=2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3, stride=2)
    )
    rows, columns = receptive_fields(model, "4", image(3, 20, 70))
    chain = [(5, 1, 2), (2, 2, 0), (3, 2, 0)]
    np.testing.assert_array_equal(rows, reach(20, chain))
    np.testing.assert_array_equal(columns, reach(70, chain))
    rows, _ = receptive_fields(model.double(), "2", image(3, 9, 9, dtype=np.float64))
    np.testing.assert_array_equal(rows, reach(9, [(5, 1, 2)]))


def test_receptive_fields_past_a_bypass():
    rows, _ = receptive_fields(models.resnet20(), "layer2.0.relu2", image(3, 32, 32))
    # the way through the convolutions sees more than the bypass
    np.testing.assert_array_equal(rows, reach(32, [(3, 1, 1)] * 7 + [(3, 2, 1), (3, 1, 1)]))
    rows, columns = receptive_fields(models.resnet20(), "avgpool", image(3, 32, 24))
    assert (rows.tolist(), columns.tolist()) == ([[0, 32]], [[0, 24]])


@pytest.mark.parametrize("build", [models.vgg, models.resnet20])
def test_receptive_fields_are_those_of_the_summary(build):
    model = build(image_size=(48, 40))
    layers = [layer for layer in model.summary((1, 3, 48, 40)).layers if len(layer.output_shape) == 4]
    for layer in layers[1::7]:
        fields = receptive_fields(model, layer.name, image(3, 48, 40))
        assert tuple(int((lines[:, 1] - lines[:, 0]).max()) for lines in fields) == layer.receptive_field, layer.name


def test_top_patches_are_what_a_loop_over_images_finds():
    model = network().eval()
    images = np.random.default_rng(1).standard_normal((23, 2, 6, 7))
    loader = data.DataLoader(data.TensorDataset(images, np.zeros(23, np.int64)), batch_size=5)
    found = top_patches(model, "0", loader, count=4)
    maps = model[0](images).data
    for number in range(3):
        strongest = sorted(range(23), key=lambda i: -maps[i, number].max())[:4]
        assert found.images[number].tolist() == strongest
        np.testing.assert_allclose(found.activations[number], [maps[i, number].max() for i in strongest])
        for i, (top, bottom, left, right) in zip(strongest, found.boxes[number], strict=True):
            assert (bottom - top, right - left) == (3, 3)
            piece = images[i, :, top:bottom, left:right]
            answer = (piece * model[0].weight.data[number]).sum() + model[0].bias.data[number]
            np.testing.assert_allclose(answer, maps[i, number].max())


def test_top_patches_with_few_images():
    loader = data.DataLoader(data.TensorDataset(image(2, 2, 6, 7), np.zeros(2, np.int64)), batch_size=2)
    assert top_patches(network(np.float32), "2", loader, count=9).images.shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: explain.feature_maps(m, x[0]), ValueError, r"feature_maps: image has shape \(6, 7\)"),
        (lambda m, x: explain.feature_maps(m, x[:1]), ValueError, "layer 0, Conv2d"),
        (lambda m, x: explain.gradient(m, x, 4), ValueError, "gradient: label=4 must be below 4"),
        (lambda m, x: explain.gradient(m, x, "a"), TypeError, "gradient: label='a'"),
        (lambda m, x: explain.occlusion(m, x, -1), ValueError, "occlusion: label=-1"),
        (lambda m, x: explain.occlusion(m, x, 0, size=7), ValueError, "occlusion: size=7 must be at most 6"),
        (lambda m, x: explain.occlusion(m, x, 0, stride=0), ValueError, "occlusion: stride=0"),
        (lambda m, x: explain.occlusion(m, x.tolist(), 0), TypeError, r"occlusion: image must be a numpy\.ndarray"),
        (lambda m, x: receptive_fields(m, "conv", x), ValueError, "layer='conv' must be one of 0, 1, 2, 3, 4"),
        (lambda m, x: receptive_fields(m, "4", x), ValueError, r"layer='4' must give maps \(N, C, H, W\)"),
        (lambda m, x: top_patches(m, "0", [], 3), ValueError, "top_patches: loader has no images"),
        (lambda m, x: top_patches(m, "0", [], 0), ValueError, "top_patches: count=0"),
    ],
)
def test_bad_questions(call, error, message):
    with pytest.raises(error, match=message):
        call(network(np.float32), image(2, 6, 7))
