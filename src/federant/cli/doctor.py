"""`federant doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from federant.cli.output import console, extra, plain, plain_errors

if TYPE_CHECKING:
    from federant.doctor import Finding

_STYLES: Final = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_LEVEL_WIDTH: Final = 8
_CHECK_WIDTH: Final = 18


def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A site's or server's own TOML file. Default: the one in the kit's folder.",
            show_default=False,
        ),
    ] = None,
    kit: Annotated[
        Path | None,
        typer.Option(
            "--kit",
            envvar="FEDERANT_KIT",
            help="The startup kit of a site, a server, an operator or an agent.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was found as JSON, for programs.")
    ] = False,
) -> None:
    """Say whether this machine can take part in a federation, and what to do if not.

    Looks at the certificate, the trainers' commands, the disk, memory, versions and limits, then
    at the proxy, the server's name and port, TLS, the server's answer and clock, and whether it
    takes this party for what it is; with an agent's kit at the relay that it names, instead of the
    server. Nothing is changed. Each line is ok, a warning or a problem; with a problem the exit
    status is 1.

    Example: [bold]federant doctor --kit site-1[/bold]
    """
    with extra("site", "websockets"):
        from federant.doctor import DoctorError, Level, examine, subject_of, worst
    with plain_errors(DoctorError):
        subject = subject_of(kit, file)
    findings = []
    for finding in examine(subject):
        findings.append(finding)
        if not as_json:
            _print(finding)
    verdict = worst(findings)
    if as_json:
        told = {"verdict": verdict, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(told, indent=2))
    raise typer.Exit(verdict is Level.PROBLEM)


def _print(finding: Finding) -> None:
    text = plain(f"{finding.level:<{_LEVEL_WIDTH}}{finding.check:<{_CHECK_WIDTH}}  {finding.found}")
    text.stylize(_STYLES[finding.level], 0, len(finding.level))
    if finding.advice:
        text.append_text(plain(f": {finding.advice}"))
    console.print(text, soft_wrap=True)
