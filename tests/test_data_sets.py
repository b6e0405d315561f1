"""The data sets: the digits that ship, idx files and everything that can be wrong with them, downloads."""

import gzip
import hashlib
import os
import struct

import numpy as np
import pytest

from convkit.data import MNIST, DataLoader, Digits, FashionMNIST, ImageDataset, ImageSpec
from convkit.data.idx import read_idx

NAMES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array):
    return struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (7, 28, 28)), np.arange(7)


@pytest.fixture
def files(pictures):
    """Contents of a small test set of MNIST's form."""
    return {name: idx(array) for name, array in zip(NAMES, pictures, strict=True)}


def put(folder, files, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing where Debian keeps data, on whatever machine this runs."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CONVKIT_DATA_DIR", str(folder))
    monkeypatch.setattr(FashionMNIST, "SYSTEM_FOLDERS", (tmp_path / "system",))
    return folder


class TestDigits:
    def test_are_the_1797_of_uci(self):
        train, test = Digits(train=True), Digits(train=False)
        targets = np.concatenate([train.targets, test.targets])
        assert np.bincount(targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
        # The sum of all pixels, as other copies of the data set have it.
        assert train.data.sum(dtype=int) + test.data.sum(dtype=int) == 561718
        assert train.data.max() == 16
        first = [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]
        assert train.data[0, :2].tolist() == first
        assert train.targets[:10].tolist() == list(range(10))

    def test_split_is_stratified_and_apart(self):
        train, test = Digits(train=True), Digits(train=False)
        share = np.bincount(test.targets) / (np.bincount(test.targets) + np.bincount(train.targets))
        assert np.all(np.abs(share - 0.2) < 0.005)
        as_rows = [{image.tobytes() for image in digits.data} for digits in (train, test)]
        assert not as_rows[0] & as_rows[1]

    def test_are_normalised(self):
        images, labels = next(iter(DataLoader(Digits(), 1442)))
        assert (images.dtype, images.shape) == (np.float32, (1442, 1, 8, 8))
        assert labels.dtype == np.int64
        assert abs(images.mean(dtype=float)) < 1e-3
        assert abs(images.std(dtype=float) - 1) < 1e-3

    def test_one_item_equals_its_row_of_a_batch(self):
        digits = Digits()
        image, label = digits[-1]
        images, labels = digits.batch(np.array([5, 1441]))
        np.testing.assert_array_equal(image, images[1])
        assert (label, type(label)) == (labels[1], int)
        with pytest.raises(IndexError):
            digits[1442]


class TestImages:
    SPEC = ImageSpec("colours", ("a", "b"), 3, (2, 4), (0.5, 0.25, 0.0), (1.0, 0.5, 2.0), False)

    def test_colour_is_normalised_by_channel_and_lies_channels_last(self):
        data = np.random.default_rng(0).integers(0, 256, (5, 2, 4, 3)).astype(np.uint8)
        images, _ = ImageDataset(data, np.zeros(5, np.int64), self.SPEC).batch(np.array([4, 2]))
        expected = (data[[4, 2]] / 255.0 - self.SPEC.mean) / self.SPEC.std
        np.testing.assert_allclose(images.transpose(0, 2, 3, 1), expected, rtol=1e-6, atol=1e-6)
        assert images.transpose(0, 2, 3, 1).flags.c_contiguous

    def test_what_the_network_sees_becomes_a_picture_again(self):
        data = np.random.default_rng(0).integers(0, 256, (1, 2, 4, 3)).astype(np.uint8)
        image, _ = ImageDataset(data, np.zeros(1, np.int64), self.SPEC)[0]
        picture = self.SPEC.picture(image)
        np.testing.assert_allclose(picture, data[0] / 255, atol=1e-6)
        assert picture.dtype == np.float32
        assert set(np.unique(self.SPEC.picture(100 * np.sign(image)))) <= {0, 1}

    def test_spec_survives_a_dictionary(self):
        assert ImageSpec.from_dict(self.SPEC.to_dict()) == self.SPEC
        listed = self.SPEC.to_dict() | {"mean": [0.5, 0.25, 0.0], "image_size": [2, 4]}
        assert ImageSpec.from_dict(listed) == self.SPEC
        with pytest.raises(ValueError, match="fields must be"):
            ImageSpec.from_dict({"dataset": "colours"})

    @pytest.mark.parametrize(
        ("shape", "labels", "message"),
        [
            ((5, 2, 4), np.zeros(5, np.int64), r"uint8 of shape \(N, 2, 4, 3\), got uint8 \(5, 2, 4\)"),
            ((5, 2, 4, 3), np.zeros(4, np.int64), "5 images need int64 labels"),
            ((5, 2, 4, 3), np.full(5, 2), "labels must be from 0 to 1, found 2 at index 0"),
        ],
    )
    def test_what_does_not_fit_the_spec(self, shape, labels, message):
        with pytest.raises(ValueError, match=message):
            ImageDataset(np.zeros(shape, np.uint8), labels, self.SPEC)

    def test_specs_that_contradict_themselves(self):
        with pytest.raises(ValueError, match="one value for each of 3 channels"):
            ImageSpec("colours", ("a",), 3, (2, 2), (0.5,), (1.0,), False)
        with pytest.raises(ValueError, match="std must be above 0"):
            ImageSpec("grey", ("a",), 1, (2, 2), (0.5,), (0.0,), False)


class TestFolders:
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("layout", [".", "mnist", "MNIST/raw"])
    def test_a_folder_that_is_named(self, tmp_path, files, pictures, layout, compress):
        put(tmp_path / "mine" / layout, files, compress)
        mnist = MNIST(tmp_path / "mine", train=False)
        np.testing.assert_array_equal(mnist.data, pictures[0])
        np.testing.assert_array_equal(mnist.targets, pictures[1])
        np.testing.assert_allclose(mnist[3][0][0], (pictures[0][3] / 255 - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6)

    def test_the_cache_comes_before_the_system(self, tmp_path, cache, files, pictures):
        put(tmp_path / "system", files)
        assert len(FashionMNIST(train=False)) == 7
        put(cache / "fashion-mnist", {name: idx(array[:3]) for name, array in zip(NAMES, pictures, strict=True)})
        assert len(FashionMNIST(train=False)) == 3

    def test_a_folder_that_is_named_is_the_only_one(self, tmp_path, cache, files):
        put(cache / "mnist", files)
        assert len(MNIST(train=False)) == 7
        with pytest.raises(FileNotFoundError, match=r"name the folder that holds them .*download=True") as caught:
            MNIST(tmp_path / "empty", train=False)
        assert "t10k-images-idx3-ubyte" in str(caught.value)
        assert str(tmp_path / "empty") in str(caught.value)
        assert str(cache) not in str(caught.value)

    def test_images_without_labels_are_not_found(self, tmp_path, files):
        put(tmp_path, {NAMES[0]: files[NAMES[0]]})
        with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
            MNIST(tmp_path, train=False)

    def test_the_cache_follows_xdg(self, tmp_path, monkeypatch, files):
        monkeypatch.delenv("CONVKIT_DATA_DIR")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        put(tmp_path / "xdg" / "convkit" / "mnist", files)
        assert len(MNIST(train=False)) == 7

    def test_class_names(self, tmp_path, files):
        put(tmp_path, files)
        assert FashionMNIST(tmp_path, train=False).classes[9] == "Ankle boot"
        assert MNIST(tmp_path, train=False).classes == tuple("0123456789")


class TestBrokenFiles:
    def refused(self, tmp_path, name, content, message, compress=False):
        path = tmp_path / (f"{name}.gz" if compress else name)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            MNIST(tmp_path, train=False)
        assert str(path) in str(caught.value)

    @pytest.fixture(autouse=True)
    def whole(self, tmp_path, files):
        put(tmp_path, files)

    def test_wrong_magic(self, tmp_path, files):
        labels = files[NAMES[1]]
        self.refused(tmp_path, NAMES[0], labels + bytes(99), "3 axes is 0x00000803, found 0x00000801")

    def test_not_idx_at_all(self, tmp_path):
        self.refused(tmp_path, NAMES[0], b"<!DOCTYPE html>   ", "is 0x00000803, found 0x3c21444f")

    def test_truncated_data(self, tmp_path, files):
        self.refused(tmp_path, NAMES[0], files[NAMES[0]][:-1], r"truncated: .*5488 bytes of data, .*found 5487")

    def test_truncated_header(self, tmp_path):
        self.refused(tmp_path, NAMES[0], bytes([0, 0, 8]), "truncated: an idx header of 3 axes has 16 bytes, found 3")

    def test_trailing_bytes(self, tmp_path, files):
        self.refused(tmp_path, NAMES[1], files[NAMES[1]] + b"!", "trailing bytes: its header says 7 .*, found 8")

    def test_a_header_that_claims_the_moon_allocates_nothing(self, tmp_path):
        header = struct.pack(">4I", 0x0803, *[2**32 - 1] * 3)
        self.refused(tmp_path, NAMES[0], header, "truncated: .* found 0")

    def test_counts_differ(self, tmp_path):
        self.refused(tmp_path, NAMES[1], idx(np.arange(6)), "one label for each of the 7 images in .*, found 6")

    def test_label_out_of_range(self, tmp_path):
        wrong = idx(np.array([0, 1, 2, 10, 4, 5, 6]))
        self.refused(tmp_path, NAMES[1], wrong, "labels must be from 0 to 9, found 10 at index 3")

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda packed: packed[:-20], "truncated: the compressed data ends before its end mark"),
            (lambda packed: b"plain" + packed, "not a whole gzip file"),
            (lambda packed: packed[:100] + bytes(8) + packed[108:], "not a whole gzip file"),
        ],
        ids=["truncated", "not gzip", "damaged"],
    )
    def test_broken_gzip(self, tmp_path, files, damage, message):
        for name in NAMES:
            (tmp_path / name).unlink()
        put(tmp_path, files, compress=True)
        content = damage((tmp_path / f"{NAMES[0]}.gz").read_bytes())
        self.refused(tmp_path, NAMES[0], content, message, compress=True)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nothing"):
            read_idx(tmp_path / "nothing", ndim=1)


