"""What the server's routes work with, in one object; no route lives here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from federant.link.certificate import CertificateFacts
from federant.link.messages import BlobRef, JobSpec
from federant.server.blobs import BlobStore
from federant.server.door.holders import Holders
from federant.server.door.revocations import Revocations
from federant.server.retention import Retention
from federant.server.state import Store, TaskRow
from federant.server.wakeups import Wakeups


class Refusal(Protocol):
    """Why a result is not valid for its task."""

    @property
    def rc(self) -> str: ...

    @property
    def text(self) -> str: ...


CheckResult = Callable[[TaskRow, Path | None, str], Refusal | None]
"""Judges a result by its task, the file of its body and its return code."""

CheckJob = Callable[[JobSpec], str | None]
"""Says why a job cannot be run here, or None if it can."""


def _any_result(_task: TaskRow, _body: Path | None, _rc: str) -> None:
    """Every result is valid."""


def _any_job(_spec: JobSpec) -> None:
    """Every job can be run."""


def _always_ready() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Services:
    """``ready`` tells whether workflows are being run.

    ``federation`` is the name in the certificates of those who are let in; empty without TLS.
    ``certificate()`` is the server's own, which may be renewed.
    """

    store: Store
    blobs: BlobStore
    wakeups: Wakeups
    server_id: str
    check_result: CheckResult = _any_result
    check_job: CheckJob = _any_job
    ready: Callable[[], bool] = _always_ready
    federation: str = ""
    certificate: Callable[[], CertificateFacts] | None = None
    holders: Holders = field(default_factory=Holders)
    revocations: Revocations | None = None
    """None: made by the application from what the store knows."""
    retention: Retention | None = None
    """None: made by the application; it sweeps only what it deletes."""
    site_bytes: int | None = None
    """What a site may put that is no task's result; None: as much as the disk takes."""
    most_events: int | None = None
    """Of one site in one job; None: as many as it likes."""
    stalled_seconds: float = 60.0
    """A transfer from which no byte came for that long is given up; what came of it is kept."""

    def has_whole(self, site: str, blob: BlobRef) -> bool:
        """Whether the blob is there, and the site has sent it or was given it in a task."""
        there = self.blobs.size(blob.digest) == blob.size
        return there and self.store.has_blob(site, blob.digest)
