"""A sink gets every event once and in order, through its own failures and the server's restarts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from federant.link.messages import Event, JobSpec, JobState, SinkName, SiteState
from federant.server.state import EventRow, JobRow, Store
from federant.server.tracking import Sink, feeder
from federant.server.tracking.base import Place
from federant.server.tracking.feeder import Feeder
from federant.server.wakeups import Wakeups

PATIENCE = 60.0


class Notebook(Sink):
    """A sink that writes down what it is given, while it is there."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.away = False
        self.failures = 0
        self.written: dict[str, list[str]] = {}
        self.finished: list[str] = []
        self.closed = 0

    def write(self, job: JobRow, events: Sequence[EventRow], place: Place) -> Place:
        with self.changed:
            self._require()
            noted = self.written.setdefault(job.id, [])
            assert place.get("count", 0) == len(noted)
            noted += [event.id for event in events]
            self.changed.notify_all()
            return {"count": len(noted)}

    def finish(self, job: JobRow, place: Place) -> None:
        with self.changed:
            self._require()
            assert place.get("count", 0) == len(self.written.get(job.id, []))
            self.finished.append(job.id)
            self.changed.notify_all()

    def close(self) -> None:
        self.closed += 1

    def _require(self) -> None:
        if self.away:
            self.failures += 1
            self.changed.notify_all()
            raise ConnectionError("nobody answers at the notebook's address")

    def until(self, look: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(look, PATIENCE)


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def start(
    store: Store, wakeups: Wakeups, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Feeder]]:
    """Starts a feeder of the notebook, as a server that starts does."""
    monkeypatch.setattr(feeder, "_FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(feeder, "_GATHER_SECONDS", 0.0)
    made: list[Feeder] = []

    def make() -> Feeder:
        made.append(Feeder(SinkName.MLFLOW, lambda: notebook, store, wakeups))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        stop(each)


def stop(running: Feeder) -> None:
    running.stop()
    running.join(PATIENCE)


def submit(store: Store, *sinks: SinkName) -> JobRow:
    return store.create_job(JobSpec(name="n", trainer="t", sites=("site-1",), sinks=sinks))


def log(store: Store, job: JobRow, *names: str, kind: str = "METRIC") -> None:
    store.add_events(job.id, "site-1", [Event(id=n, kind=kind, value=1.0) for n in names])


def test_a_sink_gets_what_was_logged_in_order_and_nothing_else(
    store: Store, notebook: Notebook, start: Callable[[], Feeder]
) -> None:
    job, other = submit(store, SinkName.MLFLOW), submit(store, SinkName.TENSORBOARD)
    log(store, job, "1", "2")
    log(store, job, "s", kind="STATUS")
    start()
    log(store, other, "0")
    log(store, job, "3")
    notebook.until(lambda: notebook.written.get(job.id) == ["1", "2", "3"])
    assert notebook.written.keys() == {job.id}


def test_a_sink_that_is_away_gets_all_of_it_when_it_is_back(
    store: Store, notebook: Notebook, start: Callable[[], Feeder]
) -> None:
    job = submit(store, SinkName.MLFLOW)
    notebook.away = True
    start()
    log(store, job, "1")
    notebook.until(lambda: notebook.failures >= 3)
    log(store, job, "2")
    while "nobody answers" not in store.sink_cursor(job.id, SinkName.MLFLOW).error:
        notebook.until(lambda seen=notebook.failures: notebook.failures > seen)
    notebook.away = False
    notebook.until(lambda: notebook.written.get(job.id) == ["1", "2"])
    log(store, job, "3")
    notebook.until(lambda: notebook.written[job.id] == ["1", "2", "3"])
    assert store.sink_cursor(job.id, SinkName.MLFLOW).error == ""


def test_a_server_that_starts_again_goes_on_where_it_was(
    store: Store, notebook: Notebook, start: Callable[[], Feeder]
) -> None:
    job = submit(store, SinkName.MLFLOW)
    log(store, job, "1")
    first = start()
    notebook.until(lambda: notebook.written.get(job.id) == ["1"])
    stop(first)
    assert notebook.closed == 1
    log(store, job, "2")
    start()
    notebook.until(lambda: notebook.written[job.id] == ["1", "2"])


def test_a_job_that_has_ended_is_finished_once_its_sites_have_left(
    store: Store, notebook: Notebook, start: Callable[[], Feeder]
) -> None:
    job = submit(store, SinkName.MLFLOW)
    store.set_site_state(job.id, "site-1", SiteState.READY)
    start()
    store.set_job_state(job.id, JobState.FINISHED)
    log(store, job, "late")
    notebook.until(lambda: notebook.written.get(job.id) == ["late"])
    assert notebook.finished == []
    store.set_site_state(job.id, "site-1", SiteState.ENDED)
    notebook.until(lambda: notebook.finished == [job.id])
    until_done(store, job)
    assert store.open_sinks(SinkName.MLFLOW) == []


def until_done(store: Store, job: JobRow) -> None:
    """The note comes after the sink has finished."""
    deadline = time.monotonic() + PATIENCE
    while not store.sink_cursor(job.id, SinkName.MLFLOW).done:
        assert time.monotonic() < deadline, "the sink was not noted as done"
        time.sleep(0.01)


def test_a_job_with_which_the_sink_fails_holds_no_other_up(
    store: Store, notebook: Notebook, start: Callable[[], Feeder], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = submit(store, SinkName.MLFLOW), submit(store, SinkName.MLFLOW)
    write = notebook.write

    def refuse_one(job: JobRow, events: Sequence[EventRow], place: Place) -> Place:
        if job.id == bad.id:
            raise ValueError("not this one")
        return write(job, events, place)

    monkeypatch.setattr(notebook, "write", refuse_one)
    log(store, bad, "1")
    log(store, good, "1")
    start()
    notebook.until(lambda: notebook.written.get(good.id) == ["1"])
    log(store, good, "2")
    notebook.until(lambda: notebook.written[good.id] == ["1", "2"])
    assert "not this one" in store.sink_cursor(bad.id, SinkName.MLFLOW).error


def test_no_password_of_a_sinks_address_is_told(
    store: Store, notebook: Notebook, start: Callable[[], Feeder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(job: JobRow, events: Sequence[EventRow], place: Place) -> Place:
        raise ConnectionError("POST http://ann:s3cr%2Fe@t@127.0.0.1:5000/api: nobody answers")

    monkeypatch.setattr(notebook, "write", write)
    job = submit(store, SinkName.MLFLOW)
    log(store, job, "1")
    start()
    deadline = time.monotonic() + PATIENCE
    while not (error := store.sink_cursor(job.id, SinkName.MLFLOW).error):
        assert time.monotonic() < deadline, "the error was not noted"
        time.sleep(0.01)
    assert error == "ConnectionError: POST http://***@127.0.0.1:5000/api: nobody answers"
