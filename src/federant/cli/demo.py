"""`federant demo`."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from federant.cli.output import Verbosity, console, errors, extra, plain_errors, set_up_log

_NEEDS: Final = ("fastapi", "matplotlib", "safetensors", "sklearn", "sqlalchemy", "uvicorn")
_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)
"""For as long as the slow imports take; the demo itself cares for more."""


def demo(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of federated averaging.")] = 10,
    sites: Annotated[int, typer.Option(min=2, max=8, help="How many sites take part.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the split and the training.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("federant-demo"),
    verbose: Verbosity = 0,
) -> None:
    """Run a whole federation on this machine and see it learn.

    One server, three sites and their trainers, every one a process of its own, learn to read
    handwritten digits that each site has only some of. At the end: how well each site does alone,
    all of them federated, and all data pooled.

    The exit status is 0 only if the federation came within two points of pooled training and
    above every lone site. Ctrl-C ends everything, with status 130.

    Example: [bold]federant demo --rounds 5 --seed 1 --out results[/bold]
    """
    for number in _INTERRUPTS:
        signal.signal(number, _leave)
    set_up_log(verbose)
    with extra("demo", *_NEEDS):
        from federant.demo import FederationError, Interrupted, run_demo
        from federant.link import LinkError
    try:
        with plain_errors(FederationError, LinkError, ValueError, OSError):
            report = run_demo(rounds=rounds, sites=sites, seed=seed, out=out, console=console)
    except Interrupted as interrupted:
        with suppress(OSError):  # the terminal may be what is gone
            errors.print("interrupted; every process has ended and nothing is left behind")
        raise typer.Exit(_status(interrupted.number)) from None
    if not report.holds:
        raise typer.Exit(1)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Before and after the demo's own handlers: there is nothing to tidy up."""
    sys.exit(_status(number))


def _status(number: int) -> int:
    """What a shell says of a program that a signal has ended."""
    return 128 + number
