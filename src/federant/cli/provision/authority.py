"""`federant provision rotate-ca` and `retire-ca`: another certificate authority, in three steps."""

from __future__ import annotations

from typing import Annotated

import typer

from federant.cli.output import extra, plain_errors
from federant.cli.provision.options import KITS, Dir, say


def rotate_ca(folder: Dir = KITS) -> None:
    """Begin another certificate authority beside the present one.

    It signs from now on, and every kit's ca.pem holds both. First copy ca.pem to every machine;
    then renew every kit; then retire-ca ends the old one. Nobody is locked out meanwhile, and
    nothing that runs is started again.

    Example: [bold]federant provision rotate-ca[/bold]
    """
    with extra("provision"):
        from federant.provision import ProvisionError, open_federation
    with plain_errors(ProvisionError, OSError), open_federation(folder) as federation:
        federation.rotate()
    say(
        "another authority signs from now on; both are trusted. Next:\n"
        "  1. copy each kit's ca.pem to its machine\n"
        "  2. federant provision renew --all, and copy certificate.pem and key.pem\n"
        "  3. federant provision retire-ca, and copy each ca.pem once more"
    )


def retire_ca(
    force: Annotated[
        bool, typer.Option("--force", help="Also if it locks somebody out, who is named otherwise.")
    ] = False,
    folder: Dir = KITS,
) -> None:
    """Trust the newest certificate authority only.

    Refused while somebody's newest certificate is of the old one.

    Example: [bold]federant provision retire-ca[/bold]
    """
    with extra("provision"):
        from federant.provision import ProvisionError, open_federation
    with plain_errors(ProvisionError, OSError), open_federation(folder) as federation:
        retired = federation.retire(force=force)
    names = ", ".join(str(folder / "ca" / f"{number}.retired") for number in retired)
    say(f"not trusted any more: {names}; copy each kit's ca.pem to its machine")
