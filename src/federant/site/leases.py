"""Keeping the server's leases of tasks, and hearing at once when a task became void."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from federant.link import LinkClient, LinkError, LinkRefused
from federant.link.messages import HoldState
from federant.site.retries import Retries

_log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
_WAIT_SECONDS = 20.0


class LeaseKeeper:
    """Renews each task that is held until the server has its result, or says that it is void."""

    def __init__(
        self,
        link: LinkClient,
        holder: str,
        on_void: Callable[[str, str], None],
        *,
        lease_seconds: float = LEASE_SECONDS,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        """`on_void(task_id, reason)` is called, from a thread of its own, for a task not wanted."""
        self._link = link
        self._holder = holder
        self._on_void = on_void
        self._lease_seconds = lease_seconds
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._stopped = threading.Event()

    def hold(self, task_id: str) -> None:
        """Renew until the server says otherwise; a second call for the same task does nothing."""
        with self._lock:
            if task_id in self._held:
                return
            self._held.add(task_id)
        threading.Thread(
            target=self._renew, args=(task_id,), name=f"lease-{task_id}", daemon=True
        ).start()

    def stop(self) -> None:
        self._stopped.set()

    def _renew(self, task_id: str) -> None:
        try:
            reason = self._until_over(task_id)
        finally:
            with self._lock:
                self._held.discard(task_id)
        if reason is not None:
            _log.info("task is void task=%s reason=%s", task_id, reason)
            self._on_void(task_id, reason)

    def _until_over(self, task_id: str) -> str | None:
        """Why the task is void; None if it is done, or the keeper was stopped."""
        retries = Retries(_log, f"lease is renewed again task={task_id}", level=logging.INFO)
        while not self._stopped.is_set():
            try:
                reply = self._link.renew(
                    task_id,
                    self._holder,
                    lease_seconds=self._lease_seconds,
                    wait_seconds=self._wait_seconds,
                )
            except LinkError as error:
                if isinstance(error, LinkRefused) and not error.of_the_caller:
                    return str(error)
                self._stopped.wait(retries.failed(error, "lease not renewed task=%s", task_id))
                continue
            retries.worked()
            if reply.state is HoldState.DONE:
                return None
            if reply.state is HoldState.CANCELLED:
                return reply.reason or "the server cancelled it"
        return None
