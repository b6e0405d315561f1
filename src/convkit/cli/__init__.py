"""The command ``convkit``: one module for each job, each with an ``add_parser`` and a ``run``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from . import bench, info, predict, show, train

# What a user can cause. Anything else is a fault of convkit, and shows its traceback.
_USER_ERRORS = (OSError, ValueError, ImportError, FloatingPointError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments behind the program's name; those of the process if not given.

    Returns
    -------
    int
        Exit code: 0 for success, 2 for an error, told in one line on standard error, 130 after Ctrl-C.
    """
    args = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *where: _tell(args.command, "warning", message)
            args.run(args)
    except _USER_ERRORS as error:
        _tell(args.command, "error", error)
        return 2
    except KeyboardInterrupt:
        print(f"convkit {args.command}: stopped", file=sys.stderr)
        return 130
    return 0


def _tell(command: str, kind: str, message: object) -> None:
    """Print one line on standard error."""
    print(f"convkit {command}: {kind}: {' '.join(str(message).split())}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    from .. import __version__

    parser = argparse.ArgumentParser(
        prog="convkit",
        description="A convolution engine for CPUs: NumPy arrays in, trained networks out.",
        epilog="Start with `convkit train`: it needs nothing, and takes less than a minute.",
    )
    parser.add_argument("--version", action="version", version=f"convkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (train, predict, show, bench, info):
        command.add_parser(commands)
    return parser
