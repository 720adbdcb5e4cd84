"""Runs the workflows of jobs, one thread a job, under a lease; what they do is theirs.

After a restart every job that has not ended is run again: its journal answers for what it did.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from federant.link.messages import JobSpec, JobState
from federant.server.blobs import BlobSpaceError, BlobStore
from federant.server.state import JobRow, StateError, Store
from federant.server.wakeups import JOBS_TOPIC, Wakeups, job_topic
from federant.server.workflow import (
    Context,
    JobStopped,
    Journal,
    Suspended,
    WorkflowError,
    Workflows,
    load_workflows,
    make_workflow,
)

_log = logging.getLogger(__name__)

_LEASE_SECONDS: Final = 30.0
_RENEWALS_PER_LEASE: Final = 3
_NOT_THE_JOBS_FAULT: Final = (SQLAlchemyError, BlobSpaceError)


class Runner:
    """Claims jobs and runs their workflows until it is stopped.  Thread-safe.

    ``name`` tells runners on one database apart, and must stay the same when a server is started
    again: then it has its jobs back at once, and need not wait for the end of their leases.
    """

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        wakeups: Wakeups,
        *,
        name: str,
        workflows: Workflows | None = None,
        lease_seconds: float = _LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._wakeups = wakeups
        self._name = name
        self._workflows = load_workflows() if workflows is None else workflows
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._stopping = threading.Event()
        self._claimed_once = threading.Event()
        self._claimer = threading.Thread(target=self._claim, name="federant-runner", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether jobs are being run."""
        return self._claimed_once.is_set() and not self._stopping.is_set()

    def check(self, spec: JobSpec) -> str | None:
        """Why a job cannot be run here, None if it can."""
        try:
            make_workflow(self._workflows, spec.workflow, spec.params)
        except WorkflowError as error:
            return str(error)
        return None

    def start(self) -> None:
        self._claimer.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Give all jobs up, for a later start to go on with.  Idempotent.

        Waits for their threads, at most ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        self._stopping.set()
        self._wakeups.notify(JOBS_TOPIC)
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            self._suspend(run)
        for thread in (self._claimer, *(run.thread for run in runs)):
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    _log.warning("still running at stop thread=%s", thread.name)

    def _claim(self) -> None:
        """Claim what is free and renew what is held, as often as the lease needs it."""
        every = self._lease_seconds / _RENEWALS_PER_LEASE
        while True:
            version = self._wakeups.version(JOBS_TOPIC)
            if self._stopping.is_set():  # looked at after the version, as all that is waited for
                return
            try:
                claimed = self._store.claim_jobs(self._name, self._lease_seconds)
            except (SQLAlchemyError, StateError):
                # Leases may run out meanwhile; whoever claims the jobs then replays them.
                _log.exception("cannot claim jobs; trying again runner=%s", self._name)
                self._stopping.wait(every)
                continue
            self._run_all(claimed)
            self._claimed_once.set()
            if self._wakeups.closed:
                self._stopping.wait(every)
            else:
                self._wakeups.wait_blocking(JOBS_TOPIC, version, every)

    def _run_all(self, claimed: list[JobRow]) -> None:
        with self._lock:
            if self._stopping.is_set():
                return
            held = {job.id for job in claimed}
            lost = [run for job_id, run in self._runs.items() if job_id not in held]
            for job in claimed:
                if job.id not in self._runs:
                    self._runs[job.id] = run = _Run(job, self._run)
                    run.thread.start()
        for run in lost:
            self._suspend(run)

    def _suspend(self, run: _Run) -> None:
        run.suspended.set()
        self._wakeups.notify(job_topic(run.job_id))

    def _run(self, run: _Run) -> None:
        released = False
        try:
            self._run_workflow(run)
        except Suspended as reason:
            _log.info("suspended job=%s reason=%s", run.job_id, reason)
            self._release(run)
            released = True
        except _NOT_THE_JOBS_FAULT:
            # The job is still claimed, and is replayed with the next renewal.
            _log.exception("the state cannot be reached; trying again job=%s", run.job_id)
        finally:
            with self._lock:
                del self._runs[run.job_id]
        if released:
            # Whoever looked since the release found this run still here, and began no other.
            self._wakeups.notify(JOBS_TOPIC)

    def _run_workflow(self, run: _Run) -> None:
        job = self._store.job(run.job_id)
        if job.state.ended:
            return
        journal = Journal(
            job.id,
            self._store,
            self._blobs,
            self._wakeups,
            suspended=run.suspended.is_set,
            clock=self._clock,
        )
        _log.info("running job=%s workflow=%s", job.id, job.spec.workflow)
        state, error = JobState.FINISHED, ""
        try:
            journal.check()
            workflow = make_workflow(self._workflows, job.spec.workflow, job.spec.params)
            self._store.set_job_state(job.id, JobState.RUNNING)
            workflow.run(Context(job.spec, journal, seed=workflow.seed))
        except JobStopped:
            state = JobState.STOPPED
        except WorkflowError as reason:
            state, error = JobState.FAILED, str(reason)
        except _NOT_THE_JOBS_FAULT:
            raise
        except (Exception, SystemExit) as reason:  # noqa: BLE001 - a workflow is anyone's code
            _log.exception("the workflow raised job=%s", job.id)
            state, error = JobState.FAILED, f"{type(reason).__name__}: {reason}"
        self._store.set_job_state(job.id, state, error)
        _log.info("ended job=%s state=%s error=%s", job.id, state, error)

    def _release(self, run: _Run) -> None:
        try:
            self._store.release_job(run.job_id, self._name)
        except SQLAlchemyError as error:
            # Its lease runs out by itself.
            _log.warning("cannot release job=%s error=%s", run.job_id, error)


class _Run:
    """One job in its thread."""

    def __init__(self, job: JobRow, work: Callable[[_Run], None]) -> None:
        self.job_id = job.id
        self.suspended = threading.Event()
        self.thread = threading.Thread(
            target=work, args=(self,), name=f"federant-job-{job.id}", daemon=True
        )
