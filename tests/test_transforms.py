"""Augmentation: each transform against plain loops, what is random in it, and the same bits from any threads."""

import numpy as np
import pytest

import convkit as ck
from convkit.data import DataLoader, TensorDataset, transforms
from convkit.data.transforms import (
    Compose,
    ConvertImageDtype,
    Normalize,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
)


def images(count=64, channels=3, height=9, width=7, dtype=np.float32):
    """Images in which every pixel is another number from 1 on, as far as the type goes."""
    numbers = 1 + np.arange(count * height * width * channels) % 255
    return numbers.astype(dtype).reshape(count, height, width, channels).transpose(0, 3, 1, 2)


@pytest.fixture
def random():
    return np.random.default_rng(0)


ALL = [
    RandomCrop((6, 5), padding=2),
    RandomHorizontalFlip(),
    RandomErasing(),
    Compose([RandomCrop(5), RandomErasing(p=1), RandomHorizontalFlip()]),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("transform", ALL, ids=lambda transform: type(transform).__name__)
class TestEvery:
    def test_leaves_its_argument_alone_and_lies_channels_last(self, transform, dtype, random):
        given = images(dtype=dtype)
        kept = given.copy()
        changed = transform(given, random)
        assert changed.dtype == dtype
        assert changed.transpose(0, 2, 3, 1).flags.c_contiguous
        np.testing.assert_array_equal(given, kept)
        assert not np.shares_memory(given, changed)

    def test_memory_order_changes_nothing(self, transform, dtype):
        given = images(dtype=dtype)
        results = [transform(order, np.random.default_rng(1)) for order in (given, np.ascontiguousarray(given))]
        np.testing.assert_array_equal(*results)
        assert results[1].transpose(0, 2, 3, 1).flags.c_contiguous

    def test_the_generator_decides(self, transform, dtype):
        given = images(dtype=dtype)
        one, same, other = (transform(given, np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
        ck.manual_seed(5)
        drawn = transform(given)
        ck.manual_seed(5)
        np.testing.assert_array_equal(transform(given), drawn)

    def test_no_images(self, transform, dtype, random):
        assert transform(images(0, dtype=dtype), random).shape[:2] == (0, 3)


def places_of(windows, whole):
    """Where in an image each window was cut, by looking everywhere."""
    height, width = windows.shape[2:]
    found = []
    for window, image in zip(windows, whole, strict=True):
        tops = range(image.shape[1] - height + 1)
        lefts = range(image.shape[2] - width + 1)
        found.append({(i, j) for i in tops for j in lefts if (image[:, i : i + height, j : j + width] == window).all()})
    return found


class TestRandomCrop:
    def test_cuts_every_window_there_is(self, random):
        given = images(200)
        found = places_of(RandomCrop((7, 6))(given, random), given)
        assert all(len(places) == 1 for places in found)
        assert set.union(*found) == {(i, j) for i in range(3) for j in range(2)}

    @pytest.mark.parametrize(
        ("padding", "margins"),
        [(1, ((1, 1), (1, 1))), ((2, 1), ((1, 1), (2, 2))), ((0, 1, 2, 3), ((1, 3), (0, 2)))],
    )
    @pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
    def test_pads_first(self, random, padding, margins, mode):
        given = images(300, 1, 5, 6)
        whole = np.pad(given, ((0, 0), (0, 0), *margins), mode)
        found = places_of(RandomCrop((5, 6), padding, padding_mode=mode)(given, random), whole)
        assert all(found)
        rows, columns = (sum(margin) + 1 for margin in margins)
        assert len(set.union(*found)) == rows * columns

    def test_fill(self, random):
        given = images(100, 1, 4, 4)
        cropped = RandomCrop(4, padding=4, fill=-7)(given, random)
        assert set(np.unique(cropped)) <= {-7, *np.unique(given)}
        assert -7 in cropped

    def test_pads_where_images_are_too_small(self, random):
        cropped = RandomCrop((12, 4), pad_if_needed=True)(images(), random)
        assert cropped.shape == (64, 3, 12, 4)
        with pytest.raises(ValueError, match=r"size=\(12, 4\) is larger than the images, \(9, 7\) with padding"):
            RandomCrop((12, 4))(images(), random)

    def test_the_whole_image(self, random):
        np.testing.assert_array_equal(RandomCrop((9, 7))(images(), random), images())

    @pytest.mark.parametrize("shape", [(4, 1, 9, 7), (4, 3, 1, 7), (4, 3, 9, 1), (1, 1, 1, 1), (0, 3, 9, 7)])
    @pytest.mark.parametrize("dtype", [np.uint8, np.float64])
    def test_axes_of_one_may_have_any_stride(self, shape, dtype, random):
        given = np.arange(np.prod(shape)).astype(dtype).reshape(shape)  # in C order, without a gap: not copied
        size = min(shape[2], 3), min(shape[3], 2)
        cropped = RandomCrop(size)(given, random)
        assert cropped.shape == (*shape[:2], *size)
        assert all(places_of(cropped, given))

    def test_sides_are_in_torchvisions_order(self, random):
        whole = RandomCrop((15, 11), padding=(1, 2, 3, 4))(images(), random)
        np.testing.assert_array_equal(whole, np.pad(images(), ((0, 0), (0, 0), (2, 4), (1, 3))))

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"size": 0}, ValueError, "RandomCrop: size="),
            ({"size": 2.5}, TypeError, "RandomCrop: size="),
            ({"size": 2, "padding": -1}, ValueError, "RandomCrop: padding=-1 must be at least 0"),
            ({"size": 2, "padding": (1, 2, 3)}, ValueError, "must be 1, 2 or 4 numbers"),
            ({"size": 2, "padding_mode": "wrap"}, ValueError, "padding_mode='wrap' must be one of constant"),
        ],
    )
    def test_bad_arguments(self, arguments, error, message):
        with pytest.raises(error, match=message):
            RandomCrop(**arguments)


