"""What the filters of a layer look for: the pieces of images that excite each most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _shapes
from ..autograd import Tensor, no_grad
from ..nn import Module
from ..nn.modes import evaluating
from .evaluation import Batch

_BATCH_SIZE = 32


class Patches(NamedTuple):
    """The pieces of images that excite the filters of a layer most; the strongest first, for each of K filters."""

    #: Name of the layer.
    layer: str
    #: The filters' outputs, (K, count).
    activations: NDArray[Any]
    #: Which image each is from, (K, count).
    images: NDArray[np.int64]
    #: What the filter sees of it: rows and columns from where to where, (K, count, 4) as top, bottom, left, right.
    boxes: NDArray[np.int64]


def receptive_fields(model: Module, layer: str, image: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find which pixels of an image each output of a layer depends on.

    Parameters
    ----------
    model : Module
        Asked in evaluation mode, then put back into the mode it was in.
    layer : str
        Name of the layer in the network, for example ``features.0``. It must give maps, (N, C, P, Q).
    image : ndarray, shape (C, H, W)
        Any image that the network takes.

    Returns
    -------
    rows : ndarray of int64, shape (P, 2)
        The first row of pixels that each row of the map depends on, and one past the last; padding does not count.
    columns : ndarray of int64, shape (Q, 2)
        The same of columns.

    Raises
    ------
    TypeError, ValueError
        If there is no such layer, it gives no maps, or `image` does not fit the network.

    Notes
    -----
    It is measured, so it holds for any network, whatever its ``forward`` does: a NaN in a row of pixels makes NaN of
    everything that depends on it. That takes as many passes forward as the image has rows and columns.

    Examples
    --------
    >>> import numpy as np
    >>> from convkit import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1))
    >>> rows, columns = receptive_fields(model, "2", np.zeros((1, 8, 8), np.float32))
    >>> rows.tolist()
    [[0, 5], [0, 7], [1, 8], [3, 8]]
    """
    _shapes.array("receptive_fields", "image", image, 3)
    with evaluating(model), no_grad(), _outputs_of(model, layer) as outputs:
        rows, columns = (_reached(model, image, axis, outputs) for axis in (1, 2))
    return rows, columns


def _reached(model: Module, image: NDArray[Any], axis: int, outputs: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Return the range of lines along `axis` of an image that each line of the map depends on."""
    count = image.shape[axis]
    reaches = []
    for start in range(0, count, _BATCH_SIZE):
        lines = range(start, min(start + _BATCH_SIZE, count))
        images = np.repeat(image[None], len(lines), axis=0)
        for spoiled, line in zip(images, lines, strict=True):
            spoiled.swapaxes(0, axis)[line] = np.nan
        model(Tensor(images))
        reaches.append(np.isnan(outputs.pop()).any(axis=(1, 4 - axis)))  # over the channels and the other axis
    reach = np.concatenate(reaches).T
    return np.stack([reach.argmax(1), count - reach[:, ::-1].argmax(1)], axis=1)


def top_patches(model: Module, layer: str, loader: Iterable[Batch], count: int = 9) -> Patches:
    """Find the pieces of images that excite each filter of a layer most.

    Parameters
    ----------
    model : Module
        Asked in evaluation mode, then put back into the mode it was in.
    layer : str
        Name of the layer in the network, for example ``features.0``. It must give maps, (N, K, P, Q).
    loader : DataLoader, or iterable of batches
        Images (N, C, H, W), first in each batch; not shuffled, so that their places tell which they are.
    count : int, default 9
        Pieces for each filter, at most one from an image; fewer if there are fewer images.

    Returns
    -------
    Patches
        Where they are.

    Raises
    ------
    TypeError, ValueError
        If there is no such layer, it gives no maps, there are no images, or `count` is less than 1.

    Notes
    -----
    M. D. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 3.

    Examples
    --------
    >>> from convkit import data, models
    >>> loader = data.DataLoader(data.Digits(train=False), batch_size=100)
    >>> found = top_patches(models.convnet(image_size=8), "relu2", loader, count=4)
    >>> found.activations.shape, found.boxes.shape
    ((32, 4), (32, 4, 4))
    """
    count = _shapes.integer("top_patches", "count", count, 1)
    best = None
    seen = 0
    with evaluating(model), no_grad(), _outputs_of(model, layer) as outputs:
        for images, *_ in loader:
            model(Tensor(images))
            found = _Found.strongest(outputs.pop(), seen)
            best = (found if best is None else best.joined(found)).first(count)
            seen += len(images)
    if best is None:
        raise ValueError("top_patches: loader has no images")
    rows, columns = receptive_fields(model, layer, images[0])
    boxes = np.concatenate([rows[best.rows], columns[best.columns]], axis=2)
    return Patches(layer, best.activations, best.images, boxes)


class _Found(NamedTuple):
    """Places where filters answer: for each of K filters (K, n) activations, images, rows and columns of the map."""

    activations: NDArray[Any]
    images: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    @classmethod
    def strongest(cls, maps: NDArray[Any], first_image: int) -> _Found:
        """Take the strongest place of each map, (N, K, P, Q)."""
        count, filters, _, width = maps.shape
        flat = maps.reshape(count, filters, -1).swapaxes(0, 1)
        places = flat.argmax(axis=2)
        activations = np.take_along_axis(flat, places[..., None], axis=2)[..., 0]
        images = np.broadcast_to(np.arange(first_image, first_image + count), places.shape)
        return cls(activations, images, *np.divmod(places, width))

    def joined(self, other: _Found) -> _Found:
        return _Found(*(np.concatenate(pair, axis=1) for pair in zip(self, other, strict=True)))

    def first(self, count: int) -> _Found:
        """Keep the `count` strongest of each filter; of equal ones the earlier."""
        order = np.argsort(-self.activations, axis=1, kind="stable")[:, :count]
        return _Found(*(np.take_along_axis(values, order, axis=1) for values in self))


@contextmanager
def _outputs_of(model: Module, layer: str) -> Iterator[list[NDArray[Any]]]:
    """Collect the maps of a layer in a list; whoever looks takes them out."""
    layers = dict(model.named_modules())
    if layer not in layers:
        raise ValueError(f"layer={layer!r} must be one of {', '.join(filter(None, layers))}")
    outputs: list[NDArray[Any]] = []

    def keep(module: Module, args: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            shape = getattr(output, "shape", type(output).__name__)
            raise ValueError(f"layer={layer!r} must give maps (N, C, H, W), but gives {shape}")
        outputs.append(output.data)

    with layers[layer].register_forward_hook(keep):
        yield outputs
