"""What arguments of schedulers must be."""

from __future__ import annotations

import operator
from typing import Any


def positive_integer(scheduler: str, name: str, value: Any) -> int:
    """Return `value` as an int, or raise unless it is a whole number of at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{scheduler}: {name}={value!r} must be an integer") from None
    if number < 1:
        raise ValueError(f"{scheduler}: {name}={value!r} must be at least 1")
    return number


def rising_integers(scheduler: str, name: str, values: Any) -> list[int]:
    """Return `values` as a list of int, or raise unless they are whole numbers that do not fall."""
    try:
        numbers = [operator.index(value) for value in values]
    except TypeError:
        raise TypeError(f"{scheduler}: {name}={values!r} must be a list of integers") from None
    if numbers != sorted(numbers):
        raise ValueError(f"{scheduler}: {name}={values!r} must not fall")
    return numbers


def one_of(scheduler: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return `value`, or raise unless it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{scheduler}: {name}={value!r} must be {' or '.join(map(repr, choices))}")
    return str(value)


def within(scheduler: str, name: str, value: float, least: float, most: float) -> float:
    """Return `value`, or raise unless it lies from `least` to `most`, both included."""
    if not least <= value <= most:
        raise ValueError(f"{scheduler}: {name}={value!r} must be from {least} to {most}")
    return value
