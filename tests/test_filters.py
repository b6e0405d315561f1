"""Filters made by hand: what each does to images whose answer is plain, and to images of every form."""

import numpy as np
import pytest
import reference
from cases import DTYPES, refuses

import convkit as ck
from convkit import filters

FILTERS = {
    "identity": filters.identity,
    "box_blur": filters.box_blur,
    "gaussian_blur": filters.gaussian_blur,
    "sharpen": filters.sharpen,
    "sobel_x": filters.sobel_x,
    "sobel_y": filters.sobel_y,
    "laplacian": filters.laplacian,
    "emboss": filters.emboss,
}
ROWS, COLS = np.mgrid[:9, :11].astype(np.float64)


def inner(image, kernel):
    """The answer where the filter lies inside the image."""
    return filters.apply(image, kernel)[2:-2, 2:-2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FILTERS)
def test_against_the_definition(name, dtype):
    kernel = FILTERS[name](dtype=dtype)
    assert kernel.dtype == dtype
    image = np.random.default_rng(0).standard_normal((7, 8)).astype(dtype)
    answer = reference.conv2d(image[None, None], kernel[None, None], padding="same")[0, 0]
    np.testing.assert_allclose(filters.apply(image, kernel), answer, atol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["identity", "box_blur", "gaussian_blur", "sharpen", "emboss"])
def test_these_keep_what_is_flat(name):
    np.testing.assert_allclose(inner(np.full((9, 11), 7.0), FILTERS[name](dtype=float)), 7, rtol=1e-14)


def test_identity_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (9, 11), np.uint8)
    for size in (1, 3, (5, 1)):
        np.testing.assert_array_equal(filters.apply(image, filters.identity(size)), image)


def test_sobel_gives_eight_times_the_slope():
    ramp = 3 * COLS + 5 * ROWS
    assert np.all(inner(ramp, filters.sobel_x()) == 24)
    assert np.all(inner(ramp, filters.sobel_y()) == 40)


def test_laplacian_gives_the_second_difference():
    assert np.all(inner(2 * COLS + 7 * ROWS + 1, filters.laplacian()) == 0)
    assert np.all(inner(COLS**2 + 3 * ROWS**2, filters.laplacian()) == 2 + 6)


def test_sharpening_adds_the_difference_from_the_surroundings():
    image = np.zeros((9, 11))
    image[4, 5] = 1
    assert filters.apply(image, filters.sharpen(0.5, float))[4, 4:7].tolist() == [-0.5, 3, -0.5]
    np.testing.assert_array_equal(filters.sharpen(0), filters.identity())


def test_blurring_takes_the_contrast_away():
    image = (ROWS + COLS) % 2
    assert np.ptp(inner(image, filters.gaussian_blur(5, 2.0))) < 0.02
    np.testing.assert_allclose(inner(image, filters.box_blur(2)), 0.5)


@pytest.mark.parametrize("size", [1, 4, (5, 3)])
def test_gaussian_against_its_formula(size):
    height, width = reference.pair(size)
    answer = np.array(
        [
            [np.exp(-((y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2) / (2 * 1.5**2)) for x in range(width)]
            for y in range(height)
        ]
    )
    np.testing.assert_allclose(filters.gaussian_blur(size, 1.5, float), answer / answer.sum(), rtol=1e-13)


def test_images_of_every_form():
    rng = np.random.default_rng(0)
    colour, kernel = rng.integers(0, 256, (9, 11, 3), np.uint8), filters.emboss()
    found = filters.apply(colour, kernel)
    assert (found.shape, found.dtype) == (colour.shape, np.float32)
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], filters.apply(colour[..., channel], kernel))
    batch = np.stack([colour, colour[::-1]]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(filters.apply(batch, kernel)[0].transpose(1, 2, 0), found)
    assert filters.apply(colour.astype(float), kernel).dtype == np.float64
    assert filters.apply(colour > 128, kernel).dtype == np.float32
    assert filters.apply(batch[:0], kernel).shape == (0, 3, 9, 11)


def test_as_the_weights_of_a_layer():
    layer = ck.nn.Conv2d(3, 3, 3, padding="same", groups=3, bias=False)
    layer.load_state_dict({"weight": filters.depthwise(filters.laplacian(), 3)})
    image = np.random.default_rng(0).random((1, 3, 9, 11), np.float32)
    np.testing.assert_allclose(layer(image).data, filters.apply(image, filters.laplacian()), atol=1e-6)


def test_what_is_refused():
    image, kernel = np.ones((5, 6)), filters.sobel_x()
    refuses(TypeError, "apply: image .*list", filters.apply, image.tolist(), kernel)
    refuses(TypeError, "apply: image .*complex128", filters.apply, image + 1j, kernel)
    refuses(ValueError, r"apply: image .*\(5,\)", filters.apply, image[:, 0], kernel)
    refuses(ValueError, r"apply: kernel .*\(3,\)", filters.apply, image, kernel[0])
    refuses(TypeError, r"apply: kernel .*int64", filters.apply, image, np.ones((3, 3), int))
    refuses(ValueError, "depthwise: channels=0", filters.depthwise, kernel, 0)
    refuses(ValueError, "identity: size=4 must be odd", filters.identity, 4)
    refuses(ValueError, "box_blur: size=0", filters.box_blur, 0)
    refuses(ValueError, "gaussian_blur: sigma=0", filters.gaussian_blur, 3, 0)
    refuses(TypeError, "gaussian_blur: sigma='1'", filters.gaussian_blur, 3, "1")
    refuses(TypeError, "sharpen: amount=None", filters.sharpen, None)
    for name in FILTERS:
        refuses(TypeError, f"{name}: dtype=int64", FILTERS[name], dtype=np.int64)
