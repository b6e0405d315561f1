"""MNIST and Fashion-MNIST, from idx files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from .cache import address, download, home
from .idx import read_labelled_images
from .images import ImageDataset, ImageSpec


class MNIST(ImageDataset):
    """The handwritten digits of MNIST: 60,000 to train with and 10,000 to test, 28x28 grey pixels.

    Parameters
    ----------
    root : path-like, optional
        Folder that holds the idx files, plain or ``.gz``: itself, in ``root/mnist``, or in ``root/MNIST/raw``.
        Without it, they are looked for in ``mnist`` in convkit's cache.
    train : bool, default True
        The training set or the test set.
    download : bool, default False
        Whether to download files that are not found, to ``root/mnist`` or the cache.

    Attributes
    ----------
    data : ndarray of uint8, shape (N, 28, 28)
        The images, 0 (black) to 255 (white); read-only.
    targets : ndarray of int64, shape (N,)
        The labels, 0 to 9.
    spec : ImageSpec
        Names of the classes, and what a network must know of the images.

    Raises
    ------
    FileNotFoundError
        If the files are in none of the folders and `download` is false.
    ValueError
        If a file is not whole, or a download has the wrong checksum.
    ConnectionError
        If a download fails.

    Notes
    -----
    convkit's cache is ``$CONVKIT_DATA_DIR``, else ``$XDG_CACHE_HOME/convkit``, else ``~/.cache/convkit``.
    ``$CONVKIT_DATA_URL`` names a mirror to download from instead: the address above its folders ``mnist``,
    ``fashion-mnist`` and ``cifar10``.

    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, *Gradient-based learning applied to document recognition*,
    Proceedings of the IEEE 86 (11), 1998.

    Examples
    --------
    >>> mnist = MNIST(train=False, download=True)  # doctest: +SKIP
    >>> mnist[0][0].shape  # doctest: +SKIP
    (1, 28, 28)
    """

    SPEC: ClassVar = ImageSpec(
        dataset="mnist",
        classes=tuple("0123456789"),
        channels=1,
        image_size=(28, 28),
        mean=(0.1307,),
        std=(0.3081,),
        dark_background=True,
    )
    SYSTEM_FOLDERS: ClassVar[tuple[Path, ...]] = ()
    URL: ClassVar = "https://ossci-datasets.s3.amazonaws.com/mnist"
    MD5: ClassVar = {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    }

    def __init__(self, root: str | os.PathLike[str] | None = None, train: bool = True, download: bool = False) -> None:
        prefix = "train" if train else "t10k"
        names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
        folders = self._folders(root)
        files = _find(folders, names)
        if files is None and download:
            files = self._download(home(root) / self.SPEC.dataset, names)
        if files is None:
            raise FileNotFoundError(
                f"{type(self).__name__}: found no {names[0]} and {names[1]}, plain or .gz, in "
                f"{', '.join(map(str, folders))}: name the folder that holds them (root, --data-dir) "
                "or have them downloaded (download=True, --download)"
            )
        data, targets = read_labelled_images(*files, num_classes=len(self.SPEC.classes))
        super().__init__(data, targets, self.SPEC)

    @classmethod
    def _folders(cls, root: str | os.PathLike[str] | None) -> list[Path]:
        folder = home(root)
        if root is None:
            return [folder / cls.SPEC.dataset, *cls.SYSTEM_FOLDERS]
        return [folder, folder / cls.SPEC.dataset, folder / cls.__name__ / "raw"]

    @classmethod
    def _download(cls, folder: Path, names: tuple[str, str]) -> tuple[Path, Path]:
        source = address(cls.SPEC.dataset, cls.URL)
        images, labels = (folder / f"{name}.gz" for name in names)
        for file, name in ((images, names[0]), (labels, names[1])):
            download(f"{source}/{file.name}", file, cls.MD5[name])
        return images, labels


class FashionMNIST(MNIST):
    """Fashion-MNIST: 60,000 articles of clothing to train with and 10,000 to test, 28x28 grey pixels.

    Parameters
    ----------
    root : path-like, optional
        Folder that holds the idx files, plain or ``.gz``: itself, in ``root/fashion-mnist``, or in
        ``root/FashionMNIST/raw``. Without it, they are looked for in ``fashion-mnist`` in convkit's cache, then where
        Debian's package ``dataset-fashion-mnist`` puts them.
    train : bool, default True
        The training set or the test set.
    download : bool, default False
        Whether to download files that are not found, to ``root/fashion-mnist`` or the cache.

    See Also
    --------
    MNIST : Has the same attributes, errors and environment variables.

    Notes
    -----
    H. Xiao, K. Rasul, R. Vollgraf, *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms*, arXiv:1708.07747, 2017.

    Examples
    --------
    >>> fashion = FashionMNIST(train=False, download=True)  # doctest: +SKIP
    >>> fashion.classes[9]  # doctest: +SKIP
    'Ankle boot'
    """

    SPEC: ClassVar = ImageSpec(
        dataset="fashion-mnist",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        channels=1,
        image_size=(28, 28),
        mean=(0.2860,),
        std=(0.3530,),
        dark_background=True,
    )
    SYSTEM_FOLDERS: ClassVar[tuple[Path, ...]] = (Path("/usr/share/datasets/fashion-mnist"),)
    URL: ClassVar = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    MD5: ClassVar = {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    }


def _find(folders: list[Path], names: tuple[str, str]) -> tuple[Path, Path] | None:
    """Return the first folder's files that has both, each plain or compressed."""
    for folder in folders:
        images, labels = (
            next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None) for name in names
        )
        if images and labels:
            return images, labels
    return None
