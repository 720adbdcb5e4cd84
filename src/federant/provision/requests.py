"""A key that never leaves the machine where it was made, and the request to have it certified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from federant.link.messages import NAME_RULE, is_name

from .certificates import PublicKey, fingerprint, key_pem, new_key, request_pem, requested_key
from .errors import ProvisionError
from .kit_files import KEY_FILE
from .private_files import PUBLIC_FILE, Content, make_folder


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was made."""

    folder: Path
    """Holds the key; the kit is to be copied into it."""
    file: Path
    """What is to be sent to whoever has the authority."""
    fingerprint: str


def make_request(name: str, folder: Path) -> Request:
    """Make a key in a new folder, and beside it the request NAME.csr.

    ProvisionError if the folder is there.  The name is for people: who a certificate is for is
    said where it is signed.
    """
    if not is_name(name):
        raise ProvisionError(f"{name!r} cannot be a name; one is {NAME_RULE}")
    key = new_key()
    files = {
        KEY_FILE: Content(key_pem(key)),
        f"{name}.csr": Content(request_pem(key, name), PUBLIC_FILE),
    }
    make_folder(folder, files, sync=True)
    return Request(folder, folder / f"{name}.csr", fingerprint(key.public_key()))


def read_request(path: Path) -> PublicKey:
    """The key that a file asks a certificate for; ProvisionError if it is no request."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ProvisionError(
            f"{path} cannot be read ({error.strerror}); give the .csr file that came from the "
            "other machine"
        ) from error
    return requested_key(pem, str(path))
