"""Let one algorithm compute what the rules would give to another."""

from contextlib import contextmanager

import numpy as np

from convkit.ops import _convolution


@contextmanager
def split_everywhere(wanted=True):
    """Every float32 convolution and linear layer from bfloat16 parts on AMX tiles, or none."""
    rule = _convolution._splits
    _convolution._splits = lambda layer: wanted and layer.dtype == np.float32
    _convolution._plan.cache_clear()
    try:
        yield
    finally:
        _convolution._splits = rule
        _convolution._plan.cache_clear()
