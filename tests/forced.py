"""Let one algorithm compute what the rules would give to another."""

from contextlib import contextmanager

import numpy as np
import pytest

from convkit.ops import _convolution


@contextmanager
def _rules(**rules):
    with pytest.MonkeyPatch.context() as patch:
        for name, rule in rules.items():
            patch.setattr(_convolution, name, rule)
        _convolution._plan.cache_clear()
        yield
    _convolution._plan.cache_clear()


def split_everywhere():
    """Every float32 convolution and linear layer from bfloat16 parts on AMX tiles."""
    return _rules(_splits=lambda layer: layer.dtype == np.float32)


def never_split():
    """What every instruction set but AMX chooses."""
    return _rules(_splits=lambda layer: False)


def by_products():
    """No algorithm that transforms images, or splits numbers."""
    return _rules(_splits=lambda layer: False, _transformed=lambda layer: None)
