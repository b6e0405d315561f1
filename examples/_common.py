"""What the examples share: a photograph, and errors told in one line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@contextmanager
def errors_in_one_line(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Tell what a user can cause, such as a folder that is not there, without a traceback."""
    try:
        yield
    except (OSError, ValueError, ImportError) as error:
        parser.exit(2, f"{parser.prog}: error: {' '.join(str(error).split())}\n")


def photograph() -> Image:
    """Open the portrait of Grace Hopper that comes with matplotlib, 512x600 pixels in colour; in the public domain."""
    try:
        from matplotlib.cbook import get_sample_data
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ImportError(f"the photograph needs {error.name}: pip install 'convkit[train]'") from None
    return Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False))
