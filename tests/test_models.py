"""The networks of the articles."""

import json

import numpy as np
import pytest

import convkit as ck
from convkit import models
from convkit._random import manual_seed


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


# What the images are where the arguments leave it open, and how many classes there are.
DEFAULT = {
    "convnet": (1, 28, 28),
    "lenet5": (1, 28, 28),
    "mobilenet_v2": (3, 224, 224),
    "resnet18": (3, 224, 224),
    "resnet20": (3, 32, 32),
    "vgg": (3, 32, 32),
}
CLASSES = dict.fromkeys(DEFAULT, 10) | {"mobilenet_v2": 1000, "resnet18": 1000}


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("arguments", [{}, {"num_classes": 7, "in_channels": 3, "image_size": (17, 30)}])
def test_scores_for_each_image(name, arguments):
    model = models.create(name, **arguments)
    scores = model(images(2, *((3, 17, 30) if arguments else DEFAULT[name])))
    assert scores.shape == (2, arguments.get("num_classes", CLASSES[name]))
    scores.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", models.names())
def test_a_network_remembers_how_to_rebuild_itself(name):
    model = models.create(name, num_classes=3, in_channels=2, image_size=16).eval()
    config = json.loads(json.dumps(model.config))
    assert config == {"name": name, "num_classes": 3, "in_channels": 2, "image_size": [16, 16]}
    again = models.create(**config).eval()
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    x = images(2, 2, 16, 16)
    np.testing.assert_array_equal(again(x).data, model(x).data)


@pytest.mark.parametrize("name", models.names())
def test_a_seed_gives_the_same_network(name):
    def build():
        manual_seed(11)
        return models.create(name).state_dict()

    first, second = build(), build()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])


def test_the_networks_are_those_of_the_articles():
    # weights and biases of each layer, the batch norms' scales and shifts among them
    assert count(models.convnet()) == (25 * 16 + 16) + 32 + (400 * 32 + 32) + 64 + (1568 * 10 + 10)
    assert count(models.lenet5()) == (25 * 6 + 6) + (150 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + 850
    assert models.convnet(image_size=(8, 8)).fc.in_features == 128
    assert models.convnet(image_size=(4, 7)).fc.in_features == 32
    assert models.lenet5(image_size=(12, 14)).fc1.in_features == 16
    stages = sum(6 * 9 * c**2 + 6 * 2 * c for c in (16, 32, 64)) - 9 * (16 * 32 + 32 * 64)
    bypasses = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert count(models.resnet20()) == 27 * 16 + 2 * 16 + stages + bypasses + 650
    convolutions = 27 * 32 + 9 * (32**2 + 32 * 64 + 64**2 + 64 * 128 + 128**2)
    assert count(models.vgg()) == convolutions + 2 * 2 * (32 + 64 + 128) + (2048 * 10 + 10)
    assert models.vgg(image_size=(8, 17)).classifier.in_features == 256
    # what torchvision tells of its own
    assert count(models.resnet18()) == 11_689_512
    assert count(models.mobilenet_v2()) == 3_504_872


@pytest.mark.parametrize(("name", "billions"), [("resnet18", 1.814), ("mobilenet_v2", 0.301)])
def test_multiply_adds_are_those_that_torchvision_tells(name, billions):
    assert models.create(name).summary((1, 3, 224, 224)).multiply_adds == pytest.approx(billions * 1e9, rel=2e-3)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_deep_networks_start_as_in_torchvision(name):
    """He's deviation, by the gradients: sqrt(2/fan_out), where torch counts a depthwise layer's outputs all."""
    for module in models.create(name).modules():
        if isinstance(module, ck.nn.Conv2d):
            k, _, r, s = module.weight.shape
            expected = np.sqrt(2 / (k * r * s))
            slack = 5 / np.sqrt(2 * module.weight.numel())  # five deviations of a deviation
            assert module.weight.data.std() == pytest.approx(expected, rel=slack)
            assert module.bias is None
    if name == "mobilenet_v2":
        fc = module_named(models.create(name), "classifier.1")
        assert fc.weight.data.std() == pytest.approx(0.01, rel=0.01)
        assert not fc.bias.data.any()


def module_named(model, name):
    return dict(model.named_modules())[name]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: models.create("resnet"),
            ValueError,
            "create: name='resnet' must be one of convnet, lenet5, mobilenet_v2, resnet18, resnet20, vgg",
        ),
        (lambda: models.create(["convnet"]), ValueError, r"create: name=\['convnet'\] must be one of"),
        (lambda: models.convnet(num_classes=0), ValueError, "convnet: num_classes=0"),
        (lambda: models.convnet(in_channels=1.5), TypeError, "convnet: in_channels=1.5"),
        (lambda: models.convnet(image_size=(3, 8)), ValueError, r"image_size=\(3, 8\) is too small: .* \(4, 4\)"),
        (lambda: models.lenet5(image_size=(28, 11)), ValueError, r"image_size=\(28, 11\) is too small: .* \(12, 12\)"),
        (lambda: models.lenet5(image_size="big"), TypeError, "lenet5: image_size='big'"),
        (lambda: models.convnet(image_size=(1, 2, 3)), ValueError, r"convnet: image_size=\(1, 2, 3\)"),
        (lambda: models.resnet20(image_size=3), ValueError, r"resnet20: image_size=\(3, 3\) is too small: .* \(4, 4\)"),
        (lambda: models.vgg(image_size=(7, 9)), ValueError, r"vgg: image_size=\(7, 9\) is too small: .* \(8, 8\)"),
        (lambda: models.resnet18(image_size=0), ValueError, r"resnet18: image_size=0"),
        (lambda: models.mobilenet_v2(num_classes="all"), TypeError, r"mobilenet_v2: num_classes='all'"),
    ],
)
def test_models_refuse(build, error, message):
    with pytest.raises(error, match=message):
        build()


