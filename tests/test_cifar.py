"""CIFAR-10: its three formats and all that can be wrong with them, downloads, and the whole set where it is present."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest

from convkit.data import CIFAR10, cifar_files
from convkit.data.cache import cache_folder

USERS_CACHE = cache_folder()
COUNT = 4  # images in a part, in place of 10,000
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Parts of a few images, and an empty cache."""
    monkeypatch.setattr(cifar_files, "_IMAGES_PER_PART", COUNT)
    monkeypatch.setenv("CONVKIT_DATA_DIR", str(tmp_path / "cache"))


@pytest.fixture
def pictures():
    """Images (N, 32, 32, 3) and labels of the five parts for training and the one for testing, in this order."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (6 * COUNT, 32, 32, 3)).astype(np.uint8), np.arange(6 * COUNT) % 10


@pytest.fixture
def files(pictures):
    """Contents of the binary files, written byte by byte from what the format's page says."""
    images, labels = pictures
    records = [
        bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
        for image, label in zip(images, labels, strict=True)
    ]
    return {
        f"{part}.bin": b"".join(records[COUNT * i : COUNT * (i + 1)]) for i, part in enumerate([*TRAIN, "test_batch"])
    }


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def archive(files):
    # The published one has its files in no order, among others.
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in reversed([("readme.html", b"words"), *files.items()]):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def strips(pictures):
    image_module = pytest.importorskip("PIL.Image")
    images, labels = pictures
    files = {
        "train_lables.json": json.dumps(labels[: 5 * COUNT].tolist()).encode(),
        "test_lables.json": json.dumps(labels[5 * COUNT :].tolist()).encode(),
    }
    for i, part in enumerate([*TRAIN, "test_batch"]):
        packed = io.BytesIO()
        image_module.fromarray(images[COUNT * i : COUNT * (i + 1)].reshape(COUNT, 1024, 3)).save(packed, "PNG")
        files[f"{part}.png"] = packed.getvalue()
    return files


def is_whole(root, pictures):
    images, labels = pictures
    for train, part in ((True, slice(5 * COUNT)), (False, slice(5 * COUNT, None))):
        cifar = CIFAR10(root, train=train)
        np.testing.assert_array_equal(cifar.data, images[part])
        np.testing.assert_array_equal(cifar.targets, labels[part])
        assert cifar.data.flags.c_contiguous


@pytest.mark.parametrize("layout", [".", "cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin"])
def test_binary_files(tmp_path, files, pictures, layout):
    put(tmp_path / "mine" / layout, files)
    is_whole(tmp_path / "mine", pictures)


@pytest.mark.parametrize("layout", [".", "cifar10"])
def test_the_archive_in_a_folder(tmp_path, files, pictures, layout):
    put(tmp_path / "mine" / layout, {"cifar-10-binary.tar.gz": archive(files)})
    is_whole(tmp_path / "mine", pictures)


def test_the_archive_itself(tmp_path, files, pictures):
    put(tmp_path, {"renamed.tgz": archive(files)})
    is_whole(tmp_path / "renamed.tgz", pictures)


def test_pngs(tmp_path, pictures):
    put(tmp_path / "mine", strips(pictures))
    is_whole(tmp_path / "mine", pictures)


def test_the_cache(files, pictures):
    put(cache_folder() / "cifar10" / "cifar-10-batches-bin", files)
    is_whole(None, pictures)


def test_images_are_normalised(tmp_path, files, pictures):
    put(tmp_path, files)
    image, label = CIFAR10(tmp_path, train=False)[1]
    expected = (pictures[0][5 * COUNT + 1] / 255 - [0.4914, 0.4822, 0.4465]) / [0.2470, 0.2435, 0.2616]
    np.testing.assert_allclose(image.transpose(1, 2, 0), expected, rtol=1e-5, atol=1e-5)
    assert label == (5 * COUNT + 1) % 10
    assert CIFAR10(tmp_path, train=False).classes[6] == "frog"


def test_nothing_found(tmp_path, files):
    put(tmp_path, {name: content for name, content in files.items() if name != "data_batch_3.bin"})
    assert len(CIFAR10(tmp_path, train=False)) == COUNT
    with pytest.raises(FileNotFoundError, match=r"found no cifar-10-binary\.tar\.gz, data_batch_1\.bin or .*download="):
        CIFAR10(tmp_path, train=True)


def test_pickles_are_never_read(tmp_path, files):
    put(tmp_path / "cifar-10-batches-py", {name.removesuffix(".bin"): content for name, content in files.items()})
    with pytest.raises(FileNotFoundError):
        CIFAR10(tmp_path)


