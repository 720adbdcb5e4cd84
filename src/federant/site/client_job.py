"""The client job: the process at a site that serves one job, between the server and the trainer.

Started by the site daemon as `python -m federant.site.client_job --folder DIR`; what it must not
forget is in that folder, so that the next one can go on where this one was killed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path

from federant import codec
from federant.client.last_words import WORDS_FOLDER
from federant.client.meeting_point import (
    HEARTBEAT_VARIABLE,
    JOB_VARIABLE,
    SITE_VARIABLE,
    SPOOL_VARIABLE,
)
from federant.exchange import DXO, Shareable
from federant.link import LinkClient, LinkError, LinkRefused
from federant.link.kit import load_kit
from federant.link.messages import (
    BlobRef,
    ErrorCode,
    NextTaskReply,
    SiteJobState,
    SiteState,
    TaskMessage,
)
from federant.pipe import PipeKind, PipeRefusedError, StoredFrame
from federant.site import liveness
from federant.site.attempt import ExchangeLimits
from federant.site.errors import FolderInUseError, SiteError, TaskDataError
from federant.site.events import EventSender
from federant.site.exchanger import SiteTask, TaskExchanger
from federant.site.job_file import JobFolder
from federant.site.journal import Journal, StoredResult
from federant.site.leases import LEASE_SECONDS, LeaseKeeper
from federant.site.metrics import MetricRelay
from federant.site.outbox import Outbox
from federant.site.pipes import JobPipes
from federant.site.retries import Retries
from federant.site.signals import MainThread
from federant.site.supervisor import TrainerSupervisor
from federant.site.workers import Worker

# Named outright: this module is also run as __main__.
_log = logging.getLogger("federant.site.client_job")

_WAIT_SECONDS = 30.0
_FLUSH_SECONDS = 1.0
_EVENTS_FLUSH_SECONDS = 5.0
"""For what a trainer logged last; no longer than that, if the server is away."""
_LOG_BYTES = 10_000_000
_LOG_FILES = 3
HURRY_SECONDS = 0.8
"""A trainer's time to end when the whole site goes down."""


