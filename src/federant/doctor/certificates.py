"""Whether a kit's certificate is good: tried out as TLS will try it, with nobody else asked."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from federant.link import LinkConfigError
from federant.link.certificate import WARN_BEFORE, CertificateFacts, read_certificate
from federant.link.identity import Role
from federant.link.kit import Kit
from federant.link.tls import client_context, server_context

from .findings import Finding, Level, ok, problem, warning


def look_at_certificate(kit: Kit, now: datetime | None = None) -> Iterator[Finding]:
    """Its dates, whose it is, that the key fits, and that the kit's authority has signed it."""
    try:
        facts = read_certificate(kit.certificate)
    except LinkConfigError as error:
        yield problem("certificate", str(error))
        return
    dates = _dates(facts, now or datetime.now(UTC))
    yield dates
    if facts.identity != kit.identity:
        who = facts.identity.title if facts.identity else "nobody in a federation"
        yield problem(
            "certificate",
            f"it names {who}, and kit.toml says {kit.identity.title}",
            "copy the whole kit again",
        )
    if dates.level is not Level.PROBLEM:  # else TLS says the same again
        yield _tried(kit)
    owner = kit.key.stat().st_uid
    if owner not in (0, os.geteuid()):
        yield warning(
            "kit",
            f"{kit.key} belongs to user {owner}, who may change it, and not to this one",
            f"chown -R {os.geteuid()} {kit.folder}",
        )
    mode = stat.S_IMODE(kit.folder.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield warning(
            "kit",
            f"others may change what is in {kit.folder} (permissions {mode:o})",
            f"chmod go-w {kit.folder}",
        )


def _dates(facts: CertificateFacts, now: datetime) -> Finding:
    ends, remaining = f"{facts.not_after:%Y-%m-%d}", facts.remaining(now)
    renew = 'have the kit renewed ("federant provision renew") and copy it here'
    if facts.not_before > now:
        begins = f"{facts.not_before:%Y-%m-%d %H:%M} UTC"
        return problem(
            "certificate", f"it is not valid before {begins}", "set this machine's clock"
        )
    if remaining.total_seconds() <= 0:
        return problem("certificate", f"it has expired on {ends}", renew)
    found = f"valid until {ends}, {remaining.days} days, serial number {facts.serial}"
    if remaining < WARN_BEFORE:
        return warning("certificate", found, renew)
    return ok("certificate", found)


def _tried(kit: Kit) -> Finding:
    """A handshake of the kit with itself, in memory."""
    try:
        dialling, dialled = client_context(kit), server_context(kit)
    except LinkConfigError as error:
        return problem("certificate chain", str(error))
    host = None
    if kit.identity.role is Role.SERVER:
        host = urlsplit(kit.server).hostname
    else:
        # It dials only: that it is dialled here is to try out what it shows.
        dialling.check_hostname = False
        dialling.verify_mode = ssl.CERT_NONE
    try:
        _shake_hands(dialling, dialled, host)
    except ssl.SSLCertVerificationError as error:
        return problem(
            "certificate chain",
            f"{kit.certificate} is not accepted: {error.verify_message}",
            "copy the whole kit again; if its authority has been changed, have it renewed",
        )
    except ssl.SSLError as error:
        return problem("certificate chain", f"TLS failed: {error.reason}", "have the kit renewed")
    return ok("certificate chain", "signed by the authority in ca.pem, and the key fits")


def _shake_hands(dialling: ssl.SSLContext, dialled: ssl.SSLContext, host: str | None) -> None:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = dialling.wrap_bio(down, up, server_hostname=host)
    server = dialled.wrap_bio(up, down, server_side=True)
    waiting = [client, server]
    # Two flights each way at most; another round for what TLS 1.3 sends after them.
    for _ in range(4):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
