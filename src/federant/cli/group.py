"""How `federant` and each group of its commands are set up; no command is named here."""

from __future__ import annotations

from typing import Any

import typer


def command_group(about: str, **more: Any) -> typer.Typer:
    """One that shows its help where no command follows; ``more`` is for typer.Typer."""
    return typer.Typer(
        help=about,
        no_args_is_help=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        **more,
    )
