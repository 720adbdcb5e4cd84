"""The site daemon: hears of the jobs of this site, and keeps one client job process for each.

Knows neither tasks nor trainers, but for which trainers the site's file names.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from federant.link import LinkClient, LinkError, LinkRefused
from federant.link.core_files import forbid_core_files
from federant.link.expiry import ExpiryWatch
from federant.link.kit import Kit, load_kit
from federant.link.messages import (
    ErrorCode,
    Event,
    EventKind,
    SiteJob,
    SiteJobState,
    SiteState,
    is_name,
)
from federant.site import launcher, liveness
from federant.site.backoff import Backoff
from federant.site.config import RelayAt, SiteConfig, TrainerConfig
from federant.site.errors import FolderInUseError, NameInUseError, SiteConfigError
from federant.site.job_file import JobFile, JobFolder
from federant.site.job_keeper import ClientJobKeeper
from federant.site.private_file import write_whole
from federant.site.retries import Retries
from federant.site.revoked import RevokedCertificates
from federant.site.signals import MainThread

_log = logging.getLogger(__name__)

_WAIT_SECONDS = 30.0
_TURN_SECONDS = 2.0
"""How often it is looked whether the folder that a job waits for is free."""
_END_SECONDS = 1.5
"""How long client jobs may take to end themselves and their trainers when the site goes down."""
_KILL_SECONDS = 0.4


def run_site(config: SiteConfig, on_ready: Callable[[], None] | None = None) -> int:
    """Run the site until SIGTERM or SIGINT; the process's exit status. Call in the main thread.

    `on_ready()` is called once, when the server has answered for the first time. Raises
    FolderInUseError if another daemon works in the site's folder, NameInUseError if one that works
    elsewhere goes by the site's name, LinkConfigError if the server's address must not be used. On
    SIGTERM every client job and trainer is ended within two seconds;
    on SIGKILL they live on, and the next daemon finds them.
    """
    forbid_core_files()
    config.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = liveness.hold(config.folder / "alive")
    if lock is None:
        raise FolderInUseError(
            f"{config.folder}: another site daemon works in this folder; stop it, or give "
            "this one a folder of its own"
        )
    try:
        kit = load_kit(config.kit) if config.kit else None
        has_agents = kit is not None and _has_agents(config)
        revoked = RevokedCertificates(_revoked_file(config)) if has_agents else None
        look = ExpiryWatch(kit).look if kit else _nothing
        with (
            _relay(config, kit, revoked),
            LinkClient(config.server, config.name, kit=kit) as link,
            MainThread() as main,
        ):
            daemon = SiteDaemon(config, link, on_ready, look, revoked)
            daemon.start(on_failure=main.finish)
            asked = main.wait()
            daemon.stop()
            if daemon.refusal is not None:
                raise daemon.refusal
            return 0 if asked else 1
    finally:
        os.close(lock)


def _has_agents(config: SiteConfig) -> bool:
    """Whether agents on other machines come, at this site's relay or at the server's."""
    at_server = (trainer.relay is RelayAt.SERVER for trainer in config.trainers.values())
    return config.relay is not None or any(at_server)


def _revoked_file(config: SiteConfig) -> Path:
    return config.folder / "revoked.json"


@contextlib.contextmanager
def _relay(
    config: SiteConfig, kit: Kit | None, revoked: RevokedCertificates | None
) -> Iterator[None]:
    """Where agents on other machines meet their client jobs, if the site's file asks for it."""
    if config.relay is None:
        yield
        return
    # Only for a site that has one: it needs a library more.
    from federant.cellnet.admission import Admission
    from federant.cellnet.relay import RelayThread

    host, port = config.relay.host, config.relay.port
    is_revoked = {} if revoked is None else {"is_revoked": revoked.is_revoked}
    admission = Admission(config.name, kit, **is_revoked)
    try:
        relay = RelayThread(config.name, host, port, admission, admission.context())
    except OSError as error:
        raise SiteConfigError(
            f"relay: {host}:{port} cannot be listened on: {error.strerror or error}; give "
            "another port in the site's file, or stop what has this one"
        ) from error
    if revoked is not None:
        revoked.cut = relay.cut
    try:
        yield
    finally:
        relay.stop()


def _own_instance(folder: Path) -> str:
    """What tells this daemon from another that goes by the same name; kept across restarts."""
    place = folder / "instance.id"
    if not place.exists():
        write_whole(place, uuid.uuid4().hex)
    return place.read_text(encoding="utf-8").strip()


def _nothing() -> None:
    """Nobody is to be told."""


