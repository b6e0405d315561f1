"""Data sets and batches, as plain NumPy arrays.

A data set is anything with a length whose items are ``(image, label)``. A `DataLoader` shuffles it, cuts it into
batches and prepares the next ones in the background while the network computes.

======================  ==============================================================================
`Digits`                ships with convkit; `MNIST`, `FashionMNIST` and `CIFAR10` are read from files
`ImageFolder`           pictures of your own, in one sub-folder a class
`TensorDataset`         arrays; `ImageDataset` holds images of one size as bytes
`random_split`          parts of a data set; `stratified_split` keeps the proportions of its classes
`DataLoader`            batches; samplers such as `WeightedRandomSampler` decide their order
`transforms`            augmentation, in the loader's threads
`class_weights`         for classes of different sizes
======================  ==============================================================================
"""

from . import transforms
from .cifar import CIFAR10
from .dataset import Dataset, TensorDataset
from .digits import Digits
from .folder import ImageFolder
from .images import ImageDataset, ImageSpec
from .labels import class_weights
from .loader import DataLoader
from .mnist import MNIST, FashionMNIST
from .samplers import RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler
from .splits import Subset, random_split, stratified_split

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
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "TensorDataset",
    "WeightedRandomSampler",
    "class_weights",
    "random_split",
    "stratified_split",
    "transforms",
]
