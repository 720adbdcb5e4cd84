"""Pipes between agent and client job: the interface, the messages, the handler, the transports."""

from federant.pipe.base import Mode, Pipe, PipeChannelName
from federant.pipe.cell import CellPipe
from federant.pipe.errors import (
    PeerGoneError,
    PipeBusyError,
    PipeClosedError,
    PipeError,
    PipeProtocolError,
    PipeRefusedError,
)
from federant.pipe.file import FilePipe
from federant.pipe.file.end import FileAccessor, FileLayout
from federant.pipe.handler import PipeHandler
from federant.pipe.kind import PipeKind
from federant.pipe.local import LocalPipe
from federant.pipe.local.connection import Peer
from federant.pipe.memory import MemoryPipe
from federant.pipe.message import Message, MsgId, Topic
from federant.pipe.protocol import Delivery, Outcome
from federant.pipe.stored_frame import StoredFrame

__all__ = [
    "CellPipe",
    "Delivery",
    "FileAccessor",
    "FileLayout",
    "FilePipe",
    "LocalPipe",
    "MemoryPipe",
    "Message",
    "Mode",
    "MsgId",
    "Outcome",
    "Peer",
    "PeerGoneError",
    "Pipe",
    "PipeBusyError",
    "PipeChannelName",
    "PipeClosedError",
    "PipeError",
    "PipeHandler",
    "PipeKind",
    "PipeProtocolError",
    "PipeRefusedError",
    "StoredFrame",
    "Topic",
]
