"""A federation on this machine: its server and sites as processes that end with their owner."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psutil

from federant.link.kit import Kit
from federant.link.operator import Federation, connect
from federant.provision import make_federation

_log = logging.getLogger(__name__)

TRAINER: Final = "trainer"
"""The name under which each site lists its one trainer."""

_STOP_SECONDS: Final = 1.1
"""From SIGTERM until what still lives is killed."""
_KILL_SECONDS: Final = 10.0
"""For what was killed to be gone: milliseconds, but seconds where the disk or the host stalls."""
_LOOK_AGAIN_SECONDS: Final = 0.3
_GRACE_SECONDS: Final = 0.5
"""What a site gives its trainers between SIGTERM and SIGKILL."""
_READ_SECONDS: Final = 300.0
"""Until a trainer has its first task: several that import a large framework share the machine."""
_OPERATOR: Final = "operator"
_AGENT: Final = "agent"
_MARK: Final = "FEDERANT_DEMO"
"""Environment variable by which everything that belongs to one federation is found again."""
_METRICS_SECONDS: Final = 60.0
"""For the last metrics of a trainer that no site has started."""
_LAST_LINES: Final = 15


class FederationError(Exception):
    """A process of the federation did not start, died, or does not end; the text says which."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class LocalFederation:
    """A server and its sites, each a process; as a context manager it starts and ends them.

    `trainers` maps each site's name to the command of its trainer, a list of arguments; `settings`
    are further lines (TOML) of each site's trainer.  `relays` maps sites to the ports of their
    relays: theirs is a trainer of another machine, which none of them starts; it joins by the kit
    in `agent_kits`.  All files lie in `folder`: `server/`,
    `<site>/`, `<site>.toml`, a log a process, and in `kits/` the certificates with which they speak
    mutual TLS.

    The processes end with this one, also when it is killed: they watch a pipe whose writing end
    only this process holds.  A fork of it that goes on without exec holds that end too.
    """

    def __init__(
        self,
        folder: Path,
        trainers: Mapping[str, Sequence[str]] | None = None,
        *,
        settings: str = "",
        relays: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = folder
        self.agent_kits: dict[str, Path] = {}
        """Of the sites with a relay: the folders of their agents' kits, once it has started."""
        self._trainers = trainers or {}
        self._settings = settings
        self._relays = relays or {}
        self._mark = secrets.token_hex(8)
        self._members: list[_Member] = []
        self._leash: tuple[int, int] | None = None
        self._client: Federation | None = None

    @property
    def client(self) -> Federation:
        """The operator's connection to the server."""
        if self._client is None:
            raise FederationError("the federation has not been started")
        return self._client

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, wait until it listens, start the sites.

        FederationError with its last words if the server ends instead.  The sites say hello in
        their own time: a job waits for as many as it needs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        kits = make_federation(
            self.folder / "kits",
            "demo",
            sites=(*self._trainers, *self._relays),
            operators=[_OPERATOR],
            agents=[(site, _AGENT) for site in self._relays],
            relays={site: f"https://127.0.0.1:{port}" for site, port in self._relays.items()},
        )
        self.agent_kits = {kit.identity.site: kit.folder for kit in kits.agents.values()}
        url = self._start_server(kits.server)
        self._client = connect(url, kit=kits.operators[_OPERATOR].folder)
        for site, kit in kits.sites.items():
            file = self.folder / f"{site}.toml"
            if site in self._relays:
                trainer = (
                    f'start = "external"\npipe = "cell"\nagent_id = "{_AGENT}"\n'
                    f"grace_seconds = {_METRICS_SECONDS}\n"
                )
                more = f"\n[relay]\nport = {self._relays[site]}\n"
            else:
                trainer, more = _started(self._trainers[site]), ""
            text = _site_file(kit, url, f"{trainer}{self._settings}\n{more}")
            file.write_text(text, encoding="utf-8")
            self._start(site, ["site", str(file), "-v"])

    def check(self) -> None:
        """FederationError if one of the processes has ended."""
        for member in self._members:
            status = member.process.poll()
            if status is not None:
                raise FederationError(
                    f"{member.name} ended with status {status}; its last words, from "
                    f"{member.log}:\n{_last_words(member.log)}"
                )

    def logs(self) -> list[Path]:
        """What the server and the sites have logged, and the trainers have printed."""
        # walk, because a glob fails where a folder is taken away while it looks.
        found = (Path(at) / name for at, _, names in os.walk(self.folder) for name in names)
        return sorted(log for log in found if log.suffix == ".log")

    def stop(self) -> None:
        """End every process; takes less than two seconds where the machine does not stall.

        FederationError if one is left even so.  Twice is fine.
        """
        if self._client is not None:
            self._client.close()
            self._client = None
        for member in self._members:
            with suppress(ProcessLookupError):
                member.process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for member in self._members:
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(max(0.0, deadline - time.monotonic()))
        left = self._kill_stragglers()
        for member in self._members:
            # One that is just going away has no environment any more by which to know it.
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(_KILL_SECONDS)
            if member.process.stdout is not None:
                member.process.stdout.close()
        self._members.clear()
        if self._leash is not None:  # not before: at its end the processes get a second SIGTERM
            for end in self._leash:
                os.close(end)
            self._leash = None
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            raise FederationError(f"killed, and yet not gone: process {pids}; end it by hand")

    def _start_server(self, kit: Kit) -> str:
        server = self._start(
            "server",
            [
                *("server", str(self.folder / "server"), "--kit", str(kit.folder)),
                *("--host", "127.0.0.1", "--port", "0", "-v"),
            ],
            talks=True,
        )
        if server.stdout is None or not server.stdout.readline():
            server.wait()
            self.check()
        ready = json.loads((self.folder / "server" / "server.json").read_text(encoding="utf-8"))
        return str(ready["url"])

    def _start(
        self, name: str, arguments: Sequence[str], *, talks: bool = False
    ) -> subprocess.Popen[bytes]:
        if self._leash is None:
            self._leash = os.pipe()
        script = Path(__file__).with_name("leash.py")
        # -P: what lies beside the script is no module to be found by its bare name.
        command = [sys.executable, "-P", str(script), str(self._leash[0])]
        command += ["federant.cli", *arguments]
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else output,
                stderr=output,
                # What a process that is killed leaves in its temporary folder goes with ours.
                env={**os.environ, "TMPDIR": str(self.folder), _MARK: self._mark},
                pass_fds=[self._leash[0]],
                # So that Ctrl-C in the terminal reaches only the one who stops it.
                start_new_session=True,
            )
        self._members.append(_Member(name, process, log))
        return process

    def _kill_stragglers(self) -> list[psutil.Process]:
        """What lives even then.  Looks again after each kill: the killed may just have forked."""
        deadline = time.monotonic() + _KILL_SECONDS
        while (stragglers := self._stragglers()) and time.monotonic() < deadline:
            for straggler in stragglers:
                _log.info("killed pid=%s", straggler.pid)
                with suppress(psutil.NoSuchProcess):
                    straggler.kill()
            psutil.wait_procs(stragglers, timeout=_LOOK_AGAIN_SECONDS)
        return stragglers

    def _stragglers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(_MARK) == self._mark:
                    found.append(process)
        return found


def _site_file(kit: Kit, url: str, trainer: str) -> str:
    # JSON's strings and lists of strings are TOML's as well.
    return (
        f"kit = {json.dumps(str(kit.folder.resolve()))}\n"
        f"server = {json.dumps(url)}\n"
        f"folder = {json.dumps(kit.identity.name)}\n"
        f"\n"
        f"[trainers.{TRAINER}]\n"
        f"{trainer}"
    )


def _started(command: Sequence[str]) -> str:
    """The lines of a trainer that its site starts."""
    return (
        f"command = {json.dumps(list(command))}\n"
        f"grace_seconds = {_GRACE_SECONDS}\n"
        f"read_timeout_seconds = {_READ_SECONDS}\n"
        f'env = {{ OMP_NUM_THREADS = "1", OPENBLAS_NUM_THREADS = "1" }}\n'
    )


def _last_words(log: Path) -> str:
    with log.open(encoding="utf-8", errors="replace") as lines:
        return "".join(deque(lines, _LAST_LINES)).rstrip() or "(it said nothing)"
