"""Folders of pictures: which files count, how they are read, and everything that can be wrong with them."""

import threading

import numpy as np
import pytest

import convkit as ck
from convkit.data import ImageFolder, folder
from convkit.data.folder import find_samples
from convkit.data.images import pixel_statistics

Image = pytest.importorskip("PIL.Image")


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


def flat(brightness, size=(6, 4)):
    return np.full(size, brightness)


@pytest.fixture
def pets(tmp_path):
    """Two classes; dogs in a sub-folder too, and in capitals."""
    root = tmp_path / "pets"
    save(root / "dog" / "b.png", flat(30))
    save(root / "dog" / "litter" / "a.PNG", flat(40))
    save(root / "cat" / "2.png", flat(20))
    save(root / "cat" / "10.png", flat(10))
    return root


def test_classes_are_the_sub_folders(pets):
    dataset = ImageFolder(pets)
    assert dataset.classes == ("cat", "dog")
    assert dataset.class_to_idx == {"cat": 0, "dog": 1}
    assert [(str(path.relative_to(pets)), label) for path, label in dataset.samples] == [
        ("cat/10.png", 0),
        ("cat/2.png", 0),
        ("dog/b.png", 1),
        ("dog/litter/a.PNG", 1),
    ]
    assert dataset.targets.tolist() == [0, 0, 1, 1]
    assert dataset.targets.dtype == np.int64
    assert dataset.data[:, 0, 0, 0].tolist() == [10, 20, 30, 40]
    assert dataset.data.shape == (4, 6, 4, 1)
    assert repr(dataset) == "<pets: 4 images of 1x6x4, 2 classes>"


def test_hidden_files_and_others_are_skipped(pets):
    save(pets / ".thumbnails" / "a.png", flat(0))
    save(pets / "dog" / ".hidden.png", flat(0))
    save(pets / "dog" / ".hidden" / "a.png", flat(0))
    save(pets / "stray.png", flat(0))
    (pets / "dog" / "notes.txt").write_text("words")
    (pets / "dog" / "Thumbs.db").write_bytes(b"bytes")
    assert len(ImageFolder(pets)) == 4


def test_images_are_normalised_by_the_folders_own_statistics(pets):
    dataset = ImageFolder(pets)
    image, label = dataset[3]
    assert (image.shape, image.dtype, label) == ((1, 6, 4), np.float32, 1)
    brightness = np.array([10, 20, 30, 40]) / 255
    np.testing.assert_allclose(image, (40 / 255 - brightness.mean()) / brightness.std(), rtol=1e-2)


def test_statistics_are_by_channel():
    data = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3)).astype(np.uint8)
    mean, std = pixel_statistics(data)
    np.testing.assert_allclose(mean, (data / 255).mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(std, (data / 255).std((0, 1, 2)), atol=1e-4)
    assert pixel_statistics(np.zeros((1, 2, 2, 1), np.uint8)) == ((0.0,), (0.0039,))


class TestChannels:
    @pytest.fixture
    def mixed(self, pets):
        save(pets / "dog" / "c.png", np.broadcast_to([200, 100, 50], (6, 4, 3)))
        return pets

    def test_grey_if_every_file_is(self, pets):
        save(pets / "dog" / "d.jpg", flat(50))
        assert ImageFolder(pets).spec.channels == 1
        assert ImageFolder(pets, channels=3).data.shape == (5, 6, 4, 3)

    def test_colour_if_one_file_is(self, mixed):
        dataset = ImageFolder(mixed)
        assert dataset.data.shape == (5, 6, 4, 3)
        assert dataset.data[3, 0, 0].tolist() == [200, 100, 50]
        assert dataset.data[0, 0, 0].tolist() == [10, 10, 10]

    def test_grey_when_asked_for(self, mixed):
        assert ImageFolder(mixed, channels=1).data[3, 0, 0].tolist() == [round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)]

    def test_grey_with_transparency_stays_grey(self, pets):
        Image.new("LA", (4, 6), (50, 128)).save(pets / "dog" / "c.png")
        dataset = ImageFolder(pets)
        assert dataset.spec.channels == 1
        assert abs(int(dataset.data[3, 0, 0, 0]) - (50 * 128 + 255 * 127) / 255) <= 1

    @pytest.mark.parametrize("channels", [2, 4, "grey"])
    def test_other_numbers(self, pets, channels):
        with pytest.raises(ValueError, match="ImageFolder: channels must be 1 or 3"):
            ImageFolder(pets, channels=channels)


