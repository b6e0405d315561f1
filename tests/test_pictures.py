"""Picture files as a network sees them."""

import numpy as np
import pytest

from convkit.data import ImageSpec
from convkit.data.pictures import read_picture

Image = pytest.importorskip("PIL.Image")

GREY = ImageSpec("digits", ("0", "1"), 1, (8, 8), (0.3,), (0.4,), dark_background=True)
COLOUR = ImageSpec("colours", ("a", "b"), 3, (4, 6), (0.5, 0.25, 0.0), (1.0, 0.5, 2.0), dark_background=False)


@pytest.fixture
def stroke():
    """A light stroke on a dark ground."""
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2:6, 3:5] = 255
    return pixels


def put(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def seen(pixels, spec=GREY):
    """What training makes of the same pixels, written a second time."""
    return ((pixels / 255 - np.array(spec.mean)) / np.array(spec.std)).reshape(*spec.image_size, -1).transpose(2, 0, 1)


def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path, stroke):
    image, inverted = read_picture(put(tmp_path / "stroke.png", stroke), GREY)
    assert (image.dtype, image.shape, inverted) == (np.float32, (1, 8, 8), False)
    np.testing.assert_allclose(image, seen(stroke[..., None]), rtol=1e-5, atol=1e-6)


def test_ink_on_paper_is_inverted(tmp_path, stroke):
    path = put(tmp_path / "ink.png", 255 - stroke)
    image, inverted = read_picture(path, GREY)
    assert inverted
    np.testing.assert_allclose(image, seen(stroke[..., None]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("border", "dark_background", "invert", "expected"),
    [
        (127, True, "auto", False),
        (128, True, "auto", True),
        (255, False, "auto", False),
        (255, True, "no", False),
        (0, True, "yes", True),
        (0, False, "yes", True),
    ],
)
def test_what_is_inverted(tmp_path, border, dark_background, invert, expected):
    pixels = np.full((8, 8), border, np.uint8)
    pixels[1:-1, 1:-1] = 255 - border
    spec = ImageSpec("any", ("a",), 1, (8, 8), (0.0,), (1.0,), dark_background)
    image, inverted = read_picture(put(tmp_path / "p.png", pixels), spec, invert)
    assert inverted is expected
    np.testing.assert_allclose(image[0], (255.0 - pixels if expected else pixels) / 255, rtol=1e-6)


def test_a_large_picture_is_reduced(tmp_path, stroke):
    image, _ = read_picture(put(tmp_path / "large.png", stroke.repeat(50, 0).repeat(30, 1)), GREY)
    np.testing.assert_allclose(image, seen(stroke[..., None]), rtol=1e-5, atol=1e-6)


def test_colour_is_made_grey_and_grey_is_made_colour(tmp_path, stroke):
    grey, _ = read_picture(put(tmp_path / "rgb.png", np.stack([stroke] * 3, axis=-1)), GREY)
    np.testing.assert_allclose(grey, seen(stroke[..., None]), rtol=1e-5, atol=1e-6)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6)).astype(np.uint8)
    colour, _ = read_picture(put(tmp_path / "grey.png", pixels), COLOUR)
    np.testing.assert_allclose(colour, seen(np.stack([pixels] * 3, axis=-1), COLOUR), rtol=1e-5, atol=1e-6)


def test_transparency_is_laid_on_white(tmp_path, stroke):
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[..., 3] = stroke
    image, inverted = read_picture(put(tmp_path / "ink.png", ink), GREY)
    assert inverted
    np.testing.assert_allclose(image, seen(stroke[..., None]), rtol=1e-5, atol=1e-6)


def test_16_bit_grey_keeps_its_range(tmp_path, stroke):
    image, _ = read_picture(put(tmp_path / "deep.png", stroke.astype(np.uint16) * 257), GREY)
    np.testing.assert_allclose(image, seen(stroke[..., None]), rtol=1e-5, atol=1e-6)


def test_a_photograph_is_turned_as_the_camera_says(tmp_path, stroke):
    stroke[2, 3:7] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: to be turned by a quarter, clockwise
    image, _ = read_picture(put(tmp_path / "photo.png", np.rot90(stroke), exif=exif), GREY)
    np.testing.assert_allclose(image, seen(stroke[..., None]), rtol=1e-5, atol=1e-6)


def test_files_that_are_no_pictures(tmp_path, stroke):
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    half = put(tmp_path / "half.png", np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8))
    half.write_bytes(half.read_bytes()[:10_000])
    for path in (text, half):
        with pytest.raises(ValueError, match=f"{path.name}: cannot be read as a picture"):
            read_picture(path, GREY)
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_picture(tmp_path / "nothing.png", GREY)
    with pytest.raises(IsADirectoryError):
        read_picture(tmp_path, GREY)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_unfolds_to_gigabytes(tmp_path, stroke, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="decompression bomb"):
        read_picture(put(tmp_path / "bomb.png", stroke), GREY)
