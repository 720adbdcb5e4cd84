"""`federant version`, and `federant --version`."""

from __future__ import annotations

import platform

import typer

from federant import __version__
from federant.cli.output import console


def version() -> None:
    """Print which federant this is, and which Python runs it."""
    console.print(f"federant {__version__} (Python {platform.python_version()})")


def version_and_exit(wanted: bool) -> None:
    """The callback of the option: no command is run after it."""
    if wanted:
        version()
        raise typer.Exit
