"""Kills a command before its first step on the disk, its second, and so on, and looks each time.

    python killed.py ACTION FOLDER

A program of its own, which forks itself: a process that has threads must not.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from federant.link.certificate import read_certificate
from federant.link.identity import Identity, Role
from federant.link.kit import load_kit
from federant.provision import (
    FederationKits,
    Party,
    make_federation,
    make_request,
    open_federation,
    read_request,
)

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
SITE = Identity("test", Role.SITE, "site-1")
NEW = Party(Identity("test", Role.SITE, "site-2"))


def make(folder: Path) -> FederationKits:
    return make_federation(folder / "kits", sites=["site-1"], agents=[("site-1", "gpu-7")])


def add(folder: Path) -> None:
    with open_federation(folder / "kits") as federation:
        if not federation.has(NEW.identity):
            federation.add(NEW)


def renew(folder: Path) -> None:
    with open_federation(folder / "kits") as federation:
        federation.renew(SITE)


def request(folder: Path) -> None:
    if not (folder / "elsewhere").exists():
        make_request("site-1", folder / "elsewhere")


def renew_with_request(folder: Path) -> None:
    with open_federation(folder / "kits") as federation:
        federation.renew(SITE, read_request(folder / "elsewhere" / "site-1.csr"))


def rotate(folder: Path) -> None:
    with open_federation(folder / "kits") as federation:
        if len(federation.authority.numbers) == 1:
            federation.rotate()


def retire(folder: Path) -> None:
    with open_federation(folder / "kits") as federation:
        if len(federation.authority.numbers) == 2:
            federation.retire(force=True)


@dataclass(frozen=True)
class Action:
    before: tuple[Callable[[Path], object], ...]
    act: Callable[[Path], object]
    keyless: bool = False
    """Whether it takes the key of site-1 away, once it is done."""


ACTIONS = {
    "make": Action((), make),
    "add": Action((make,), add),
    "renew": Action((make,), renew),
    "request": Action((make,), request),
    "renew-with-request": Action((make, request), renew_with_request, keyless=True),
    "rotate": Action((make,), rotate),
    "retire": Action((make, rotate), retire),
}


def dies(folder: Path, act: Callable[[Path], object], step: int) -> bool:
    """Whether the act was killed before that step of its; False if it had fewer and is done."""
    child = os.fork()
    if child == 0:
        steps = count(1)

        def killer(event: str, arguments: tuple[object, ...]) -> None:
            if event in STEPS and str(folder) in str(arguments[0]) and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(killer)
        act(folder)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def check_whole(folder: Path) -> None:
    """Whatever stands under a kit's name is a whole one, and nobody else can read its key."""
    for place in [*folder.glob("kits/*/*/"), folder / "kits" / "server"]:
        if place.name[0] != "." and place.parent.name not in ("ca", "old") and place.is_dir():
            load_kit(place)
    for key in folder.rglob("*key.pem*"):
        assert key.stat().st_mode & 0o077 == 0, key


def check_settled(folder: Path, keyless: bool) -> None:
    """After the next command all is in order, and every certificate that is here is on record."""
    with open_federation(folder / "kits") as federation:
        serials = {issued.serial for issued in federation.authority.issued()}
        trusted = federation.authority.trusted_pem()
    assert unfinished(folder / "kits") == []
    for certificate in (folder / "kits").rglob("certificate.pem"):
        place = certificate.parent
        if place.parent.name == "ca":
            check_key(place)
            continue
        assert read_certificate(certificate).serial in serials, place
        if "old" not in place.parts:
            assert (place / "ca.pem").read_bytes() == trusted, place
        if keyless and place.name.startswith(SITE.name) and not (place / "key.pem").exists():
            continue
        check_key(place)


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith((".part", ".new"))]


def check_key(place: Path) -> None:
    key = serialization.load_pem_private_key((place / "key.pem").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((place / "certificate.pem").read_bytes())
    assert key.public_key() == certificate.public_key(), place


def main(name: str, folder: Path) -> None:
    action = ACTIONS[name]
    for step in count(1):
        own = folder / str(step)
        own.mkdir()
        for act in action.before:
            act(own)
        killed = dies(own, action.act, step)
        if not action.keyless:
            check_whole(own)
        if (own / "kits" / "ca" / "federation.toml").exists():
            check_settled(own, action.keyless)
        action.act(own)
        check_settled(own, action.keyless)
        assert unfinished(own) == []
        if not killed:
            sys.stdout.write(f"{step - 1} steps\n")
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
