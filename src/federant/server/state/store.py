"""The store: all of the server's state behind one object, one transaction a call.

What each call does in SQL lies beside it, by subject: jobs, steps, tasks, records,
events, revocations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from federant.link.messages import BlobRef, Event, JobSpec, JobState, SiteState

from . import deletion, jobs, records, steps, tasks
from . import events as event_log
from . import revocations as revoked
from .migrate import migrate
from .rows import (
    Commit,
    DeletedJob,
    EventRow,
    JobRow,
    JobSiteRow,
    MetricRow,
    ModelRow,
    NewTask,
    Offer,
    RevocationRow,
    SinkCursor,
    SiteRow,
    StepRow,
    TaskRow,
)
from .transaction import Database, Durability

_SERVER: Final = ""
"""The site of the server's own events."""
_PURGED_AT_ONCE: Final = 10_000
"""Rows: others who write need not wait for long."""


def _nobody(_topic: str) -> None:
    """Notifies nobody."""


class Store:
    """Jobs, sites, steps, tasks, results, models and events, in SQL.  Thread-safe.

    Every call is one transaction, and doing it twice has the effect of doing it once.  After the
    commit of a change, ``notify`` gets the topics of whoever may wait for it.  The database is
    brought to the newest schema when the store is made.

    Raises ``UnknownRowError`` for what is not there, ``NotYoursError`` for what is another's and
    ``ConflictError`` for what contradicts the state.
    """

    def __init__(
        self,
        url: str,
        *,
        notify: Callable[[str], None] = _nobody,
        durability: Durability = Durability.POWER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.forgotten = 0
        """How often blobs were forgotten: what was counted of them before holds no more."""
        self._database = Database(url, durability=durability, clock=clock, notify=notify)
        migrate(self._database.engine)

    @classmethod
    def in_file(
        cls,
        path: Path,
        *,
        notify: Callable[[str], None] = _nobody,
        durability: Durability = Durability.POWER,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """The embedded store: one SQLite file."""
        return cls(f"sqlite:///{path}", notify=notify, durability=durability, clock=clock)

    def close(self) -> None:
        self._database.close()

    def ping(self) -> None:
        """Raises if the database does not answer."""
        with self._database.read() as tx:
            tx.conn.execute(select(1))

    # ---- jobs -------------------------------------------------------------------------------

    def create_job(self, spec: JobSpec, job_id: str | None = None) -> JobRow:
        """Submit a job; under a given id, the same job again is the job that is there."""
        with self._database.write() as tx:
            return jobs.create(tx, spec, job_id or jobs.new_job_id())

    def job(self, job_id: str) -> JobRow:
        with self._database.read() as tx:
            return jobs.get(tx, job_id)

    def jobs(self) -> list[JobRow]:
        """All jobs, in the order of their submission."""
        with self._database.read() as tx:
            return jobs.every(tx)

    def set_job_state(self, job_id: str, state: JobState, error: str = "") -> JobRow:
        """Change a job's state; one that has ended stays as it is.  Ending cancels its tasks."""
        with self._database.write() as tx:
            return jobs.set_state(tx, job_id, state, error)

    def request_stop(self, job_id: str) -> JobRow:
        """Ask the job's runner to stop it."""
        with self._database.write() as tx:
            return jobs.request_stop(tx, job_id)

    def claim_jobs(self, runner: str, lease_seconds: float) -> list[JobRow]:
        """Lease all jobs that have not ended and are nobody else's; those held already too."""
        with self._database.write() as tx:
            return jobs.claim(tx, runner, lease_seconds)

    def release_job(self, job_id: str, runner: str) -> None:
        """Stop running a job without ending it."""
        with self._database.write() as tx:
            jobs.release(tx, job_id, runner)

    def delete_job(self, job_id: str) -> DeletedJob:
        """Hide a job that has ended, for good; ``purge_some`` removes what there is much of.

        ConflictError for one that has not ended.  Its id stays taken.
        """
        with self._database.write() as tx:
            return deletion.mark(tx, job_id)

    def unpurged_jobs(self) -> list[str]:
        """The deleted jobs of which rows are left, the oldest first."""
        with self._database.read() as tx:
            return deletion.unpurged(tx)

    def purge_some(self, job_id: str) -> bool:
        """Remove some thousand rows of a deleted job; False if none was left."""
        with self._database.write() as tx:
            return deletion.purge(tx, job_id, _PURGED_AT_ONCE)

    # ---- sites ------------------------------------------------------------------------------

    def seen_site(
        self, name: str, instance: str | None = None, features: Iterable[str] = ()
    ) -> SiteRow:
        """Note a site's hello, or without ``instance`` that it is alive.

        ``ConflictError`` for the hello of one instance while another is alive.  A site that is new
        joins every running job that names no sites.  A sign of life less than a minute after the
        last that was noted costs no commit: ``last_seen`` is that exact.
        """
        if instance is None:
            with self._database.read() as tx:
                site = jobs.just_seen(tx, name)
                if site is not None:
                    return site
        with self._database.write() as tx:
            return jobs.seen_site(tx, name, instance, features)

    def sites(self) -> list[SiteRow]:
        with self._database.read() as tx:
            return jobs.all_sites(tx)

    def jobs_for_site(self, site: str, also: Collection[str] = ()) -> list[JobRow]:
        """The site's jobs that have not ended, and those of ``also`` that have."""
        with self._database.read() as tx:
            return jobs.for_site(tx, site, also)

    def job_sites(self, job_id: str) -> list[JobSiteRow]:
        """Each site's part in the job, by name."""
        with self._database.read() as tx:
            return jobs.parts(tx, job_id)

    def job_of_site(self, job_id: str, site: str) -> JobRow:
        """The job, if the site takes part in it."""
        with self._database.read() as tx:
            return jobs.of_site(tx, job_id, site)

    def set_site_state(self, job_id: str, site: str, state: SiteState, text: str = "") -> None:
        """What the site says about the job.

        ``refused``, ``failed`` and ``ended`` end its open tasks, and each later one, with
        TRAINER_ABSENT, TRAINER_DIED and TASK_ABORTED.
        """
        with self._database.write() as tx:
            jobs.set_site_state(tx, job_id, site, state, text)

    # ---- steps and tasks --------------------------------------------------------------------

    def begin_step(
        self,
        job_id: str,
        number: int,
        kind: str,
        detail: Mapping[str, Any],
        tasks: Sequence[NewTask] = (),
        told: Sequence[Event] = (),
    ) -> StepRow:
        """Journal a step with its tasks, and events of the server's own that tell of it.

        A step that exists is returned as it is; events count once, by their ids.
        """
        with self._database.write() as tx:
            step = steps.begin(tx, job_id, number, kind, detail, tasks)
            if told:
                event_log.add(tx, job_id, _SERVER, told)
            return step

    def close_step(
        self, job_id: str, number: int, outcome: Mapping[str, Any], told: Sequence[Event] = ()
    ) -> StepRow:
        """Journal a step's outcome and cancel its open tasks; the first outcome stays.

        ``told`` are events of the server's own that tell of it; they count once, by their ids.
        """
        with self._database.write() as tx:
            step = steps.close(tx, job_id, number, outcome)
            if told:
                event_log.add(tx, job_id, _SERVER, told)
            return step

    def step(self, job_id: str, number: int) -> StepRow | None:
        with self._database.read() as tx:
            return steps.find(tx, job_id, number)

    def newest_step(self, job_id: str) -> StepRow | None:
        with self._database.read() as tx:
            return steps.newest(tx, job_id)

    def newest_round(self, job_id: str) -> StepRow | None:
        """The newest step that belongs to a round."""
        with self._database.read() as tx:
            return steps.newest_round(tx, job_id)

    def step_tasks(self, job_id: str, number: int) -> list[TaskRow]:
        """The step's tasks in the order of queueing; ``seq`` gives the order of commit."""
        with self._database.read() as tx:
            return tasks.of_step(tx, job_id, number)

    def task(self, task_id: str) -> TaskRow:
        with self._database.read() as tx:
            return tasks.get(tx, task_id)

    def task_of_site(self, task_id: str, site: str) -> TaskRow:
        """The task, if it is the site's."""
        with self._database.read() as tx:
            return tasks.get_own(tx, task_id, site)

    def next_task(
        self, job_id: str, site: str, holder: str, holding: Collection[str], lease_seconds: float
    ) -> Offer:
        """Lease the site's first open task that is not in ``holding``; a job that ends has none.

        A task that is leased to the site already is given again, as the same attempt unless its
        lease ran out.
        """
        while True:
            # Most looks find nothing: they must not wait for the one who may write.
            with self._database.read() as tx:
                job = jobs.of_site(tx, job_id, site)
                if job.state.ended or job.stop_requested:
                    return Offer(job, None)
                due = tasks.due(tx, job_id, site, holding)
                if due is None:
                    return Offer(job, None)
            with self._database.write() as tx:
                leased = tasks.lease(tx, due, holder, lease_seconds)
                if leased is not None:
                    return Offer(job, leased)

    def renew(self, task_id: str, site: str, holder: str, lease_seconds: float) -> TaskRow:
        """Extend the site's lease if the task is open; the row tells what became of it if not.

        One that the holder has for more than half of that time anyway is left as it is.
        """
        with self._database.read() as tx:
            task = tasks.get_own(tx, task_id, site)
            if not task.state.open or tasks.held_for(task, holder, tx.now) > lease_seconds / 2:
                return task
        with self._database.write() as tx:
            return tasks.renew(tx, task, holder, lease_seconds)

    def commit_result(
        self,
        task_id: str,
        site: str,
        attempt: int,
        rc: str,
        headers: Mapping[str, Any],
        blob: BlobRef | None = None,
        error: str = "",
        *,
        refused: bool = False,
    ) -> Commit:
        """End the task with its result, and count the bytes of both, in one transaction.

        With ``refused`` the task ends too: ``rc`` and ``error`` say why the result is not valid.
        """
        with self._database.write() as tx:
            commit = tasks.commit_result(
                tx, task_id, site, attempt, rc, headers, blob, error, refused=refused
            )
            if commit.first:
                jobs.count_bytes(tx, commit.task)
            return commit

    # ---- blobs, models, events --------------------------------------------------------------

    def put_blob(self, owner: str, blob: BlobRef) -> None:
        """Note that the owner (a site, or the server itself) has sent a blob."""
        with self._database.write() as tx:
            records.put_blob(tx, owner, blob)

    def needed_blobs(self) -> set[str]:
        """Digests of what a job that goes on refers to, of models, and of what events refer to."""
        with self._database.read() as tx:
            return records.needed(tx)

    def forget_blobs(self, digests: Collection[str]) -> None:
        """Nobody has put these blobs, from now on; some hundreds at a time."""
        with self._database.write() as tx:
            records.forget_blobs(tx, digests)
        self.forgotten += 1

    def forget_unneeded_blobs(self, digests: Collection[str]) -> list[str]:
        """Those of the blobs that nothing needs: nobody has put them, from now on."""
        with self._database.write() as tx:
            unneeded = deletion.forget_unneeded(tx, digests)
        self.forgotten += 1
        return unneeded

    def unused_bytes(self, site: str) -> int:
        """How many bytes of blobs the site has sent that are no result of a task of its."""
        with self._database.read() as tx:
            return records.unused_bytes(tx, site)

    def has_blob(self, site: str, digest: str) -> bool:
        """Whether the site has sent that blob or was given it in a task."""
        with self._database.read() as tx:
            return records.has_put(tx, site, digest) or tasks.given(tx, site, digest)

    def was_given(self, site: str, digest: str) -> bool:
        """Whether the site was given that blob in a task."""
        with self._database.read() as tx:
            return tasks.given(tx, site, digest)

    def save_model(
        self, job_id: str, number: int, blob: BlobRef, metrics: Mapping[str, Any] | None = None
    ) -> None:
        """Keep the global model of round ``number``; the same round again replaces it."""
        with self._database.write() as tx:
            records.save_model(tx, job_id, number, blob, metrics or {})

    def forget_models(self, job_id: str, rounds: Collection[int]) -> None:
        """Keep the models of these rounds no more; some hundreds at a time."""
        with self._database.write() as tx:
            records.forget_models(tx, job_id, rounds)

    def models(self, job_id: str) -> list[ModelRow]:
        """The job's models by round."""
        with self._database.read() as tx:
            return records.models_of(tx, job_id)

    def add_events(
        self, job_id: str, site: str, events: Sequence[Event], *, most: int | None = None
    ) -> int:
        """Keep the events that are new by id; returns how many there were.

        Of a site at most ``most`` are kept in a job; more are dropped and counted, which the job's
        events say once.  What is dropped and comes again is counted again.
        """
        with self._database.write() as tx:
            return event_log.add(tx, job_id, site, events, most)

    def events(
        self,
        job_id: str,
        after: int = 0,
        limit: int = 1000,
        *,
        kind: str | None = None,
        tag: str | None = None,
        site: str | None = None,
    ) -> list[EventRow]:
        """The job's events behind place ``after``, in order of arrival; of one kind, tag, site."""
        with self._database.read() as tx:
            return event_log.of_job(tx, job_id, after, limit, kind, tag, site)

    def event(self, job_id: str, seq: int) -> EventRow:
        with self._database.read() as tx:
            return event_log.get(tx, job_id, seq)

    # ---- metrics and their sinks ------------------------------------------------------------

    def metrics(self, job_id: str) -> list[MetricRow]:
        """The job's metrics, summed up by site and tag."""
        with self._database.read() as tx:
            return event_log.summaries(tx, job_id)

    def sink_cursor(self, job_id: str, sink: str) -> SinkCursor:
        """How far the sink has come with the job's events: nowhere, if it never began."""
        with self._database.read() as tx:
            return event_log.cursor(tx, job_id, sink)

    def open_sinks(
        self, sink: str, *, ended_after: float | None = None
    ) -> list[tuple[JobRow, SinkCursor]]:
        """The jobs that name the sink, but for those that it has to the end, the oldest first.

        ``ended_after``: without those that ended earlier (seconds since the epoch).
        """
        with self._database.read() as tx:
            return jobs.with_open_sink(tx, sink, ended_after)

    def save_sink_cursor(self, cursor: SinkCursor) -> None:
        with self._database.write() as tx:
            event_log.save_cursor(tx, cursor)

    def events_after(self, job_id: str, seq: int) -> int:
        """How many events the job has behind that place."""
        with self._database.read() as tx:
            return event_log.count_after(tx, job_id, seq)

    # ---- revoked certificates ---------------------------------------------------------------

    def revoke(self, serial: str, identity: str, reason: str, by: str) -> RevocationRow:
        """Note that a certificate is good no more; the first to have done so stays.

        Every site is to hear of it.
        """
        with self._database.write() as tx:
            return revoked.add(tx, serial, identity, reason, by)

    def revoked_serials(self) -> list[str]:
        """The serial numbers of all of them, in order."""
        with self._database.read() as tx:
            return revoked.serials(tx)

    def revocations(self) -> list[RevocationRow]:
        """All of them, the oldest first."""
        with self._database.read() as tx:
            return revoked.every(tx)
