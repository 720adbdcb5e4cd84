"""The errors of the link, as one tree; each says what happened, where, and what to do.

LinkError
├── LinkUnavailable        the server could not be reached or was cut off: try again
├── LinkRefused            the server answered no, with a code: trying again changes nothing
├── LinkProtocolError      the answer is not what this version of the link says
└── LinkConfigError        the address cannot be used (also a ValueError)
"""

from __future__ import annotations

from .messages import CALLER_CODES


class LinkError(Exception):
    """Base of everything that can go wrong between a caller and the server."""


class LinkUnavailable(LinkError):
    """No answer: not reachable, cut off, too slow, or the server is starting.  Retry."""


class LinkRefused(LinkError):
    """The server understood and said no.

    ``code`` is one of ``ErrorCode`` (or a newer server's), ``status`` the HTTP status.
    """

    def __init__(self, code: str, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    @property
    def of_the_caller(self) -> bool:
        """Not what was said was refused, but who said it: again, once its kit is put right."""
        return self.code in CALLER_CODES


class LinkProtocolError(LinkError):
    """The other side does not speak this protocol."""


class LinkConfigError(LinkError, ValueError):
    """An address that must not be used, such as plain HTTP to another machine."""
