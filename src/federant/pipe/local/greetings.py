"""What the ends of a LocalPipe say when they meet, and who is refused; nothing is sent here."""

import hmac
import os
import re
import time
import uuid

from federant.pipe.base import Mode
from federant.pipe.errors import PipeProtocolError
from federant.pipe.local.connection import Peer
from federant.pipe.local.wire import FEATURES, PROTOCOL, VERSION, Hello, Refuse, Welcome


def new_folder(channel: str, mode: Mode) -> str:
    """The name of a spool folder for this end to write into."""
    return f"{channel}-{mode.lower()}-{uuid.uuid4().hex[:12]}"


def checked_folder(name: str, channel: str, mode: Mode) -> str:
    """The name, if it can only mean a folder of that end of the channel; PipeProtocolError."""
    if not re.fullmatch(rf"{re.escape(channel)}-{mode.lower()}-[0-9a-f]{{1,32}}", name):
        raise PipeProtocolError(f"{name[:100]!r} is not the name of a folder of the {mode} end")
    return name


def hello(token: str, channel: str, folder: str) -> Hello:
    return Hello(PROTOCOL, VERSION, list(FEATURES), token, channel, os.getpid(), folder)


def welcome(folder: str) -> Welcome:
    return Welcome(VERSION, list(FEATURES), os.getpid(), folder)


def refusal(greeting: Hello, token: str, channel: str, holder: Peer | None) -> Refuse | None:
    """Why the end that says this hello is not taken; None if it is.

    token: what it has to show. holder: the live peer that has the channel already.
    """
    if greeting.protocol != PROTOCOL or greeting.version != VERSION:
        return Refuse(
            "version",
            f"this end speaks {PROTOCOL} version {VERSION}, the other end "
            f"{greeting.protocol} version {greeting.version}: install the same release at both",
        )
    if not hmac.compare_digest(greeting.token.encode(), token.encode()):
        return Refuse("token", "the token is not the one of this launch")
    if greeting.channel != channel:
        return Refuse("channel", f"this is channel {channel!r}, not {greeting.channel!r}")
    if holder is not None:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
        return Refuse("busy", f"process {holder.pid} holds this channel since {since}")
    return None
