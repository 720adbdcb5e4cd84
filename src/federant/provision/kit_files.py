"""What lies in one party's startup kit: its files' names and contents."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography import x509

from federant.link.identity import Role
from federant.link.kit import KIT_FILE, Kit

from .certificates import PrivateKey, certificate_pem, key_pem
from .party import Party
from .private_files import PROGRAM, PUBLIC_FILE, Content
from .settings import Settings

CA_FILE: Final = "ca.pem"
CERTIFICATE_FILE: Final = "certificate.pem"
KEY_FILE: Final = "key.pem"

_START: Final = """\
#!/bin/sh
# Starts the {role} whose kit this folder is.
exec federant {role} --kit "$(dirname "$0")" "$@"
"""
_SERVER: Final = """\
host = "0.0.0.0"
port = {port}
folder = "data"
"""
# Who the site is and where its server is stand in kit.toml, and nowhere a second time.
_SITE: Final = """\
folder = "work"

[trainers.train]
command = ["{python}", "train.py"]
"""


def kit_files(
    party: Party,
    settings: Settings,
    certificate: x509.Certificate,
    key: PrivateKey | None,
    trusted: bytes,
) -> dict[str, Content]:
    """The files of a kit by name; without a key if that was made elsewhere."""
    identity = party.identity
    toml = Kit(Path(), identity, settings.server, party.relay).toml()
    files = {
        KIT_FILE: Content(toml.encode(), PUBLIC_FILE),
        CA_FILE: Content(trusted, PUBLIC_FILE),
        CERTIFICATE_FILE: Content(certificate_pem(certificate), PUBLIC_FILE),
    }
    if key is not None:
        files[KEY_FILE] = Content(key_pem(key))
    if identity.role is Role.SERVER:
        files["server.toml"] = Content(_SERVER.format(port=settings.port).encode(), PUBLIC_FILE)
    if identity.role is Role.SITE:
        files["site.toml"] = Content(_SITE.encode(), PUBLIC_FILE)
    if identity.role in (Role.SERVER, Role.SITE):
        files["start.sh"] = Content(_START.format(role=identity.role).encode(), PROGRAM)
    return files
