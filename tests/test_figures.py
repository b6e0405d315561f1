"""The figures: what they say, that nothing is cut off, and that pyplot stays out of it."""

import subprocess
import sys

import numpy as np
import pytest

from convkit.train import EpochMetrics, figures

pytest.importorskip("matplotlib")

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def history(epochs):
    return [EpochMetrics(n, 2 / n, 1 - 0.5 / n, 2.2 / n, 1 - 0.6 / n, 1.0) for n in range(1, epochs + 1)]


def assert_nothing_is_cut_off(figure):
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_curves(epochs):
    figure = figures.curves(history(epochs))
    loss, accuracy = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch", "epoch"]
    assert loss.get_ylabel() == "mean cross-entropy (nats)"
    assert accuracy.get_ylabel() == "classified right (%)"
    train, test = accuracy.get_lines()
    np.testing.assert_allclose(train.get_ydata(), [100 * metrics.train_accuracy for metrics in history(epochs)])
    np.testing.assert_allclose(test.get_ydata(), [100 * metrics.test_accuracy for metrics in history(epochs)])
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "test"]
    figure.draw_without_rendering()
    assert all(float(tick).is_integer() for tick in loss.get_xticks())
    assert_nothing_is_cut_off(figure)


def test_curves_without_a_test_set():
    figure = figures.curves([EpochMetrics(1, 1.0, 0.5, None, None, 1.0)])
    assert [len(axes.get_lines()) for axes in figure.axes] == [1, 1]


@pytest.mark.parametrize(
    ("shape", "title", "picture"),
    [
        ((16, 1, 5, 5), "First layer: 16 filters of 5x5, 1 channel", (4 * 6 - 1, 4 * 6 - 1)),
        ((1, 1, 3, 7), "First layer: 1 filter of 3x7, 1 channel", (3, 7)),
        ((10, 3, 3, 3), "First layer: 10 filters of 3x3, 3 channels", (3 * 4 - 1, 4 * 4 - 1, 3)),
        ((6, 2, 1, 1), "First layer: 6 filters of 1x1, 2 channels", (6 * 2 - 1, 2 * 2 - 1)),
        ((4, 64, 3, 3), "First layer: 4 filters of 3x3, 64 channels", (4 * 4 - 1, 64 * 4 - 1)),
    ],
)
def test_filters(shape, title, picture):
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    figure = figures.filters(weight)
    axes = figure.axes[0]
    assert axes.get_title() == title
    shown = axes.get_images()[0].get_array()
    assert shown.shape == picture
    height, width = shape[2:]
    corner = np.asarray(shown)[:height, :width]
    scaled = weight[0] / np.abs(weight[0]).max()
    if shape[1] == 3:
        np.testing.assert_allclose(corner, (scaled.transpose(1, 2, 0) + 1) / 2, rtol=1e-6, atol=1e-6)
        assert axes.get_xlabel().endswith("middle grey is 0")
    else:
        np.testing.assert_allclose(corner, scaled[0], rtol=1e-6)
        assert figure.axes[1].get_ylabel() == "weight / largest weight of the filter"
    assert_nothing_is_cut_off(figure)


def test_filters_of_nothing_but_zeros():
    shown = figures.filters(np.zeros((1, 1, 2, 2))).axes[0].get_images()[0].get_array()
    np.testing.assert_array_equal(shown, np.zeros((2, 2)))


@pytest.mark.parametrize("classes", [CLOTHES, ("smile", "no smile"), tuple("0123456789")])
def test_confusion(classes):
    count = len(classes)
    matrix = np.random.default_rng(0).integers(0, 3, (count, count)) + 900 * np.eye(count, dtype=int)
    matrix[0, 1] = 0
    figure = figures.confusion(matrix, classes)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [label.get_text() for label in axes.get_xticklabels()] == list(classes)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(classes)
    written = {text.get_position(): int(text.get_text()) for text in axes.texts}
    assert written == {(j, i): matrix[i, j] for i in range(count) for j in range(count) if matrix[i, j]}
    assert figure.get_suptitle().startswith(f"{np.trace(matrix)} of {matrix.sum()} images classified right")
    assert_nothing_is_cut_off(figure)


def test_confusion_with_a_class_that_never_occurs():
    figure = figures.confusion(np.array([[3, 0], [0, 0]]), ("a", "b"))
    assert np.isfinite(figure.axes[0].get_images()[0].get_array()).all()


def test_a_saved_figure_is_a_png(tmp_path):
    figures.save(figures.curves(history(2)), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1


def test_pyplot_is_never_imported(tmp_path):
    script = """
import sys
import numpy as np
from convkit.train import EpochMetrics, figures
figures.save(figures.curves([EpochMetrics(1, 1.0, 0.5, 1.0, 0.5, 1.0)]), sys.argv[1])
print("matplotlib.pyplot" in sys.modules)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "curves.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_matplotlib_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"drawing figures needs matplotlib: pip install 'convkit\[train\]'"):
        figures.curves(history(1))
