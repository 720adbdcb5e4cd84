"""CellPipe: agent and client job on two machines, each with a cell process beside it.

A pipe's end speaks LocalPipe with its own cell; the two cells meet at a relay (federant.cellnet)
and carry LocalPipe's records to each other. So no network library is in a trainer's process.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Final

from federant.pipe.arguments import check_number, checked_channel
from federant.pipe.base import Mode, Pipe
from federant.pipe.cell.address import relay_url
from federant.pipe.cell.process import CellProcess, require_packages
from federant.pipe.errors import PeerGoneError, PipeClosedError
from federant.pipe.local.connection import Peer
from federant.pipe.local.pipe import SPOOL_BYTES, LocalPipe
from federant.pipe.message import Message

logger = logging.getLogger(__name__)

OPEN_SECONDS: Final = 20.0
"""How long open waits for the relay's answer; a relay that is not there is not waited for."""
SWEEP_SECONDS: Final = 5.0
PEER_TIMEOUT: Final = 120.0


class CellPipe(Pipe):
    """A pipe between two machines, by a relay that both can dial.

    What LocalPipe says of messages, goodbyes and deaths holds here too. A connection that is cut is
    dialled again, and blocked calls go on, for as long as the owner waits: an agent's
    `heartbeat_timeout`, and `peer_timeout` at the client job. The cell ends with its owner; one
    that was killed is started again, and the other end finds that its peer has died and come back.
    """

    def __init__(
        self,
        mode: Mode,
        site_name: str,
        token: str,
        root_url: str = "",
        secure_mode: bool = True,
        workspace_dir: str = "",
        *,
        root_path: str | Path | None = None,
        job_id: str = "",
        spool_bytes: int = SPOOL_BYTES,
        peer_timeout: float = PEER_TIMEOUT,
        defer: bool = False,
        keep: Collection[Path] = (),
        revoked: Path | None = None,
    ) -> None:
        """Dials nobody yet. ValueError, TypeError for what cannot be used; the text names it.

        token: the agent's id at its site, at both ends the same. root_url: the relay's address;
        https:// and wss:// (grpc:// and tcp:// mean the same), http:// without TLS on loopback.
        secure_mode: TLS, with the startup kit in the folder workspace_dir: an agent's at the ACTIVE
        end, the site's at the PASSIVE one.

        root_path: where the spool lies; default: a folder in the temporary folder. job_id: at the
        PASSIVE end, the job that is served. peer_timeout: there, the seconds for which a peer
        whose cell is not connected may stay away; 0 = for ever. defer, keep: LocalPipe's. revoked:
        there, the file that says which certificates the other end must not have, whatever the relay
        lets in; it may be written later, and anew.
        """
        super().__init__(mode)
        for name, value in (("site_name", site_name), ("token", token), ("root_url", root_url)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a str, got {type(value).__name__}")
            if not value:
                raise ValueError(f"{name} must not be empty")
        if not isinstance(secure_mode, bool):
            raise TypeError(f"secure_mode must be True or False, got {secure_mode!r}")
        if not isinstance(workspace_dir, str | Path):
            raise TypeError(f"workspace_dir must be a str, got {type(workspace_dir).__name__}")
        check_number("peer_timeout", peer_timeout, least=0)
        if defer and self.mode is Mode.ACTIVE:
            raise ValueError("defer is for the passive end: the active end maps what it receives")
        self._url = relay_url(root_url, secure=secure_mode)
        if secure_mode and not (Path(workspace_dir) / "kit.toml").is_file():
            raise ValueError(
                f"workspace_dir {str(workspace_dir)!r} holds no startup kit (kit.toml), which "
                "secure_mode=True needs; give the folder that federant provision made"
            )
        self.site_name = site_name
        self.token = token
        self.root_url = root_url
        self.secure_mode = secure_mode
        self.workspace_dir = str(workspace_dir)
        self.root_path = None if root_path is None else Path(root_path)
        self.job_id = job_id
        self.spool_bytes = spool_bytes
        self.peer_timeout = peer_timeout
        self.defer = defer
        self._keep = keep
        self._revoked = revoked
        self._lock = threading.Lock()
        self._inner: LocalPipe | None = None
        self._cell: CellProcess | None = None
        self._folder: Path | None = None  # to be removed
        self._end_told = False
        _pipes.add(self)

    def __str__(self) -> str:
        end = "agent" if self.mode is Mode.ACTIVE else "job"
        return f"cell pipe {self.site_name}.{self.token}.{end} at {self.root_url}"

    # -- life --------------------------------------------------------------------------------------

    def open(self, name: str) -> None:
        """Starts the cell, and waits for the relay's answer, but not for a relay that is away.

        Raises PipeBusyError if another live agent has this token, PipeRefusedError if the relay
        does not let this one in, or what answers is no relay; ModuleNotFoundError if the extra
        `cell` is not installed.
        """
        name = checked_channel(name)
        require_packages()
        with self._lock:
            if self._inner is not None:
                raise PipeClosedError(f"{self} is open already; close it first")
            root = self.root_path
            if root is None:
                root = self._folder = Path(tempfile.mkdtemp(prefix="federant-cell-"))
            secret = secrets.token_hex(16)
            inner = LocalPipe(
                self.mode, root, secret, self.spool_bytes, defer=self.defer, keep=self._keep
            )
            inner.open(name)
            self._end_told = False
            try:
                cell = CellProcess(self._order(name, root, secret), inner.wake)
            except BaseException:
                inner.close()
                self._remove_folder()
                raise
            self._inner, self._cell = inner, cell
        try:
            joined = cell.wait_joined(OPEN_SECONDS)
        except BaseException:
            self.close()
            raise
        if not joined:
            logger.warning("relay not reached yet pipe=%s reason=%s", self, cell.trouble)

    def reach_relay(self, timeout: float) -> str:
        """Waits until the relay has let this end in; empty then, else why it is not reached.

        Raises what open raises.
        """
        return self._opened()[1].wait_reached(timeout)

    def _order(self, channel: str, root: Path, secret: str) -> dict[str, object]:
        return {
            "mode": str(self.mode),
            "site": self.site_name,
            "agent_id": self.token,
            "channel": channel,
            "root": str(root.absolute()),
            "temporary": self._folder is not None,
            "secret": secret,
            "spool_bytes": self.spool_bytes,
            "url": self._url,
            "kit": str(Path(self.workspace_dir).absolute()) if self.secure_mode else "",
            "revoked": str(self._revoked.absolute()) if self._revoked is not None else "",
            "job": self.job_id,
            "peer_timeout": float(self.peer_timeout) if self.mode is Mode.PASSIVE else 0.0,
        }

    def close(self) -> None:
        with self._lock:
            inner, self._inner = self._inner, None
            cell, self._cell = self._cell, None
            if inner is not None:
                inner.close()
            if cell is not None:
                cell.close()
                if cell.error is not None:  # it is gone, and has left the folder
                    self._remove_folder()
            self._folder = None

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def clear(self) -> None:
        """Also what is on its way from the other end, if that can be reached."""
        inner, cell = self._opened()
        cell.sweep(SWEEP_SECONDS)
        inner.clear()

    def _opened(self) -> tuple[LocalPipe, CellProcess]:
        with self._lock:
            if self._inner is None or self._cell is None:
                raise PipeClosedError(f"{self} is not open, or was closed")
            return self._inner, self._cell

    @property
    def cell_pid(self) -> int:
        """The process number of the cell; 0 when this end is not open."""
        cell = self._cell
        return 0 if cell is None else cell.pid

    @property
    def resent_bytes(self) -> int:
        """How many bytes this end's cell has sent again after cuts, since the pipe was opened.

        At most one MiB (`federant.cellnet.tunnel.CHUNK_BYTES`) a cut; 0 when it is not open.
        """
        cell = self._cell
        return 0 if cell is None else cell.resent_bytes

    @property
    def peer(self) -> Peer | None:
        """The cell, while it carries a connection to the other end; None while there is no peer."""
        inner = self._inner
        return None if inner is None else inner.peer

    # -- messages ----------------------------------------------------------------------------------

    def send(self, msg: Message, timeout: float | None = None) -> bool:
        """Also raises SpoolError, as LocalPipe.send does."""
        return self._opened()[0].send(msg, timeout)

    def receive(self, timeout: float | None = None) -> Message | None:
        inner, cell = self._opened()
        msg = inner.receive(timeout)
        if msg is None and cell.error is not None and not self._end_told:
            self._end_told = True
            raise PeerGoneError(f"{self}: {cell.error}", clean=False)
        return msg

    def can_resend(self) -> bool:
        return True

    def can_wake(self) -> bool:
        return True

    def wake(self) -> None:
        inner = self._inner
        if inner is not None:
            inner.wake()

    def get_last_peer_active_time(self) -> float:
        inner = self._inner
        return 0.0 if inner is None else inner.get_last_peer_active_time()

    def arguments(self) -> dict[str, object]:
        return {
            "site_name": self.site_name,
            "token": self.token,
            "root_url": self.root_url,
            "secure_mode": self.secure_mode,
            "workspace_dir": self.workspace_dir,
        }

    def abandon_in_child(self) -> None:
        """For the fork hook: the cell is the parent's, and ends with it."""
        self._lock = threading.Lock()
        self._inner = None
        cell, self._cell = self._cell, None
        if cell is not None:
            cell.abandon_in_child()


_pipes: weakref.WeakSet[CellPipe] = weakref.WeakSet()


def _abandon_all_in_child() -> None:
    for pipe in list(_pipes):
        pipe.abandon_in_child()


os.register_at_fork(after_in_child=_abandon_all_in_child)
