"""The errors of pipes, as a tree; what a return value tells (not read, nothing there) is no error.

    PipeError
    ├── PipeClosedError      (BrokenPipeError)   this end is not open, or was closed
    ├── PeerGoneError        (BrokenPipeError)   the other end said goodbye, or is dead
    └── PipeRefusedError     (ConnectionError)   the other end does not want this one
        ├── PipeBusyError                        another live process holds this end of the channel
        └── PipeProtocolError                    the ends do not speak the same protocol version

Whoever only wants to know that a pipe is of no more use catches BrokenPipeError.
"""


class PipeError(Exception):
    """Whatever goes wrong in a pipe."""


class PipeClosedError(PipeError, BrokenPipeError):
    """A call before open or after close, or close came while the call waited."""


class PeerGoneError(PipeError, BrokenPipeError):
    """The other end is gone; raised by receive once, after all that the peer had sent before."""

    def __init__(self, text: str, *, clean: bool) -> None:
        super().__init__(text)
        self.clean = clean
        """True: it closed its end. False: it died, or its connection did."""


class PipeRefusedError(PipeError, ConnectionError):
    """The other end refused this one; the text says why (a wrong token, say)."""


class PipeBusyError(PipeRefusedError):
    """The channel's end is held by another pipe that lives; the text says which."""


class PipeProtocolError(PipeRefusedError):
    """The ends have no protocol version in common; the text names both versions."""
