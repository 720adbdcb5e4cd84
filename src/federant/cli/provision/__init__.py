"""`federant provision`: its commands put together; each is in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from typer.core import TyperGroup

from federant.cli.group import command_group
from federant.cli.provision.add import add, add_agent, add_operator
from federant.cli.provision.authority import retire_ca, rotate_ca
from federant.cli.provision.init import init
from federant.cli.provision.renew import renew
from federant.cli.provision.request import request
from federant.cli.provision.show import serials, show

_YAML: Final = (".yml", ".yaml")


class FileOrCommand(TyperGroup):
    """Takes a federation's file where a command may stand: `federant provision federation.yml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self.completed(args))

    def completed(self, words: list[str]) -> list[str]:
        """The words with the command that they leave out."""
        for word in words[:1]:
            is_file = word.endswith(_YAML) or Path(word).is_file()
            if word not in self.commands and is_file:
                return ["init", *words]
        return words


app = command_group(
    "Make certificates and startup kits.\n\n"
    "[bold]federant provision federation.yml[/bold] makes a federation's certificate authority and "
    "a kit for each machine that takes part. Whoever has the folder [bold]ca[/bold] decides who "
    "that is: keep it offline.",
    cls=FileOrCommand,
)
app.command("init")(init)
app.command("add")(add)
app.command("add-agent")(add_agent)
app.command("add-operator")(add_operator)
app.command("renew")(renew)
app.command("rotate-ca")(rotate_ca)
app.command("retire-ca")(retire_ca)
app.command("request")(request)
app.command("show")(show)
app.command("serials")(serials)
