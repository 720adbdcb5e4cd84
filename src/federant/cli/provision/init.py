"""`federant provision init`, which is also `federant provision federation.yml`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federant.cli.output import add_texts, extra, plain_errors, print_table, table_of
from federant.cli.provision.options import KITS, say

if TYPE_CHECKING:
    from federant.provision import Provisioned


def init(
    file: Annotated[Path, typer.Argument(help="The federation's YAML file: who takes part.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "--dir", metavar="DIR", help="Where the kits go; made if it is not there."
        ),
    ] = KITS,
) -> None:
    """Make the certificate authority and the kits of everybody in a file.

    The word init can be left out. Given again, it makes what is missing and changes nothing that
    is there. The file:

        name: hospitals
        server:
          host: fed.example.org
        sites: \\[site-1, site-2]
        operators: \\[alice]

    Example: [bold]federant provision federation.yml --out kits[/bold]
    """
    with extra("provision"):
        from federant.provision import ProvisionError, carry_out, load_plan
    with plain_errors(ProvisionError, OSError):
        plan = load_plan(file)
        done = carry_out(plan, out)
    table = table_of("kit", "of", "", "what to do with it")
    for each in done:
        what = "made" if each.made else "kept"
        add_texts(table, str(each.folder), each.identity.title, what, _advice(each))
    print_table(table)
    say(f"\nWho has {out / 'ca'} decides who takes part: keep it offline, and a copy of it.")


def _advice(each: Provisioned) -> str:
    from federant.link.identity import Role
    from federant.link.kit import read_kit_file

    if not each.made:
        return "left as it is"
    match each.identity.role:
        case Role.SERVER:
            return "copy it to the server's machine; start: start.sh"
        case Role.SITE:
            return (
                f"copy it to {each.identity.name}; name its trainers in site.toml; start: start.sh"
            )
        case Role.OPERATOR:
            return f"give it to {each.identity.name}, for the commands that look after jobs"
        case Role.AGENT:
            relay = read_kit_file(each.folder).relay or "the relay, once kit.toml names it"
            return f"copy it to {each.identity.name}: its trainers dial {relay}"
