"""The figures that explain: what they draw, and that nothing is cut off."""

import itertools
import sys

import numpy as np
import pytest
from test_figures import CLOTHES, assert_nothing_is_cut_off

from convkit import data, functional, models
from convkit.train import explain, figures, top_patches

pytest.importorskip("matplotlib")

SPEC = data.ImageSpec("shapes", ("a", "b"), 3, (8, 8), (0.5,) * 3, (0.25,) * 3, False)


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def shown(axes):
    return np.asarray(axes.get_images()[0].get_array())


@pytest.mark.parametrize("method", ["occlusion", "gradient"])
@pytest.mark.parametrize("layers", [0, 3, 13])
def test_explanation(method, layers):
    picture = np.full((28, 28, 1), 0.25)
    probabilities = np.arange(10) / 45
    maps = (explain.feature_maps(models.convnet(), image(1, 28, 28)) * 2)[:layers]
    evidence = image(28, 28) / 100
    figure = figures.explanation(picture, probabilities, CLOTHES, evidence, method, maps)
    above, *below = figure.subfigs
    seen, decides, bars = above.axes[:3]
    np.testing.assert_array_equal(shown(seen), picture[..., 0])
    scale = 100 if method == "occlusion" else 1
    np.testing.assert_allclose(shown(decides), scale * evidence)
    assert "Ankle boot" in decides.get_title()
    assert bars.get_title() == "Ankle boot: 20.0%"
    assert [label.get_text() for label in bars.get_yticklabels()] == list(CLOTHES[::-1])
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], 100 * probabilities[::-1])
    drawn = [axes for group in below for axes in group.axes if axes.get_images()]
    assert len(drawn) == layers
    for axes, layer in zip(drawn, maps, strict=True):
        assert axes.get_title().startswith(f"{layer.name}\n{layer.kind}, largest ")
        height, width = layer.maps.shape[1:]
        np.testing.assert_allclose(shown(axes)[:height, :width], layer.maps[0] / np.abs(layer.maps).max(), rtol=1e-6)
    assert_nothing_is_cut_off(figure)


def test_explanation_of_a_layer_with_many_maps():
    layer = explain.FeatureMaps("deep", "Conv2d", np.zeros((70, 1, 1)))
    figure = figures.explanation(np.zeros((8, 8, 3)), np.ones(1), ("a",), np.zeros((8, 8)), "occlusion", [layer])
    axes = figure.subfigs[1].axes[0]
    assert axes.get_title() == "deep\nConv2d, largest 0\n64 of 70 maps of 1x1"
    assert np.count_nonzero(shown(axes) == 0) == 64


def test_names_of_neighbours_do_not_overlap():
    layers = [explain.FeatureMaps("layer2.0.downsample.0", "AdaptiveAvgPool2d", np.full((128, 8, 8), -1.234e-5))] * 14
    figure = figures.explanation(np.zeros((8, 8, 3)), np.ones(1), ("a",), np.zeros((8, 8)), "gradient", layers)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.subfigs[1].axes if axes.get_images()]
    assert len(boxes) == 14
    assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))


def test_names_of_a_row_stand_in_one_line():
    layers = [explain.FeatureMaps("a", "Conv2d", np.ones((count, 8, 8))) for count in (6, 16)]
    figure = figures.explanation(np.zeros((8, 8, 3)), np.ones(1), ("a",), np.zeros((8, 8)), "gradient", layers)
    figure.draw_without_rendering()
    first, second = (axes.title.get_window_extent() for axes in figure.subfigs[1].axes[:2])
    assert first.y0 == pytest.approx(second.y0, abs=1)


def test_long_names_of_classes():
    classes = ["a name of a class that is longer than any panel is wide", "b"]
    figure = figures.explanation(np.zeros((8, 8, 3)), np.array([0.6, 0.4]), classes, np.zeros((8, 8)), "occlusion", [])
    figure.draw_without_rendering()
    titles = [axes.title.get_window_extent() for axes in figure.subfigs[0].axes[:3]]
    assert not any(first.overlaps(second) for first, second in itertools.combinations(titles, 2))
    assert figure.subfigs[0].axes[2].get_yticklabels()[0].get_text() == "a name of a class..."
    assert_nothing_is_cut_off(figure)