class TestRandomHorizontalFlip:
    def test_flips_about_half(self, random):
        given = images(1000)
        flipped = RandomHorizontalFlip()(given, random)
        turned = [(after == before[:, :, ::-1]).all() for after, before in zip(flipped, given, strict=True)]
        left = [(after == before).all() for after, before in zip(flipped, given, strict=True)]
        assert [a != b for a, b in zip(turned, left, strict=True)] == [True] * 1000
        assert 450 < sum(turned) < 550

    @pytest.mark.parametrize(("p", "step"), [(0, 1), (1, -1)])
    def test_none_or_all(self, random, p, step):
        np.testing.assert_array_equal(RandomHorizontalFlip(p)(images(), random), images()[:, :, :, ::step])

    @pytest.mark.parametrize("p", [-0.1, 1.1, np.nan])
    @pytest.mark.parametrize("kind", [RandomHorizontalFlip, RandomErasing])
    def test_no_probability(self, kind, p):
        with pytest.raises(ValueError, match=f"{kind.__name__}: p must be from 0 to 1"):
            kind(p)


class TestRandomErasing:
    def boxes(self, changed, given):
        """Top, left, height and width of what has changed in each image, which must be a whole rectangle."""
        for after, before in zip(changed, given, strict=True):
            mask = (after != before).any(axis=0)
            if not mask.any():
                yield None
                continue
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            yield rows[0], columns[0], len(rows), len(columns)

    def test_rectangles_have_the_sizes_and_shapes_asked_for(self, random):
        given = images(500, 3, 40, 30)
        found = list(self.boxes(RandomErasing(1, scale=(0.1, 0.2), ratio=(0.5, 2))(given, random), given))
        assert None not in found
        top, left, rows, columns = np.array(found).T
        area, ratio = rows * columns / 1200, rows / columns
        assert 0.09 < area.min() < 0.11
        assert 0.19 < area.max() < 0.22
        assert 0.45 < ratio.min() < 0.6
        assert 1.8 < ratio.max() < 2.2
        assert abs(np.log(ratio).mean()) < 0.05
        assert top.min() == left.min() == 0
        assert (top + rows).max() == 40
        assert (left + columns).max() == 30

    def test_share_of_images(self, random):
        given = images(1000, 1, 20, 20)
        found = list(self.boxes(RandomErasing(p=0.3)(given, random), given))
        assert 650 < found.count(None) < 750
        np.testing.assert_array_equal(RandomErasing(p=0)(given, random), given)

    def test_what_fits_nowhere_is_left_out(self, random):
        given = images(50, 1, 4, 4)
        np.testing.assert_array_equal(RandomErasing(1, scale=(1, 1))(given, random), given)

    @pytest.mark.parametrize("value", [0, 9.5, (0, 300.5, -1)])
    def test_values(self, random, value):
        given = images(20, 3, 20, 20)
        changed = RandomErasing(1, value=value)(given, random)
        top, left, rows, columns = next(filter(None, self.boxes(changed[:1], given[:1])))
        window = changed[0, :, top : top + rows, left : left + columns]
        np.testing.assert_array_equal(window, np.broadcast_to(np.reshape(value, (-1, 1, 1)), window.shape))

    def test_noise(self, random):
        zeros = np.zeros((200, 1, 20, 20), np.float32)
        noise = RandomErasing(1, value="random")(zeros, random)
        noise = noise[noise != 0]
        assert abs(noise.mean()) < 0.05
        assert abs(noise.std() - 1) < 0.05
        noise = RandomErasing(1, value="random")(zeros.astype(np.uint8), random)
        assert (noise.dtype, noise.max()) == (np.uint8, 255)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"scale": (0, 0.1)}, r"scale=\(0, 0.1\) must be two numbers above 0 and up to 1"),
            ({"scale": (0.5, 1.5)}, "scale="),
            ({"scale": (0.5, 0.25)}, "scale="),
            ({"ratio": (0.5, np.inf)}, "ratio="),
            ({"value": "noise"}, "value='noise' must be a number, one a channel, or 'random'"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=f"RandomErasing: {message}"):
            RandomErasing(**arguments)

    def test_one_value_a_channel(self, random):
        with pytest.raises(ValueError, match="one value for each of 3 channels"):
            RandomErasing(value=(1, 2))(images(), random)


