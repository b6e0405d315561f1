"""The networks of the articles."""

import json

import numpy as np
import pytest

from convkit import models
from convkit._random import manual_seed


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


# What the images are where the arguments leave it open.
DEFAULT = {"convnet": (1, 28, 28), "lenet5": (1, 28, 28), "resnet20": (3, 32, 32), "vgg": (3, 32, 32)}


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("arguments", [{}, {"num_classes": 7, "in_channels": 3, "image_size": (17, 30)}])
def test_scores_for_each_image(name, arguments):
    model = models.create(name, **arguments)
    scores = model(images(2, *((3, 17, 30) if arguments else DEFAULT[name])))
    assert scores.shape == (2, arguments.get("num_classes", 10))
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


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: models.create("resnet"),
            ValueError,
            "create: name='resnet' must be one of convnet, lenet5, resnet20, vgg",
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
