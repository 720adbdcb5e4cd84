"""A federation without processes: sites do one task each time that the workflow would wait."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from federant.codec import decode, encode
from federant.exchange import DXO, DataKind, MetaKey, ReturnCode, Shareable
from federant.link.messages import BlobRef, JobSpec, JobState, SiteState
from federant.server.blobs import FolderBlobs
from federant.server.state import Durability, JobRow, Store, TaskRow
from federant.server.validation import ResultChecker
from federant.server.wakeups import Wakeups
from federant.server.workflow import Context, Journal, Workflow

JOB = "job-1"


@dataclass(frozen=True)
class Failure:
    """What a site answers instead of a result."""

    rc: str
    error: str = ""


Answer = DXO | Shareable | Failure | None
Train = Callable[[TaskRow, DXO], Answer]


def steps_towards(task: TaskRow, model: DXO) -> DXO:
    """Training of a kind: every site moves the model its own way, with its own weight."""
    number = int(task.site[-1])
    random = np.random.default_rng(number)
    weights = model.data or {"w": np.zeros((3, 4), np.float32), "b": np.zeros(4, np.float32)}
    moved = {
        name: (value * 0.9 + random.normal(size=value.shape)).astype(value.dtype)
        for name, value in weights.items()
    }
    return DXO(DataKind.WEIGHTS, moved, {MetaKey.NUM_STEPS_CURRENT_ROUND: 10 * number})


class Clock:
    """Time for store and workflow, in the test's hands."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class DrivenWakeups(Wakeups):
    """Where a workflow would wait, ``on_wait`` makes happen what it waits for."""

    def __init__(self, on_wait: Callable[[float], None]) -> None:
        super().__init__()
        self._on_wait = on_wait

    def wait_blocking(self, topic: str, version: int, timeout: float) -> bool:
        self._on_wait(timeout)
        return self.version(topic) > version


class Killed(BaseException):
    """The server is gone: nothing that comes after this happens."""


