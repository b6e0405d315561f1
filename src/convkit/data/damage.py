"""Files that are not what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def naming(path: object, fault: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn what a library says of a damaged file, an OSError or one of `errors`, into a ValueError that names it."""
    try:
        yield
    except (OSError, *errors) as error:  # type: ignore[misc]  # a tuple of classes, which mypy cannot see
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's own word, which names the file
        raise ValueError(f"{path}: {fault}: {error}") from None
