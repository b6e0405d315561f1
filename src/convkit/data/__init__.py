"""Data sets and batches, as plain NumPy arrays.

A data set is anything with a length whose items are ``(image, label)``. A `DataLoader` shuffles it, cuts it into
batches and prepares the next ones in the background while the network computes.

======================  ==============================================================================
`Digits`                ships with convkit; `MNIST`, `FashionMNIST` and `CIFAR10` are read from files
`ImageFolder`           pictures of your own, in one sub-folder a class
`TensorDataset`         arrays; `ImageDataset` holds images of one size as bytes
`DataLoader`            batches
======================  ==============================================================================
"""

from .cifar import CIFAR10
from .dataset import Dataset, TensorDataset
from .digits import Digits
from .folder import ImageFolder
from .images import ImageDataset, ImageSpec
from .loader import DataLoader
from .mnist import MNIST, FashionMNIST

__all__ = [
    "CIFAR10",
    "MNIST",
    "DataLoader",
    "Dataset",
    "Digits",
    "FashionMNIST",
    "ImageDataset",
    "ImageFolder",
    "ImageSpec",
    "TensorDataset",
]