class TestSizes:
    def test_resized_to_one(self, pets):
        save(pets / "dog" / "wide.png", np.repeat(flat(100, (3, 4)), 2, axis=1))
        assert ImageFolder(pets, image_size=5).data.shape == (5, 5, 5, 1)
        dataset = ImageFolder(pets, image_size=(3, 4))
        assert dataset.spec.image_size == (3, 4)
        assert dataset.data[-1].tolist() == np.full((3, 4, 1), 100).tolist()

    def test_smaller_ones_are_means(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (8, 12))
        for name in ("a", "b"):
            save(tmp_path / name / "1.png", pixels)
        expected = pixels.reshape(4, 2, 4, 3).mean((1, 3))
        np.testing.assert_allclose(
            ImageFolder(tmp_path, image_size=4).data[0, ..., 0], expected, atol=1
        )  # rounded twice

    def test_large_photographs_are_halved_while_decoding(self, tmp_path):
        ramp = np.linspace(0, 255, 512)[:, None] * np.ones(384)
        for name in ("a", "b"):
            save(tmp_path / name / "1.jpg", ramp, quality=95)
        data = ImageFolder(tmp_path, image_size=16).data
        np.testing.assert_allclose(data[0, ..., 0].mean(axis=1), ramp.reshape(16, -1).mean(axis=1), atol=1.5)

    def test_different_ones_need_a_size(self, pets):
        save(pets / "dog" / "c.png", flat(100, (8, 9)))
        with pytest.raises(ValueError, match=r"c\.png: is 8x9 pixels, but .*10\.png is 6x4: name one size"):
            ImageFolder(pets)

    @pytest.mark.parametrize("size", [0, (3, -1)])
    def test_no_size(self, pets, size):
        with pytest.raises(ValueError, match="ImageFolder: image_size"):
            ImageFolder(pets, image_size=size)


class TestBroken:
    @pytest.mark.parametrize("content", [b"", b"words", b"\xff\xd8\xff\xe0 torn"])
    def test_an_unreadable_picture_is_named(self, pets, content):
        (pets / "dog" / "c.jpg").write_bytes(content)
        with pytest.raises(ValueError, match=r"dog/c\.jpg: cannot be read as a picture") as caught:
            ImageFolder(pets)
        assert str(pets) in str(caught.value)

    def test_a_torn_picture_is_named(self, pets):
        save(pets / "dog" / "c.jpg", np.random.default_rng(0).integers(0, 256, (6, 4)))
        whole = (pets / "dog" / "c.jpg").read_bytes()
        (pets / "dog" / "c.jpg").write_bytes(whole[:-30])
        with pytest.raises(ValueError, match=r"dog/c\.jpg: cannot be read as a picture: .*truncated"):
            ImageFolder(pets, workers=3)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("convkit")]

    def test_one_class(self, tmp_path):
        save(tmp_path / "cat" / "a.png", flat(0))
        with pytest.raises(ValueError, match=r"at least two sub-folders with pictures, .*, found only cat"):
            ImageFolder(tmp_path)

    def test_no_class(self, tmp_path):
        save(tmp_path / "a.png", flat(0))
        with pytest.raises(ValueError, match="found none"):
            ImageFolder(tmp_path)

    def test_a_class_without_pictures(self, pets):
        (pets / "emu").mkdir()
        (pets / "emu" / "notes.txt").write_text("none yet")
        with pytest.raises(FileNotFoundError, match=r"emu: holds no picture, \.avif, \.bmp"):
            ImageFolder(pets)

    def test_no_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
            ImageFolder(tmp_path / "nowhere")


def test_any_number_of_threads_reads_the_same(tmp_path):
    random = np.random.default_rng(0)
    for index in range(40):
        save(tmp_path / "ab"[index % 2] / f"{index}.jpg", random.integers(0, 256, (9, 9, 3)))
    one, two, six = (ImageFolder(tmp_path, 7, workers=workers) for workers in (1, 2, 6))
    for other in (two, six):
        np.testing.assert_array_equal(one.data, other.data)
        assert one.samples == other.samples
        assert one.spec == other.spec


def test_as_many_threads_as_convkit_has(pets, monkeypatch):
    seen = []
    prefetched = folder.prefetched
    monkeypatch.setattr(folder, "prefetched", lambda *args: seen.append(args[3]) or prefetched(*args))
    with ck.num_threads(2):
        ImageFolder(pets)
    ImageFolder(pets, workers=5)
    assert seen == [2, 5]


def test_progress_is_shown_where_asked_for(pets, capsys, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    bars = []
    shown = tqdm.tqdm

    def bar(*args, **options):
        bars.append(args[2])
        return shown(*args, **options)

    monkeypatch.setattr(tqdm, "tqdm", bar)
    ImageFolder(pets)
    assert bars == []
    ImageFolder(pets, progress=True)
    assert bars == [4]


def test_samples_are_found_without_opening_them(pets):
    (pets / "dog" / "c.jpg").write_bytes(b"words")
    classes, samples = find_samples(pets)
    assert (classes, len(samples)) == (("cat", "dog"), 5)