class ClientJob:
    """Everything that serves one job, put together; lives as long as its process."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._job = job = folder.read_job()
        trainer = job.trainer
        self._journal = Journal(folder.journal)
        kit = load_kit(job.kit) if job.kit else None
        self._link = LinkClient(job.server, job.site, kit=kit)
        self._main = MainThread()
        self._failure: BaseException | None = None
        self._events = EventSender(self._link, job.job_id, self._fail)
        self._outbox = Outbox(
            self._link, self._journal, self._events.tell, self._on_refused, self._fail
        )
        holder = f"{job.site}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._holder = holder
        self._leases = LeaseKeeper(self._link, holder, self._on_void)
        stored = [result.path for result in self._journal.results() if result.path is not None]
        token = self._journal.token()
        self._pipes = JobPipes(job, folder.pipe, token, stored)
        self._supervisor = TrainerSupervisor(
            trainer,
            folder.root,
            {
                **self._pipes.environment(),
                SITE_VARIABLE: job.site,
                JOB_VARIABLE: job.job_id,
                HEARTBEAT_VARIABLE: str(trainer.heartbeat_timeout_seconds),
                SPOOL_VARIABLE: str(job.spool_bytes),
            },
            self._journal,
            on_token=self._pipes.use_token,
            on_exit=self._trainer_ended,
            on_status=self._events.tell,
            words=self._pipes.folder / WORDS_FOLDER,
        )
        self._exchanger = TaskExchanger(
            self._pipes.tasks,
            self._journal,
            self._supervisor,
            job_id=job.job_id,
            site_name=job.site,
            on_result=self._on_result,
            on_status=self._events.tell,
            limits=ExchangeLimits(
                peer_read_timeout=trainer.reading_limit(),
                task_wait_time=trainer.task_timeout_seconds,
                stalled_after=trainer.stalled_seconds,
                stall_limit=trainer.stall_limit_seconds,
                heartbeat_interval=trainer.heartbeat_interval_seconds,
            ),
        )
        self._metrics = MetricRelay(
            self._pipes.metrics,
            self._events.add,
            keep=self._events.keep,
            heartbeat_interval=trainer.heartbeat_interval_seconds,
        )
        self._stopping = threading.Event()
        self._over = False
        if self._supervisor.external and trainer.pipe is not PipeKind.CELL:
            folder.write_join(job, token, self._pipes.folder)

    def run(self) -> int:
        """Serve the job until it has ended or a signal comes; the process's exit status.

        0 with the file `ended.json`: the job is over. 0 without: it was told to go down, and the
        next client job goes on. Anything else: it failed, and may be tried again.
        """
        with self._main as main:
            self._supervisor.recall()
            self._exchanger.start()
            self._metrics.start()
            self._events.start()
            self._outbox.start()
            self._supervisor.begin()
            Worker("client-job-tasks", self._work, self._fail).start()
            told_to_go = main.wait()
            self._stopping.set()
            if told_to_go and self._supervisor.external:
                # As below: another has started the trainer, and nobody would start it again.
                self._events.flush(HURRY_SECONDS)
                return 0
            if told_to_go:
                self._go_down()
            elif self._failure is None:
                self._end()
            else:
                # No goodbye: the trainer shall wait for the next client job.
                _log.error("client job failed", exc_info=self._failure)
                return 1
        self._close()
        return 0

    # -- the thread that asks for tasks -----------------------------------------------------------

    def _work(self) -> None:
        self._serve()
        self._main.finish()

    def _fail(self, error: BaseException) -> None:
        """One of the threads cannot go on: the main thread ends the process, and another begins."""
        self._failure = self._failure or error
        self._main.finish()

    def _serve(self) -> None:
        for result in self._journal.results():
            self._leases.hold(result.task_id)
        first = True
        retries = Retries(_log, level=logging.INFO)
        ready = False
        while not self._stopping.is_set():
            try:
                if not ready:
                    self._link.report_site_state(self._job.job_id, SiteState.READY)
                    ready = True
                reply = self._next_task(0.0 if first else _WAIT_SECONDS)
            except LinkRefused as error:
                if error.code in (ErrorCode.NOT_FOUND, ErrorCode.FORBIDDEN):
                    raise
                self._wait_again(retries, error)
                continue
            except LinkError as error:
                self._wait_again(retries, error)
                continue
            retries.worked()
            if reply.job_state is not SiteJobState.RUNNING:
                _log.info("the job is over state=%s", reply.job_state)
                return
            if first:
                self._drop_what_is_void(reply.task)
            first = False
            if reply.task is not None:
                self._execute(reply.task)

    def _next_task(self, wait_seconds: float) -> NextTaskReply:
        return self._link.next_task(
            self._job.job_id,
            self._holder,
            holding=self._outbox.holding(),
            lease_seconds=LEASE_SECONDS,
            wait_seconds=wait_seconds,
        )

    def _wait_again(self, retries: Retries, error: LinkError) -> None:
        self._stopping.wait(retries.failed(error, "trying again"))

    def _drop_what_is_void(self, given: TaskMessage | None) -> None:
        """What an earlier client job had in hand, and the server does not want any more."""
        for task_id in self._exchanger.open_tasks():
            if given is None or given.task_id != task_id:
                self._exchanger.cancel(task_id, "the server has cancelled it meanwhile")

    def _execute(self, message: TaskMessage) -> None:
        left = message.deadline_seconds
        task = SiteTask(
            *(message.task_id, message.attempt, message.name, message.headers),
            deadline=None if left is None else time.monotonic() + left,
        )

        def fetch() -> Shareable:
            self._leases.hold(task.task_id)
            return self._fetch(message.blob) if message.blob is not None else Shareable()

        result = self._exchanger.execute(task, fetch)
        rc = None if result is None else result.rc
        _log.info("task over task=%s name=%s rc=%s", task.task_id, task.name, rc)

    def _fetch(self, blob: BlobRef) -> Shareable:
        """A task's data from the server, for as long as it takes."""
        retries = Retries(_log, level=logging.INFO)
        while not self._exchanger.is_void():
            try:
                return task_data(self._link.read_blob(blob))
            except LinkError as error:
                if isinstance(error, LinkRefused) and not error.of_the_caller:
                    raise TaskDataError(f"the task's data cannot be had: {error}") from error
                self._wait_again(retries, error)
        return Shareable()

    # -- what the parts tell each other -----------------------------------------------------------

    def _trainer_ended(self) -> None:
        self._exchanger.trainer_ended()

    def _on_result(self, result: StoredResult, frame: StoredFrame | None) -> None:
        self._outbox.add(result, frame)

    def _on_refused(self, task_id: str, text: str) -> None:
        self._exchanger.tell_refused(task_id, text)

    def _on_void(self, task_id: str, reason: str) -> None:
        self._exchanger.cancel(task_id, reason)

    # -- the end ----------------------------------------------------------------------------------

    def _end(self) -> None:
        """The job is over: the trainer is told, and has its grace period to end by itself."""
        # First what became of its last result: at the end of the job it stops listening.
        self._outbox.flush(_FLUSH_SECONDS)
        self._exchanger.stop()
        self._supervisor.wait(self._job.trainer.grace_seconds)
        self._supervisor.close()
        # An external trainer, whose process is not known here, may still send its last metrics,
        # and in a short job from afar its first: that channel may be met after the tasks'.
        ends = time.monotonic() + self._job.trainer.grace_seconds
        self._exchanger.wait_until_left(self._job.trainer.grace_seconds)
        self._metrics.wait_until_left(max(ends - time.monotonic(), 0.0))
        self._outbox.flush(_FLUSH_SECONDS)
        self._events.flush(_EVENTS_FLUSH_SECONDS)
        try:
            self._link.report_site_state(self._job.job_id, SiteState.ENDED)
        except LinkError as error:
            _log.info("the end was not reported error=%s", error)
        self._over = True

    def _go_down(self) -> None:
        """The site goes down in the middle of the job: a later client job will go on."""
        self._supervisor.leave()
        self._exchanger.stop(aborted="the site goes down")
        self._supervisor.wait(HURRY_SECONDS / 2)
        self._supervisor.close(HURRY_SECONDS / 4)
        self._events.flush(HURRY_SECONDS / 4)

    def _close(self) -> None:
        self._leases.stop()
        self._outbox.stop()
        self._events.stop()
        self._exchanger.close()
        self._metrics.close()
        self._link.close()
        self._journal.close()
        if self._over:
            self._folder.finish()