class SiteDaemon:
    """The daemon without its process: start, and stop."""

    def __init__(
        self,
        config: SiteConfig,
        link: LinkClient,
        on_ready: Callable[[], None] | None = None,
        each_turn: Callable[[], None] = _nothing,
        revoked: RevokedCertificates | None = None,
    ) -> None:
        """`each_turn()` is called before each question to the server, each half minute or so.

        `revoked` learns of each certificate that is revoked; None: nobody here wants to know.
        """
        self._config = config
        self._jobs = config.folder / "jobs"
        self._link = link
        self._on_ready = on_ready or _nothing
        self._each_turn = each_turn
        self._revoked = revoked
        self._begun = False
        self.refusal: NameInUseError | None = None
        """Why the daemon did not begin, if the server did not let it."""
        self._keepers: dict[str, ClientJobKeeper] = {}
        self._known: dict[str, SiteJobState] = {}
        self._turned_down: set[str] = set()
        self._waiting: dict[str, str] = {}
        """Jobs that have not begun, by the job whose shared folder they wait for."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begin in a thread of its own; `on_failure()` is called if that cannot go on."""

        def watch() -> None:
            try:
                self._find_client_jobs()
                self._watch_jobs(_own_instance(self._config.folder))
            except NameInUseError as refusal:
                self.refusal = refusal
            finally:
                # After stop() nobody waits any more; before it, this is a fault that ends all.
                if not self._stopping.is_set():
                    on_failure()

        threading.Thread(target=watch, name="site-jobs", daemon=True).start()

    def stop(self) -> None:
        """End every client job and trainer; returns when they are gone, within two seconds."""
        with self._lock:
            self._stopping.set()
            keepers = list(self._keepers.values())
        for keeper in keepers:
            keeper.stop()
        deadline = time.monotonic() + _END_SECONDS
        late = [keeper for keeper in keepers if not keeper.join(deadline - time.monotonic())]
        for keeper in late:
            keeper.kill()
        deadline = time.monotonic() + _KILL_SECONDS
        for keeper in late:
            keeper.join(deadline - time.monotonic())

    def _find_client_jobs(self) -> None:
        """Client jobs that an earlier daemon left, living or dead."""
        for job, folder in self._begun_jobs():
            self._known[job.job_id] = SiteJobState.RUNNING
            if liveness.is_held(folder.alive):
                _log.info("found a living client job job=%s", job.job_id)
                self._keep(job, folder)

    def _begun_jobs(self) -> Iterator[tuple[JobFile, JobFolder]]:
        """Those that have begun at this site and are not over here, whoever began them."""
        for path in self._jobs.glob("*/job.json"):
            folder = JobFolder(path.parent)
            if not folder.ended.exists():
                with contextlib.suppress(SiteConfigError):
                    yield folder.read_job(), folder

    def _watch_jobs(self, instance: str) -> None:
        retries = Retries(_log)
        refusals = Backoff()
        greeted = False
        wait_seconds = 0.0
        while not self._stopping.is_set():
            self._each_turn()
            try:
                if not greeted:
                    self._link.hello(instance)
                    greeted = True
                    if not self._begun:
                        self._begun = True
                        self._on_ready()
                # At first all jobs are told at once, also those that need a client job again.
                known = None if self._revoked is None else self._revoked.version
                news = self._link.next_news(self._known, wait_seconds, known)
                if self._revoked is not None and news.revoked is not None:
                    self._revoked.learn(news.revoked)
                _log.debug("told jobs=%s", {job.job_id: job.state.value for job in news.jobs})
                for job in news.jobs:
                    try:
                        self._serve(job)
                    except OSError as error:  # of this job's folder: the other jobs go on
                        self._cannot_serve(job, SiteState.FAILED, f"it cannot be served: {error}")
                self._forget_finished()
                self._remove_old_folders()
                wait_seconds = _TURN_SECONDS if self._waiting else _WAIT_SECONDS
            except LinkRefused as error:
                if error.code == ErrorCode.CONFLICT and not self._begun:
                    raise NameInUseError(f"{self._link.url} refuses this site: {error}") from error
                retries.worked()
                _log.error("the server refuses this site: %s", error)
                greeted = False
                self._stopping.wait(refusals.failed())
                continue
            except LinkError as error:
                if self._stopping.is_set():
                    return  # the connection was closed under the call
                seconds = retries.failed(error, "no answer")
                # It may be a new one, which does not know this site.
                greeted = False
                self._stopping.wait(seconds)
                continue
            retries.worked()
            refusals.worked()

    def _serve(self, job: SiteJob) -> None:
        if not is_name(job.job_id):
            self._cannot_serve(job, SiteState.REFUSED, "its id cannot be the name of a folder")
            return
        folder = JobFolder(self._jobs / job.job_id)
        keeper = self._keepers.get(job.job_id)
        if job.state is SiteJobState.RUNNING:
            if keeper is None and not folder.ended.exists():
                self._begin(job, folder)
        elif keeper is not None and not keeper.finished:
            # The client job hears of it by itself; it is only not started again.
            keeper.job_is_over()
        elif job.state is SiteJobState.ENDED and folder.job.exists() and not folder.ended.exists():
            # It ended while no daemon was here, or after its client job was given up.
            launcher.end_all(folder.launches, 0.0)
            folder.finish()
        self._note(job)

    def _note(self, job: SiteJob) -> None:
        """What is known is not told again."""
        if job.state is not SiteJobState.RUNNING:
            self._waiting.pop(job.job_id, None)
        if job.state is SiteJobState.ENDED:
            self._known.pop(job.job_id, None)
            self._turned_down.discard(job.job_id)
        else:
            self._known[job.job_id] = job.state

    def _cannot_serve(self, job: SiteJob, state: SiteState, text: str) -> None:
        if job.job_id not in self._turned_down:
            _log.error("job not served job=%r reason=%s", job.job_id[:100], text)
            self._link.report_site_state(job.job_id, state, text)
            self._turned_down.add(job.job_id)
        self._note(job)

    def _begin(self, job: SiteJob, folder: JobFolder) -> None:
        trainer = self._config.trainers.get(job.trainer)
        if trainer is None:
            names = ", ".join(sorted(self._config.trainers)) or "none"
            self._cannot_serve(
                *(job, SiteState.REFUSED),
                f"site {self._config.name} has no trainer {job.trainer!r}; its file names: {names}",
            )
            return
        job_file = JobFile(
            job_id=job.job_id,
            name=job.name,
            site=self._config.name,
            server=self._config.server,
            kit=self._config.kit,
            relay=self._relay_of(trainer),
            revoked=_revoked_file(self._config) if self._revoked is not None else None,
            trainer=trainer.resolve(
                folder=self._config.base, site=self._config.name, job=job.job_id
            ),
            spool_bytes=self._config.spool_bytes,
            params=job.params,
        )
        # One that an earlier daemon began had its turn then.
        holder = None if folder.job.exists() else self._holder(job_file)
        if holder is not None:
            self._wait_for(holder, job_file)
            return
        self._waiting.pop(job.job_id, None)
        folder.write_job(job_file)
        _log.info("begun job=%s trainer=%s", job.job_id, job.trainer)
        self._keep(job_file, folder)

    def _relay_of(self, trainer: TrainerConfig) -> str:
        """The address at which its client job meets its agent; empty if it needs none."""
        if trainer.relay is RelayAt.SERVER:
            return self._config.server
        relay = self._config.relay
        return relay.url(secure=self._config.kit is not None) if relay else ""

    def _holder(self, job: JobFile) -> JobFile | None:
        """The job to which the shared folder belongs until it is over here; None: it is free.

        Also while that job has no client job: results that it has accepted lie there.
        """
        shared = job.trainer.pipe_folder
        if shared is not None:
            for other, _ in self._begun_jobs():
                theirs = other.trainer.pipe_folder
                if theirs is not None and theirs.resolve() == shared.resolve():
                    return other
        return None

    def _wait_for(self, holder: JobFile, job: JobFile) -> None:
        """It begins when the holder is over; whoever watches it is told so, once."""
        if self._waiting.get(job.job_id) == holder.job_id:
            return
        text = (
            f"job {holder.job_id} has the pipe_folder {job.trainer.pipe_folder} of "
            f"site {job.site} until it ends there; this job begins then. With {{job}} in "
            "pipe_folder, in the site's file, each job has a folder of its own"
        )
        _log.warning("waiting job=%s reason=%s", job.job_id, text)
        self._link.report_site_state(job.job_id, SiteState.PENDING, text)
        event = Event(
            id=uuid.uuid4().hex,
            kind=EventKind.STATUS,
            tag="waiting",
            text=text,
            time=time.time(),
        )
        self._link.add_events(job.job_id, [event])
        self._waiting[job.job_id] = holder.job_id

    def _keep(self, job: JobFile, folder: JobFolder) -> None:
        with self._lock:
            if self._stopping.is_set():
                return
            self._keepers[job.job_id] = ClientJobKeeper(
                folder,
                name=job.job_id,
                most_restarts=self._config.max_client_job_restarts,
                on_give_up=lambda text: self._give_up(job.job_id, text),
            )

    def _remove_old_folders(self) -> None:
        ended = [
            file for file in self._jobs.glob("*/ended.json") if file.parent.name not in self._known
        ]
        ended.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        for file in ended[self._config.keep_ended_jobs :]:
            shutil.rmtree(file.parent, ignore_errors=True)

    def _forget_finished(self) -> None:
        with self._lock:
            for job_id, keeper in list(self._keepers.items()):
                # One that was given up is remembered while the job runs: it is not begun again.
                if keeper.finished and job_id not in self._known:
                    del self._keepers[job_id]

    def _give_up(self, job_id: str, text: str) -> None:
        _log.error("client job given up job=%s reason=%s", job_id, text)
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                self._link.report_site_state(job_id, SiteState.FAILED, text)
            except LinkError as error:
                if isinstance(error, LinkRefused) and not error.of_the_caller:
                    _log.warning("not reported job=%s error=%s", job_id, error)
                    return
                self._stopping.wait(backoff.failed())
            else:
                return
