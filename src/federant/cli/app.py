"""All commands put together; none of them is defined here."""

from __future__ import annotations

from typing import Annotated

import typer

from federant.cli.demo import demo
from federant.cli.doctor import doctor
from federant.cli.group import command_group
from federant.cli.job import app as job
from federant.cli.metrics import metrics
from federant.cli.migrate import migrate
from federant.cli.paragraphs import flow
from federant.cli.provision import app as provision
from federant.cli.revocation import revocations, revoke
from federant.cli.server import server
from federant.cli.site import site
from federant.cli.sites import sites
from federant.cli.status import status
from federant.cli.trainer import app as trainer
from federant.cli.version import version, version_and_exit

app = command_group(
    "Let any training process join a federation.\n\n"
    "A federation is one server and its sites. Start with [bold]federant demo[/bold]: it runs a "
    "whole federation on this machine and shows it learn.",
    epilog="Each command explains itself: [bold]federant site --help[/bold]",
    name="federant",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo)
app.command("server")(server)
app.command("site")(site)
app.command("sites")(sites)
app.command("status")(status)
app.command("revoke")(revoke)
app.command("revocations")(revocations)
app.add_typer(job, name="job")
app.command("metrics")(metrics)
app.command("migrate")(migrate)
app.add_typer(provision, name="provision")
app.add_typer(trainer, name="trainer")
app.command("doctor")(doctor)
app.command("version")(version)
flow(app)


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=version_and_exit,
            is_eager=True,
            help="Print which federant this is.",
        ),
    ] = False,
) -> None:
    """Options that go without a command."""