def colour_data(count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    return data.ImageDataset(pixels, np.zeros(count, np.int64), SPEC)


@pytest.mark.parametrize("filters", [None, [5]])
def test_patches(filters):
    dataset = colour_data(12)
    found = top_patches(models.convnet(2, 3, 8), "conv1", data.DataLoader(dataset, batch_size=5), count=4)
    figure = figures.patches(found, dataset, filters)
    drawn = [axes for axes in figure.axes if axes.get_images()]
    numbers = range(16) if filters is None else filters
    assert [axes.get_title() for axes in drawn] == [f"filter {number}" for number in numbers]
    for axes, number in zip(drawn, numbers, strict=True):
        top, bottom, left, right = found.boxes[number, 0]
        piece = dataset.data[found.images[number, 0], top:bottom, left:right] / 255
        # what the image's edges cut off is grey, on their side
        down, across = 5 - len(piece) if top == 0 else 0, 5 - piece.shape[1] if left == 0 else 0
        tile = np.full((5, 5, 3), 0.75)
        tile[down : down + len(piece), across : across + piece.shape[1]] = piece
        np.testing.assert_allclose(shown(axes)[:5, :5], tile, atol=1e-6)
    assert (
        figure.get_suptitle()
        == "conv1: what excites each filter most\npieces of shapes, 5x5 pixels (grey: outside the image)"
    )
    assert_nothing_is_cut_off(figure)


def test_activations():
    figure = figures.activations({"ELU": functional.elu, "square": lambda x: x**2}, limit=2)
    elu, square = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["ELU", "square"]
    value, slope = elu.get_lines()
    x = value.get_xdata()
    assert (x.min(), x.max()) == (-2, 2)
    np.testing.assert_allclose(value.get_ydata(), np.where(x > 0, x, np.expm1(x)), atol=1e-12)
    np.testing.assert_allclose(slope.get_ydata(), np.where(x > 0, 1, np.exp(x)), atol=1e-12)
    np.testing.assert_allclose(square.get_lines()[1].get_ydata(), 2 * x, atol=1e-12)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["f(x)", "df/dx"]
    assert_nothing_is_cut_off(figure)


X = np.array([0.0, 1.0, 2.0])
PATHS = {"small": np.array([[0.0, 0.0], [0.5, 0.1], [0.7, 0.1]]), "large": np.array([[0.0, 0.0], [3.0, 1.0]])}


def test_descent():
    figure = figures.descent(X, 2 * X, PATHS)
    points, loss, plane, _ = figure.axes
    np.testing.assert_array_equal(points.get_lines()[0].get_ydata(), 2 * X)
    np.testing.assert_allclose(points.get_lines()[1].get_ydata(), [0.1, 0.7 * 2 + 0.1])
    np.testing.assert_allclose(loss.get_lines()[1].get_ydata(), [20 / 3, np.mean((2 * X - 3 * X - 1) ** 2)])
    np.testing.assert_array_equal(np.transpose(plane.get_lines()[0].get_data()), PATHS["small"])
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["small", "large"]
    assert_nothing_is_cut_off(figure)


def test_an_animation_has_a_frame_for_each_step(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    figures.save_animation(figures.descent_animation(X, 2 * X, PATHS), tmp_path / "descent.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["descent.gif"]
    with image_module.open(tmp_path / "descent.gif") as gif:
        assert gif.format == "GIF"
        assert gif.n_frames == 3
        frames = []
        for number in range(3):
            gif.seek(number)
            frames.append(np.asarray(gif.convert("RGB")))
        assert gif.info["duration"] > 1000  # time to look at the end
    assert not np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[1], frames[2])


def test_gallery():
    pictures = {"grey": np.full((4, 6), 0.5), "colour": np.ones((4, 6, 3)), "bright": np.full((4, 6, 1), 3.0)}
    figure = figures.gallery(pictures, "Three")
    drawn = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title() for axes in drawn] == list(pictures)
    assert shown(drawn[0]).shape == (4, 6)
    assert shown(drawn[1]).shape == (4, 6, 3)
    assert (shown(drawn[2]) == 1).all()
    assert_nothing_is_cut_off(figure)


def test_an_animation_needs_pillow(monkeypatch, tmp_path):
    animation = figures.descent_animation(X, 2 * X, PATHS)
    animation._draw_was_started = True  # or matplotlib warns that it was never drawn
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="writing animations needs Pillow"):
        figures.save_animation(animation, tmp_path / "descent.gif")
    assert not list(tmp_path.iterdir())
