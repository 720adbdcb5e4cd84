"""One client job process: started, started again when it dies, found again by a later daemon."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from federant.site import launcher, liveness
from federant.site.backoff import Backoff
from federant.site.job_file import JobFolder

_log = logging.getLogger(__name__)

_FIRST_SECONDS = 0.05
_LONGEST_SECONDS = 10.0
_SETTLED_SECONDS = 60.0
"""A client job that lived so long did not die of how it was started."""


class ClientJobKeeper:
    """A thread that sees to it that a job has its process until the job is over."""

    def __init__(
        self,
        folder: JobFolder,
        *,
        name: str,
        most_restarts: int,
        on_give_up: Callable[[str], None],
    ) -> None:
        """Starts at once; a client job that lives already is only watched.

        `on_give_up(text)` is called, from the thread, when the process died too often in a row.
        """
        self._folder = folder
        self._name = name
        self._most_restarts = most_restarts
        self._on_give_up = on_give_up
        self._changed = threading.Condition()
        self._stopping = False
        self._over = False
        self._thread = threading.Thread(target=self._keep, name=f"job-{name}", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether nothing is kept any more: the job is over, or was given up."""
        return not self._thread.is_alive()

    def job_is_over(self) -> None:
        """Start it no more; it ends by itself."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Tell it to end, its trainer too, and start it no more; does not wait."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._signal(signal.SIGTERM)

    def join(self, seconds: float) -> bool:
        """Wait after stop() until all is gone; False if it was not within that time."""
        self._thread.join(max(0.0, seconds))
        return self.finished

    def kill(self) -> None:
        """End at once what stop() has not ended in time."""
        _log.warning("client job killed: it did not end in time job=%s", self._name)
        self._signal(signal.SIGKILL)
        launcher.end_all(self._folder.launches, 0.0)

    # -- the thread -------------------------------------------------------------------------------

    def _keep(self) -> None:
        backoff = Backoff(_FIRST_SECONDS, _LONGEST_SECONDS)
        deaths = 0
        while True:
            began = time.monotonic()
            ended = self._watch_one()
            if self._folder.ended.exists():
                _log.info("job over job=%s", self._name)
                return
            if time.monotonic() - began > _SETTLED_SECONDS:
                deaths = 0
                backoff.worked()
            deaths += 1
            if not self._is_wanted():
                break
            _log.warning("client job died job=%s %s deaths=%d", self._name, ended, deaths)
            if deaths > self._most_restarts:
                self._give_up(deaths, ended)
                return
            with self._changed:
                self._changed.wait_for(lambda: not self._is_wanted(), backoff.failed())
            if not self._is_wanted():
                break
        self._end_trainer()
        if self._over:
            self._folder.finish()

    def _is_wanted(self) -> bool:
        return not (self._stopping or self._over)

    def _give_up(self, deaths: int, ended: str) -> None:
        self._end_trainer()
        words = launcher.last_lines(self._folder.log)
        self._on_give_up(
            f"the client job died {deaths} times in a row, the last time with {ended}; "
            f"the last lines of {self._folder.log}:\n{words}"
        )

    def _watch_one(self) -> str:
        """Wait for the end of the client job that lives, or of a new one; how it ended."""
        try:
            process = self._start()
        except OSError as error:
            return f"an error at its start: {error}"
        if process is None:
            liveness.wait_until_free(self._folder.alive)
            return "a status that is not known"
        return f"status {process.wait()}"

    def _start(self) -> subprocess.Popen[bytes] | None:
        """A new client job; None if there is a living one, of an earlier daemon."""
        lock = liveness.hold(self._folder.alive)
        if lock is None:
            return None
        try:
            os.ftruncate(lock, 0)
            with self._folder.log.open("ab") as log:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "federant.site.client_job"),
                        *("--folder", str(self._folder.root), "--lock", str(lock)),
                        *("--log-level", "DEBUG" if _log.isEnabledFor(logging.DEBUG) else "INFO"),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock],
                    # It outlives the daemon, and a Ctrl-C is for the daemon to pass on.
                    start_new_session=True,
                )
            # For whoever only finds the lock: a later daemon.
            os.pwrite(lock, str(process.pid).encode(), 0)
        finally:
            os.close(lock)
        return process

    def _signal(self, number: signal.Signals) -> None:
        # The lock is held by the process whose id its file holds, so the id is not another's.
        if liveness.is_held(self._folder.alive):
            pid = self._folder.alive.read_text(encoding="ascii")
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), number)

    def _end_trainer(self) -> None:
        launcher.end_all(self._folder.launches, 0.0)
