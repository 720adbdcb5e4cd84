"""TLS from cell to cell: a relay can neither read nor change what it passes on; no input or output.

What it can do is what a cut can: keep things back, and say meanwhile that they have arrived. But a
session's end says, in its lane and under its seal, how much went before it in the other lane: so no
end of which something is missing is taken for a clean one.

Each lane of a tunnel is a TLS connection of its own, above the tunnel's numbers: a cut needs no new
handshake, what is sent again is the same ciphertext, and what is small still overtakes what is
large. The agent's cell is the TLS client, the client job's the server.
"""

from __future__ import annotations

import hashlib
import ssl
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from federant.cellnet.errors import CellError, RevokedError, SealBrokenError
from federant.cellnet.names import End, Fqcn
from federant.cellnet.revoked import RevokedFile
from federant.cellnet.words import Refusal
from federant.link.errors import LinkError
from federant.link.identity import Identity, Role
from federant.link.kit import load_kit
from federant.link.tls import client_context, identities_in, serial_in, server_context

Certificate = Mapping[str, Any]

_SIZE: Final = struct.Struct("<I")
_REFUSAL: Final = 0
"""In the place of a content's size: the words of a refusal follow."""
_LONGEST_REFUSAL: Final = 1000
_READ_BYTES: Final = 1 << 14
"""The most that a TLS record holds."""

_CHANGED: Final = ("BAD_RECORD_MAC", "DECRYPT", "DECODE_ERROR", "UNEXPECTED_MESSAGE")
"""In OpenSSL's names for what one end says when it cannot make sense of what came."""


class Seals:
    """Of a tunnel between two cells, as long as both live: one for each lane."""

    def __init__(
        self,
        kit: Path,
        fqcn: Fqcn,
        channel: str,
        job: str,
        instances: tuple[str, str],
        revoked: RevokedFile,
    ) -> None:
        """`fqcn`, `channel` and `job` (of a client job) are this end's.

        `instances`: this cell's, then the other's. Both ends must say the same of all of this, but
        the job, or the handshake fails. Nor does whoever is `revoked` get through it. CellError if
        the kit cannot be used.
        """
        self._revoked = revoked
        agent, job_end = instances if fqcn.end is End.AGENT else instances[::-1]
        self._tunnel_name = (fqcn.site, fqcn.agent_id, channel, agent, job_end)
        self._end = fqcn.end
        try:
            self._kit = load_kit(kit)
        except LinkError as error:
            raise CellError(str(error)) from error
        federation = self._kit.identity.federation
        if self._end is End.AGENT:
            self._wanted = [Identity(federation, Role.SITE, fqcn.site)]
        else:
            self._wanted = [
                Identity(federation, Role.AGENT, fqcn.agent_id, fqcn.site, name)
                for name in dict.fromkeys(("", job))
            ]

    def of(self, lane: str) -> Seal:
        """The seal for a lane; each is asked for once."""
        dials = self._end is End.AGENT
        try:
            context = (client_context if dials else server_context)(self._kit)
        except LinkError as error:
            raise CellError(str(error)) from error
        if not dials:
            # A kit renewed in mid-handshake must not bring a context without what follows.
            context.sni_callback = None
        # It is no host that is asked for, but a party of the federation; and both must show theirs.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        # One that was made for another lane, or for other cells, is of no use to a relay.
        lane_name = hashlib.sha256("\0".join((*self._tunnel_name, lane)).encode()).hexdigest()
        context.set_alpn_protocols([lane_name])
        return Seal(context, lane_name, dials=dials, check=self._check)

    def _check(self, certificate: Certificate) -> None:
        named = identities_in(certificate)
        if len(named) != 1 or named[0] not in self._wanted:
            who = " and ".join(identity.title for identity in named) or "nobody in a federation"
            raise SealBrokenError(
                f"the cell that the relay has brought here is of {who}, and it must be of "
                f"{self._wanted[0].title}"
            )
        self._revoked.require_good(named[0], serial_in(certificate))


class Seal:
    """One lane at one end: locks what goes out, opens what comes in."""

    def __init__(
        self,
        context: ssl.SSLContext,
        lane_name: str,
        *,
        dials: bool,
        check: Callable[[Certificate], None],
    ) -> None:
        self._lane_name = lane_name
        self._check = check
        self._came, self._due = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._due, server_side=not dials)
        self.ready = False
        """Whether the other end has shown who it is."""
        if dials:
            self._shake_hands()

    def lock(self, content: bytes) -> bytes:
        """What is to be sent for that; not before it is ready."""
        self._tls.write(_SIZE.pack(len(content)))
        self._tls.write(content)
        return self._due.read()

    def refuse(self, text: str) -> None:
        """Lets the other end know, if it can be told, why nothing more comes."""
        try:
            self._tls.write(_SIZE.pack(_REFUSAL) + text[:_LONGEST_REFUSAL].encode())
        except ssl.SSLError:
            return  # TLS has told it already, or it has not come that far

    def due(self) -> bytes:
        """What the handshake, or its failure, has to say to the other end; empty if nothing."""
        return self._due.read()

    def open(self, sealed: bytes) -> bytes | None:
        """The content that the other end has locked; None if this was of the handshake.

        SealBrokenError if it is not what that one has sent, or that one is not who it must be; then
        the seal is of no more use, and `due` has what is to be told.
        """
        self._came.write(sealed)
        was_ready = self.ready
        if not was_ready:
            self._shake_hands()
        plain = self._plain() if self.ready else b""
        if not plain and not was_ready:
            return None
        (size,) = _SIZE.unpack_from(plain) if len(plain) >= _SIZE.size else (-1,)
        content = plain[_SIZE.size :]
        if size == _REFUSAL:
            text = content.decode(errors="replace")
            is_revoked = text.startswith(f"{Refusal.REVOKED}: ")
            kind = RevokedError if is_revoked else SealBrokenError
            raise kind(f"the other cell says: {text}")
        if size != len(content) or not was_ready:
            text = f"{len(content)} bytes came of a content of {max(size, 0)}"
            self.refuse(text)
            raise SealBrokenError(text)
        return content

    def _plain(self) -> bytes:
        parts = []
        try:
            while part := self._tls.read(_READ_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            return b"".join(parts)
        except ssl.SSLError as error:
            raise SealBrokenError(_text(error)) from error
        raise SealBrokenError("the other cell's end of the connection was closed on the way")

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise SealBrokenError(_text(error)) from error
        self.identify()
        self.ready = True

    def identify(self) -> None:
        """SealBrokenError if the other end, which has shown its certificate, is not who it must be,
        or not any more; it is told so."""
        try:
            self._identify()
        except SealBrokenError as error:
            self.refuse(str(error))
            raise

    def _identify(self) -> None:
        if self._tls.selected_alpn_protocol() != self._lane_name:
            raise SealBrokenError(
                "the relay has connected this cell, or a lane of it, with another than it says"
            )
        self._check(self._tls.getpeercert() or {})


def _text(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the other cell's certificate is not accepted: {error.verify_message}"
    if "_ALERT_" not in reason:
        return f"what came is not what the other cell has sent ({reason})"
    if any(word in reason for word in _CHANGED):
        return f"what this cell sent did not reach the other one as it was ({reason})"
    return f"the other cell does not accept this one's certificate ({reason})"