class WatchedStore:
    """A store that calls ``after_act(n)`` after the n-th act that was journaled in it."""

    ACTS = frozenset(
        {
            "add_events",
            "begin_step",
            "close_step",
            "commit_result",
            "save_model",
            "set_job_state",
            "set_site_state",
        }
    )

    def __init__(self, store: Store, after_act: Callable[[int], None]) -> None:
        self._store = store
        self._after_act = after_act
        self._acts = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._watched(found) if name in self.ACTS else found

    def _watched(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            done = act(*args, **kwargs)
            self._acts += 1
            self._after_act(self._acts)
            return done

        return watched


class Federation:
    """One life of a server on a folder, with its sites.

    ``train`` is what sites do with a task; sites in ``silent`` do nothing.  Another ``Federation``
    on the same folder is the server started again.
    """

    Killed = Killed
    Failure = Failure

    def __init__(
        self,
        folder: Path,
        *,
        sites: tuple[str, ...] = ("site-1", "site-2", "site-3"),
        train: Train = steps_towards,
        after_act: Callable[[int], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.sites = sites
        self.train = train
        self.silent: set[str] = set()
        self.check = True
        self.suspended = False
        self.wakeups = DrivenWakeups(self._something_happens)
        real = Store.in_file(
            folder / "state.db",
            notify=self.wakeups.notify,
            durability=Durability.PROCESS,
            clock=self.clock,
        )
        self._close = real.close
        self.store = cast("Store", WatchedStore(real, after_act))
        self.blobs = FolderBlobs(folder / "blobs", durability=Durability.PROCESS)
        self.checker = ResultChecker(self.store, self.blobs)
        self._due: deque[Callable[[], None]] = deque()

    def close(self) -> None:
        self._close()

    def at_next_wait(self, act: Callable[[], None]) -> None:
        """Let this happen instead of a site's work when the workflow waits."""
        self._due.append(act)

    def submit(
        self, initial_model: DXO | None = None, *, named: bool = True, **params: Any
    ) -> JobRow:
        """Submit the job, for these sites by name or for all that the server knows: for these."""
        blob = None if initial_model is None else self.put(initial_model)
        for site in self.sites:
            self.store.seen_site(site, "run-1")
        sites = self.sites if named else ()
        spec = JobSpec(
            name="digits", trainer="digits", sites=sites, params=params, initial_model=blob
        )
        return self.store.create_job(spec, JOB)

    def put(self, body: object) -> BlobRef:
        return self.blobs.put(encode(body).chunks())

    def context(self, seed: int | None = None) -> Context:
        """A run's context from its beginning, as after a start."""
        journal = Journal(
            JOB,
            self.store,
            self.blobs,
            self.wakeups,
            suspended=lambda: self.suspended,
            clock=self.clock,
        )
        return Context(self.store.job(JOB).spec, journal, seed=seed)

    def run(self, workflow: Workflow) -> None:
        self.store.set_job_state(JOB, JobState.RUNNING)
        workflow.run(self.context(workflow.seed))
        self.store.set_job_state(JOB, JobState.FINISHED)

    def models(self) -> list[tuple[int, str]]:
        """Every kept model's round and digest: equal digests mean equal bits."""
        return [(model.round, model.blob.digest) for model in self.store.models(JOB)]

    def model(self) -> DXO:
        blob = self.store.models(JOB)[-1].blob
        found = decode(self.blobs.path(blob.digest).read_bytes()).body
        assert isinstance(found, DXO)
        return found

    def events(self) -> list[tuple[str, str, float | None]]:
        return [(event.id, event.text, event.value) for event in self.store.events(JOB)]

    def failures(self) -> list[str]:
        """What the operator was told of tasks without a good result."""
        return [event.text for event in self.store.events(JOB, tag="failure")]

    def rounds(self) -> list[str]:
        """What the operator was told of the rounds."""
        return [event.text for event in self.store.events(JOB, tag="round")]

    def commit(self, task: TaskRow, answer: Answer) -> str:
        """What the link does with a result; the return code that the site sees."""
        if isinstance(answer, Failure):
            headers = {"__error__": answer.error}
            done = self.store.commit_result(
                task.id, task.site, task.attempt, answer.rc, headers, None, answer.error
            )
            return done.rc
        blob = None
        if answer is not None:
            blob = self.put(answer.to_shareable() if isinstance(answer, DXO) else answer)
        path = None if blob is None else self.blobs.path(blob.digest)
        refusal = self.checker(task, path, ReturnCode.OK) if self.check else None
        rc, error = (refusal.rc, refusal.text) if refusal else (ReturnCode.OK, "")
        done = self.store.commit_result(
            task.id, task.site, task.attempt, rc, {}, blob, error, refused=refusal is not None
        )
        return done.rc

    def take(self, site: str) -> TaskRow | None:
        return self.store.next_task(JOB, site, f"{site}-cj", (), 60.0).task

    def _something_happens(self, timeout: float) -> None:
        if self._due:
            self._due.popleft()()
            return
        for part in self.store.job_sites(JOB):
            if part.state is SiteState.PENDING and part.site not in self.silent:
                self.store.set_site_state(JOB, part.site, SiteState.READY)
                return
        for site in self.sites:
            task = None if site in self.silent else self.take(site)
            if task is not None:
                self.commit(task, self.train(task, self._data(task)))
                return
        assert timeout < 60, "the workflow waits for what will never happen"
        self.clock.now += timeout

    def body(self, task: TaskRow) -> object:
        """What the task carries."""
        assert task.blob is not None
        return decode(self.blobs.path(task.blob.digest).read_bytes()).body

    def _data(self, task: TaskRow) -> DXO:
        """The task's DXO; an empty one where it only asks for something."""
        body = self.body(task)
        return body if isinstance(body, DXO) else DXO(DataKind.WEIGHTS)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Callable[..., Federation]]:
    """Makes a federation on the test's folder; each call is the server started (again)."""
    made: list[Federation] = []

    def make(folder: str = "server", **options: Any) -> Federation:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        made.append(Federation(place, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
