"""The command `federant`: one file a command; what the commands do lives in the other rooms."""

from __future__ import annotations

import sys
from typing import Final

_OURS: Final = ("typer", "rich", "pydantic", "urllib3", "blake3", "psutil")


def main() -> None:
    """Run the command line; says what to install where the extras are missing."""
    try:
        from federant.cli.app import app
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name not in _OURS:
            raise
        sys.exit(
            f"federant: the command line needs {error.name}, which is not installed; the trainer's "
            "side of federant works without it.\n"
            "For a site:    pip install 'federant[site]'\n"
            "For a server:  pip install 'federant[server]'\n"
            "For the demo:  pip install 'federant[demo]'\n"
            "For federant doctor beside a trainer: pip install 'federant[site]'"
        )
    app(prog_name="federant")