def refused(root, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        CIFAR10(root, train=False)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], f"must have {4 * 3073} bytes, 4 records of 3073, found {4 * 3073 - 1}"),
        (lambda content: content + bytes(3073), f"found {5 * 3073}"),
        (lambda content: b"", "found 0"),
        (lambda content: content[:3073] + b"\x0a" + content[3074:], "labels must be from 0 to 9, found 10 at index 1"),
    ],
    ids=["short", "long", "empty", "label"],
)
def test_damaged_binary_files(tmp_path, files, damage, message):
    files["test_batch.bin"] = damage(files["test_batch.bin"])
    put(tmp_path / "loose", files)
    refused(tmp_path / "loose", "test_batch.bin", message)
    put(tmp_path / "packed", {"cifar-10-binary.tar.gz": archive(files)})
    refused(tmp_path / "packed", "test_batch.bin", message)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda packed: packed[: len(packed) // 2], "not a whole archive"),
        (lambda packed: packed[:2000] + bytes(64) + packed[2064:], "not a whole archive"),
        (lambda packed: b"<!DOCTYPE html>", "not a whole archive"),
        (lambda packed: b"", "not a whole archive"),
        (lambda packed: archive({"data_batch_1.bin": b""}), "holds no cifar-10-batches-bin/test_batch.bin"),
    ],
    ids=["torn", "damaged", "not an archive", "empty", "another"],
)
def test_damaged_archives(tmp_path, files, damage, message):
    put(tmp_path, {"cifar-10-binary.tar.gz": damage(archive(files))})
    refused(tmp_path, "cifar-10-binary.tar.gz", message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2, 3]", r"must be a list of 4 whole numbers, found int64 of \(3,\)"),
        (b"[1, 2, 3, 1.5]", "must be a list of 4 whole numbers, found float64"),
        (b'{"a": 1}', "must be a list of 4 whole numbers"),
        (b"[1, 2, 3, -1]", "labels must be from 0 to 9, found -1 at index 3"),
        (b"[1, 2, [3]]", "not a list of labels"),
        (b"[1, 2", "not a list of labels"),
        (b"\xff\xfe", "not a list of labels"),
    ],
)
def test_damaged_labels(tmp_path, pictures, content, message):
    put(tmp_path, strips(pictures) | {"test_lables.json": content})
    refused(tmp_path, "test_lables.json", message)


@pytest.mark.parametrize("damage", ["torn", "size", "grey", "text"])
def test_damaged_pngs(tmp_path, pictures, damage):
    files = strips(pictures)
    from PIL import Image

    packed = io.BytesIO()
    if damage == "size":
        Image.new("RGB", (32, 32)).save(packed, "PNG")
    elif damage == "grey":
        Image.new("L", (1024, COUNT)).save(packed, "PNG")
    content = {"torn": files["test_batch.png"][:-2000], "text": b"words"}.get(damage, packed.getvalue())
    put(tmp_path, files | {"test_batch.png": content})
    found = {"size": "must be 1024x4 RGB, found 32x32 RGB", "grey": "found 1024x4 L"}.get(damage, "")
    refused(tmp_path, "test_batch.png", f"not one of CIFAR-10's PNGs: .*{found}")


def test_download(serve, files, pictures, monkeypatch):
    for module in ("pooch", "tqdm"):
        pytest.importorskip(module)
    content = archive(files)
    serve({"/cifar10/cifar-10-binary.tar.gz": content})
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz: refused, its MD5 checksum is not c32a1d4ab5d03f1"):
        CIFAR10(train=False, download=True)
    assert list((cache_folder() / "cifar10").iterdir()) == []
    monkeypatch.setattr(CIFAR10, "MD5", hashlib.md5(content).hexdigest())
    np.testing.assert_array_equal(CIFAR10(train=False, download=True).targets, pictures[1][5 * COUNT :])
    is_whole(None, pictures)


def test_the_whole_set(monkeypatch):
    """Where convkit's cache has it: its size, its classes and its mean."""
    monkeypatch.setattr(cifar_files, "_IMAGES_PER_PART", 10_000)
    try:
        train, test = CIFAR10(USERS_CACHE, train=True), CIFAR10(USERS_CACHE, train=False)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert np.bincount(train.targets).tolist() == [5000] * 10
    assert np.bincount(test.targets).tolist() == [1000] * 10
    np.testing.assert_allclose(train.data.mean((0, 1, 2)) / 255, train.spec.mean, atol=5e-5)
    np.testing.assert_allclose(train.data[:10000].std((0, 1, 2)) / 255, train.spec.std, atol=5e-3)
