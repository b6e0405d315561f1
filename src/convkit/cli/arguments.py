"""Types of command line arguments that say what they accept when they are given something else."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # argparse's own name for it is private, and generic only to type checkers.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def integer(least: int) -> Callable[[str], int]:
    """Return a type for whole numbers from `least` on."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}")
        return number

    return parse


def positive(text: str) -> float:
    """Parse a number above 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return number


def fraction(text: str) -> float:
    """Parse a number between 0 and 1, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, got {text!r}")
    return number


def image_size(text: str) -> list[int]:
    """Parse ``SIZE`` or ``HEIGHTxWIDTH`` in pixels, for argparse."""
    parts = text.split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"must be a number of pixels, or HEIGHTxWIDTH, got {text!r}")
    return [int(parts[0]), int(parts[-1])]
