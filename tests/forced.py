"""Let one algorithm compute what the rules would give to another."""

from contextlib import contextmanager

import numpy as np
import pytest

from convkit._dispatch import kernel
from convkit.ops import _convolution


@contextmanager
def _rules(**rules):
    with pytest.MonkeyPatch.context() as patch:
        for name, rule in rules.items():
            patch.setattr(_convolution, name, rule)
        _forget_plans()
        yield
    _forget_plans()


def _forget_plans():
    _convolution._plan.cache_clear()
    _convolution.plan_stored.cache_clear()


def split_everywhere():
    """Every float32 convolution and linear layer from bfloat16 parts on AMX tiles."""
    return _rules(
        _splits=lambda layer: layer.dtype == np.float32,
        _splits_columns=lambda layer: False,
        _splits_tiles=lambda layer: False,
    )


def split_columns_everywhere():
    """Every float32 convolution whose columns fit a row of AMX's tiles, summed in ranges of whole columns."""
    return _rules(_splits_columns=lambda layer: layer.dtype == np.float32 and layer.is_shallow)


def split_tiles_everywhere():
    """Every float32 convolution, and gradient, that Winograd's tiles compute, with its products by AMX."""
    return _rules(
        _splits_columns=lambda layer: False,
        _splits_tiles=lambda layer: layer.dtype == np.float32 and _suits_split_tiles(layer),
    )


def _suits_split_tiles(layer):
    nothing = layer.images * layer.size[0] * layer.size[1] * layer.channels * layer.outputs == 0
    fits = layer.pass_ != "backward_weight" or layer.height == layer.width == 3
    return layer.suits_tiles and fits and not nothing


def pairs_everywhere():
    """Every float32 convolution and linear layer, but for gradients of weights, by pairs of bfloat16."""
    return _rules(_pairs_up=lambda layer: layer.dtype == np.float32 and layer.pass_ != "backward_weight")


def never_split():
    """What every instruction set but AMX chooses."""
    return _rules(_splits=lambda layer: False, _splits_columns=lambda layer: False, _splits_tiles=lambda layer: False)


def narrow_gradients():
    """Every gradient of weights by the kernel for narrow groups."""
    return _rules(_transformed=lambda layer: None, _weight_gradient=lambda layer: _convolution.NARROW_GRADIENT)


def by_products():
    """No algorithm that transforms images, or splits numbers."""
    return _rules(
        _splits=lambda layer: False,
        _splits_columns=lambda layer: False,
        _splits_tiles=lambda layer: False,
        _pairs_up=lambda layer: False,
        _transformed=lambda layer: None,
    )


def compute(name, pass_, *arrays, padding=(0, 0), groups=1, extra=0, threads=1):
    """A pass of stride 1 by kernel `name`, or, where that says that a result is not finite, by the direct one."""
    dtype = arrays[0].dtype
    direct = "conv2d_backward_weight" if pass_ == "backward_weight" else "conv2d"
    first, second = (getattr(kernel(of, dtype), pass_.upper())[0] for of in (name, direct))
    geometry = 1, 1, *padding, 1, 1, groups
    done = getattr(kernel("passes", dtype), pass_)(first, second, *arrays, geometry, extra, threads)
    assert done