def task_data(frame: bytearray) -> Shareable:
    """The Shareable in a task's frame, also if that holds a DXO; TaskDataError otherwise."""
    try:
        body = codec.decode(frame, frameworks=False).body
    except codec.FrameError as error:
        raise TaskDataError(f"the task's data is no frame: {error}") from error
    if isinstance(body, DXO):
        return body.to_shareable()
    if isinstance(body, Shareable):
        return body
    raise TaskDataError(
        f"the task's data must be a Shareable or a DXO, it is of type {type(body).__name__}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client job of a folder."""
    parser = argparse.ArgumentParser(prog="python -m federant.site.client_job", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the job's folder at this site")
    parser.add_argument("--lock", type=int, help="the inherited lock of that folder")
    parser.add_argument("--log-level", default="INFO")
    options = parser.parse_args(arguments)
    folder = JobFolder(options.folder)
    logging.basicConfig(
        level=options.log_level,
        format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s",
        handlers=[RotatingFileHandler(folder.log, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES)],
    )
    try:
        lock = liveness.hold(folder.alive) if options.lock is None else options.lock
        if lock is None:
            raise FolderInUseError(f"{folder.root}: another client job works in this folder")
        os.set_inheritable(lock, False)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        return ClientJob(folder).run()
    except (SiteError, PipeRefusedError) as error:
        _log.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
