"""TLS between two parties of a federation: what each side demands, and why it says no.

Both sides show certificates and trust only those that the federation's own authority has signed;
which party may do what is decided elsewhere.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from .errors import LinkConfigError, LinkUnavailable
from .identity import Identity, Role
from .kit import Kit
from .renewal import CurrentContext


class TlsProblem(StrEnum):
    """Why two parties do not speak TLS with each other, as the one that dialled sees it."""

    OWN_EXPIRED = "own_certificate_expired"
    OWN_UNKNOWN = "own_certificate_of_another_authority"
    OWN_REFUSED = "own_certificate_refused"
    """For another reason; one that is not valid yet, say."""
    PEER_EXPIRED = "server_certificate_expired"
    PEER_NOT_YET_VALID = "server_certificate_not_yet_valid"
    PEER_UNKNOWN = "server_certificate_of_another_authority"
    PEER_NAME = "server_certificate_for_another_name"
    PEER_REFUSED = "server_certificate_refused"
    NO_TLS = "server_speaks_no_tls"
    ONLY_TLS = "server_speaks_only_tls"
    OTHER = "tls_failed"


class LinkTlsError(LinkUnavailable):
    """The two sides do not trust each other, or one of them speaks no TLS; ``problem`` says which.

    Trying again helps once somebody has put it right: a site goes on trying.
    """

    def __init__(self, problem: TlsProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


_ALERTS: Final = {
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        TlsProblem.OWN_EXPIRED,
        'this kit\'s certificate has expired; get a new one ("federant provision renew"), and '
        "check this machine's clock",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        TlsProblem.OWN_UNKNOWN,
        "this kit's certificate was signed by another authority than the {peer}'s; is the kit of "
        "this federation?",
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": (
        TlsProblem.OWN_REFUSED,
        "this kit's certificate is not accepted; it may not be valid yet: check the clocks of both "
        "machines",
    ),
    "WRONG_VERSION_NUMBER": (
        TlsProblem.NO_TLS,
        "what answers there does not speak TLS; is the port right? A {peer} without a kit is "
        "reached by http:// on its own machine",
    ),
}
"""By OpenSSL's name for what the other side said."""

_VERDICTS: Final = {
    9: (
        TlsProblem.PEER_NOT_YET_VALID,
        "the {peer}'s certificate is not valid yet; check the clocks of both machines",
    ),
    10: (
        TlsProblem.PEER_EXPIRED,
        "the {peer}'s certificate has expired; its operator must renew it",
    ),
    62: (
        TlsProblem.PEER_NAME,
        "the {peer}'s certificate is not for that name; use the name with which its kit was made",
    ),
    64: (
        TlsProblem.PEER_NAME,
        "the {peer}'s certificate is not for that address; use one with which its kit was made",
    ),
}
"""By the number that OpenSSL gives to what is wrong with a certificate (its x509_vfy.h)."""

_NO_ISSUER: Final = (18, 19, 20, 21)
_OF_ANOTHER: Final = (
    TlsProblem.PEER_UNKNOWN,
    "the {peer}'s certificate was not signed by the authority in this kit's ca.pem; is it the "
    "{peer} of this federation?",
)
"""What is said for each of those numbers."""


def client_context(kit: Kit) -> ssl.SSLContext:
    """For who dials: shows the kit's certificate, demands one of the same authority and the name
    that was dialled."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, kit)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def server_context(kit: Kit) -> ssl.SSLContext:
    """For who is dialled: a certificate that is shown must be of the same authority.

    None at all is let through to where it can be refused in words, and asked after its health.
    A kit that is renewed meanwhile holds for every handshake from then on.
    """
    current = CurrentContext(kit, _server_context)
    context = current()

    def choose(connection: ssl.SSLSocket | ssl.SSLObject, _name: str, _of: ssl.SSLContext) -> None:
        connection.context = current()

    # Called in every handshake, before a certificate is shown or judged, also for no name.
    context.sni_callback = choose
    return context


def _server_context(kit: Kit) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER, kit)
    context.verify_mode = ssl.CERT_OPTIONAL
    # Each connection shows its certificate anew: no ticket outlives what was judged then.
    context.num_tickets = 0
    return context


def tls_error(error: BaseException, where: str, peer: str = "server") -> LinkTlsError | None:
    """What an error says of TLS, in words; None if it, and what caused it, is of another kind.

    ``where`` is the call that met it, ``peer`` what was dialled: a server, or a relay.
    """
    found = _ssl_error(error)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        other = (TlsProblem.PEER_REFUSED, f"the {{peer}}'s certificate: {found.verify_message}")
        code = found.verify_code
        problem, text = _OF_ANOTHER if code in _NO_ISSUER else _VERDICTS.get(code, other)
    else:
        problem, text = _ALERTS.get(
            found.reason or "", (TlsProblem.OTHER, f"TLS failed: {found.reason or found}")
        )
    return LinkTlsError(problem, f"{where}: {problem}: {text.replace('{peer}', peer)}")


def require_plain(host: str, port: int, seconds: float) -> None:
    """LinkTlsError if TLS is spoken at a port that has hung up on a plain request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Only whether it is TLS is asked; nothing is sent to whoever it is.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError), socket.create_connection((host, port), seconds) as connection:
        context.wrap_socket(connection).close()
        raise LinkTlsError(
            TlsProblem.ONLY_TLS,
            f"http://{host}:{port}: {TlsProblem.ONLY_TLS}: it was called without TLS; use https:// "
            "and a startup kit (--kit, FEDERANT_KIT)",
        )


def identities_in(certificate: Mapping[str, Any]) -> list[Identity]:
    """Whom a certificate names, in the form that ``SSLSocket.getpeercert`` gives it."""
    found = []
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "URI":
            with suppress(ValueError):
                found.append(Identity.from_uri(value))
    return found


def serial_in(certificate: Mapping[str, Any]) -> str:
    """The serial number of a certificate in that form, in lowercase hexadecimal digits."""
    return f"{int(certificate['serialNumber'], 16):x}"


def require_server(connection: object, federation: str, url: str) -> None:
    """LinkTlsError unless the other end shows the certificate of the federation's server.

    A site's is of the same authority, and may be for the same host.
    """
    certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    found = identities_in(certificate or {})
    if Identity(federation, Role.SERVER) not in found:
        who = ", ".join(identity.title for identity in found) or "nobody in a federation"
        raise LinkTlsError(
            TlsProblem.PEER_NAME,
            f"{url}: {TlsProblem.PEER_NAME}: what answers there is {who}, not the server of "
            f"{federation}; check the address",
        )


def _context(protocol: int, kit: Kit) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for load, paths in (
        (context.load_verify_locations, (kit.authority,)),
        (context.load_cert_chain, (kit.certificate, kit.key)),
    ):
        try:
            load(*paths)
        except (ssl.SSLError, OSError) as error:
            names = " and ".join(str(path) for path in paths)
            raise LinkConfigError(
                f"{names} cannot be used for TLS: {error}; copy the whole kit again"
            ) from error
    return context


def _ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    """The error of ``ssl`` among what caused another one."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return error
        inner = next((part for part in error.args if isinstance(part, Exception)), None)
        error = inner or error.__cause__ or error.__context__
    return None