class TestNormalize:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("order", ["C", "K"])
    def test_by_channel(self, dtype, order):
        given = images(dtype=dtype).copy(order)
        mean, std = [1, 20, 300], [2, 4, 5]
        normalised = Normalize(mean, std)(given)
        expected = [(given[:, c].astype(float) - mean[c]) / std[c] for c in range(3)]
        assert normalised.dtype == dtype
        assert normalised.transpose(0, 2, 3, 1).flags.c_contiguous
        np.testing.assert_allclose(normalised, np.stack(expected, 1), rtol=1e-6)

    def test_one_value_for_all(self):
        np.testing.assert_array_equal(Normalize([1], [2])(images()), (images() - 1) / 2)

    def test_after_bytes_became_numbers(self):
        pixels = images(dtype=np.uint8)
        scaled = ConvertImageDtype()(pixels)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, pixels / 255, rtol=1e-6)
        assert ConvertImageDtype(np.float64)(scaled).dtype == np.float64
        with pytest.raises(TypeError, match="not uint8: ConvertImageDtype comes first"):
            Normalize([0], [1])(pixels)
        with pytest.raises(TypeError, match="dtype must be floating point, got int64"):
            ConvertImageDtype(np.int64)

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="std must be above 0"):
            Normalize([0.5], [0])
        with pytest.raises(ValueError, match="one value for each of 3 channels"):
            Normalize([0.5, 0.5], [1, 1])(images())


@pytest.mark.parametrize("wrong", [np.zeros((3, 8, 8), np.float32), [[[[1.0]]]]])
def test_what_is_no_batch(wrong):
    with pytest.raises(ValueError, match=r"RandomHorizontalFlip: images must be an array of shape \(N, C, H, W\)"):
        RandomHorizontalFlip()(wrong)


def test_what_is_no_brightness():
    with pytest.raises(TypeError, match="RandomCrop: images must be uint8 or floating point, got int64"):
        RandomCrop(2)(np.zeros((1, 1, 4, 4), np.int64))


class TestInTheLoader:
    AUGMENT = Compose([RandomCrop(8, padding=2), RandomHorizontalFlip(), RandomErasing()])

    def loader(self, **options):
        dataset = TensorDataset(images(50, 1, 8, 8), np.arange(50))
        return DataLoader(dataset, 8, shuffle=True, seed=3, transform=self.AUGMENT, **options)

    @staticmethod
    def epoch(loader):
        batches, labels = zip(*loader, strict=True)
        return np.concatenate(batches), np.concatenate(labels)

    def test_the_same_bits_from_any_number_of_threads(self):
        expected = [self.epoch(loader) for loader in [self.loader(prefetch=0)] for _ in range(2)]
        for options in ({}, {"prefetch": 4, "num_workers": 4}, {"prefetch": 1, "num_workers": 2}):
            loader = self.loader(**options)
            for pictures, labels in expected:
                found = self.epoch(loader)
                np.testing.assert_array_equal(found[0], pictures)
                np.testing.assert_array_equal(found[1], labels)

    def test_goes_on_to_the_same_bits(self):
        loader = self.loader()
        self.epoch(loader)
        state = loader.state_dict()
        expected = self.epoch(loader)[0]
        resumed = self.loader()
        resumed.load_state_dict(state)
        np.testing.assert_array_equal(self.epoch(resumed)[0], expected)

    def test_epochs_and_batches_differ(self):
        same = TensorDataset(np.repeat(images(1, 1, 8, 8), 16, 0), np.zeros(16, int))
        loader = DataLoader(same, 8, seed=0, transform=RandomCrop(8, padding=3))
        batches = [batch for _ in range(2) for batch, _ in loader]
        for i in range(4):
            for j in range(i):
                assert (batches[i] != batches[j]).any()

    def test_no_transform_draws_from_the_order_of_the_items(self):
        plain = DataLoader(TensorDataset(np.arange(50)), 8, shuffle=True, seed=3)
        assert np.concatenate([labels for (labels,) in plain]).tolist() == self.epoch(self.loader())[1].tolist()


def test_torchvisions_names():
    for name in ("Compose", "ConvertImageDtype", "Normalize", "RandomCrop", "RandomErasing", "RandomHorizontalFlip"):
        assert name in vars(transforms)
