"""``convkit info``: what was built, what this machine can run, what is in use."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arguments import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    text = "Print convkit's version, instruction sets and threads, for a bug report."
    commands.add_parser("info", help=text, description=text).set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the configuration."""
    from .._config import show_config

    show_config()