def in_pytorch(name):
    """The same networks, as their articles would have them in PyTorch."""
    from collections import OrderedDict

    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            if stride == 2:
                self.downsample = nn.Sequential(nn.Conv2d(before, channels, 1, 2, bias=False), nn.BatchNorm2d(channels))

        def forward(self, x):
            inside = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return (inside + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()

    def stage(before, channels, stride):
        return nn.Sequential(
            Block(before, channels, stride), Block(channels, channels, 1), Block(channels, channels, 1)
        )

    def twice(before, channels):
        for c in (before, channels):
            yield from (nn.Conv2d(c, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        yield nn.MaxPool2d(2)

    class Inverted(nn.Module):
        def __init__(self, before, channels, stride, expansion):
            super().__init__()
            wide = before * expansion
            widen = [rectified(before, wide, 1, 1, 1)] if expansion > 1 else []
            narrow = nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)
            self.conv = nn.Sequential(*widen, rectified(wide, wide, 3, stride, wide), *narrow)
            self.same = stride == 1 and before == channels

        def forward(self, x):
            return x + self.conv(x) if self.same else self.conv(x)

    def rectified(before, channels, size, stride, groups):
        conv = nn.Conv2d(before, channels, size, stride, size // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU6())

    def inverted():
        yield rectified(3, 32, 3, 2, 1)
        before = 32
        for expansion, channels, strides in [
            (1, 16, [1]), (6, 24, [2, 1]), (6, 32, [2, 1, 1]), (6, 64, [2, 1, 1, 1]),
            (6, 96, [1, 1, 1]), (6, 160, [2, 1, 1]), (6, 320, [1]),
        ]:  # fmt: skip
            for stride in strides:
                yield Inverted(before, channels, stride, expansion)
                before = channels
        yield rectified(320, 1280, 1, 1, 1)

    def two(before, channels, stride):
        return nn.Sequential(Block(before, channels, stride), Block(channels, channels, 1))

    layers = {
        "convnet": lambda: {
            "conv1": nn.Conv2d(1, 16, 5, padding=2),
            "bn1": nn.BatchNorm2d(16),
            "relu1": nn.ReLU(),
            "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(16, 32, 5, padding=2),
            "bn2": nn.BatchNorm2d(32),
            "relu2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(1568, 10),
        },
        "lenet5": lambda: {
            "conv1": nn.Conv2d(1, 6, 5, padding=2),
            "relu1": nn.ReLU(),
            "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(6, 16, 5),
            "relu2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(400, 120),
            "relu3": nn.ReLU(),
            "fc2": nn.Linear(120, 84),
            "relu4": nn.ReLU(),
            "fc3": nn.Linear(84, 10),
        },
        "mobilenet_v2": lambda: {
            "features": nn.Sequential(*inverted()),
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "classifier": nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000)),
        },
        "resnet18": lambda: {
            "conv1": nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            "bn1": nn.BatchNorm2d(64),
            "relu": nn.ReLU(),
            "maxpool": nn.MaxPool2d(3, stride=2, padding=1),
            "layer1": two(64, 64, 1),
            "layer2": two(64, 128, 2),
            "layer3": two(128, 256, 2),
            "layer4": two(256, 512, 2),
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(512, 1000),
        },
        "resnet20": lambda: {
            "conv1": nn.Conv2d(3, 16, 3, padding=1, bias=False),
            "bn1": nn.BatchNorm2d(16),
            "relu": nn.ReLU(),
            "layer1": stage(16, 16, 1),
            "layer2": stage(16, 32, 2),
            "layer3": stage(32, 64, 2),
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(64, 10),
        },
        "vgg": lambda: {
            "features": nn.Sequential(*twice(3, 32), *twice(32, 64), *twice(64, 128)),
            "flatten": nn.Flatten(),
            "classifier": nn.Linear(2048, 10),
        },
    }
    return nn.Sequential(OrderedDict(layers[name]()))


@pytest.mark.parametrize("name", models.names())
def test_weights_go_to_pytorch_and_back(name):
    torch = pytest.importorskip("torch")
    ours, theirs = models.create(name), in_pytorch(name)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = images(4, *DEFAULT[name])
    ours(x)  # batch norms that have seen a batch
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in ours.state_dict().items()})
    ours.eval(), theirs.eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(x).data, expected, atol=1e-5)

    another = models.create(name).eval()
    another.load_state_dict(theirs.state_dict())
    np.testing.assert_array_equal(another(x).data, ours(x).data)