class TestDownload:
    @pytest.fixture(autouse=True)
    def extras(self):
        pytest.importorskip("pooch")
        pytest.importorskip("tqdm")

    @pytest.fixture
    def published(self, files, monkeypatch):
        """The files as a server has them, their checksums known to convkit."""
        packed = {name: gzip.compress(content) for name, content in files.items()}
        monkeypatch.setattr(MNIST, "MD5", {name: hashlib.md5(content).hexdigest() for name, content in packed.items()})
        return {f"/mnist/{name}.gz": content for name, content in packed.items()}

    def left_in(self, cache):
        return sorted(file for _, _, files in os.walk(cache) for file in files)

    def test_good_files_are_kept(self, serve, published, cache, pictures):
        serve(published)
        np.testing.assert_array_equal(MNIST(train=False, download=True).data, pictures[0])
        assert self.left_in(cache) == [f"{name}.gz" for name in NAMES]
        published.clear()
        assert len(MNIST(train=False, download=True)) == 7

    def test_a_folder_that_is_named_gets_the_files(self, serve, published, cache, tmp_path):
        serve(published)
        MNIST(tmp_path / "mine", train=False, download=True)
        assert (tmp_path / "mine" / "mnist" / f"{NAMES[0]}.gz").is_file()
        assert not cache.exists()

    def test_a_wrong_checksum_is_refused(self, serve, published, cache):
        address = f"/mnist/{NAMES[0]}.gz"
        serve(published | {address: published[address][:-1] + b"!"})
        with pytest.raises(ValueError, match=f"{NAMES[0]}.gz: refused, its MD5 checksum is not {MNIST.MD5[NAMES[0]]}"):
            MNIST(train=False, download=True)
        assert self.left_in(cache) == []

    def test_an_interrupted_download_leaves_nothing(self, serve, published, cache):
        serve(published, missing=10)
        with pytest.raises(ConnectionError, match=f"cannot download http://127.0.0.1:.*{NAMES[0]}.gz"):
            MNIST(train=False, download=True)
        assert self.left_in(cache) == []

    def test_a_file_that_is_not_there(self, serve, cache):
        serve({})
        with pytest.raises(ConnectionError, match="404"):
            MNIST(train=False, download=True)
        assert self.left_in(cache) == []

    def test_no_server(self, serve, monkeypatch, cache):
        serve({})
        monkeypatch.setenv("CONVKIT_DATA_URL", "http://127.0.0.1:9")
        with pytest.raises(ConnectionError, match="cannot download"):
            MNIST(train=False, download=True)
        assert self.left_in(cache) == []
