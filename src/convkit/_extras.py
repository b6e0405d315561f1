"""The one place that imports what `import convkit` does not need, and says how to get it when it is missing."""

from __future__ import annotations

import importlib
from types import ModuleType

_DISTRIBUTIONS = {"PIL": "Pillow"}
_EXTRAS = {"tensorboardX": "tensorboard"}


def require(module: str, purpose: str) -> ModuleType:
    """Import a module that belongs to an extra.

    Parameters
    ----------
    module : str
        Dotted name of the module, for example ``"matplotlib.figure"``.
    purpose : str
        What it is wanted for, as the subject of a sentence: ``"drawing figures"``.

    Returns
    -------
    module
        The module itself, ``matplotlib.figure`` in the example.

    Raises
    ------
    ImportError
        If the package is not installed. A package that is there but broken raises its own error.

    Examples
    --------
    >>> require("json", "reading metadata").__name__
    'json'
    >>> require("no_such_package", "flying")
    Traceback (most recent call last):
    ImportError: flying needs no_such_package: pip install 'convkit[train]'
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        name = _DISTRIBUTIONS.get(package, package)
        extra = _EXTRAS.get(package, "train")
        raise ImportError(f"{purpose} needs {name}: pip install 'convkit[{extra}]'", name=package) from None
    return importlib.import_module(module)
