"""The operator's client against a listening server."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from federant.codec import encode
from federant.exchange import DXO, DataKind
from federant.link import LinkConfigError, LinkRefused, LinkUnavailable, blob_ref, operator
from federant.link.messages import Event, JobState, SiteState
from federant.link.operator import Federation, Job, connect
from federant.server.blobs import FolderBlobs


@pytest.fixture
def federation(server) -> Iterator[Federation]:
    with connect(server.url) as federation:
        yield federation


@pytest.fixture
def job(federation: Federation) -> Job:
    return federation.submit(trainer="digits", rounds=3)


def put(blobs: FolderBlobs, dxo: DXO) -> object:
    frame = encode(dxo)
    blob = blob_ref(frame.chunks())
    upload = blobs.begin(blob, "test", 0)
    upload.write(bytearray(frame.to_bytes()))
    upload.finish()
    upload.close()
    return blob


def loss(number: int) -> Event:
    return Event(id=f"e{number}", kind="METRIC", tag="loss", value=1.0 / number, step=number)


def test_keywords_become_the_parameters_of_the_workflow(federation: Federation) -> None:
    job = federation.submit(
        trainer="digits", workflow="cyclic", sites=["a", "b"], params={"name": "x"}, rounds=10
    )
    spec = job.view().spec
    assert (spec.workflow, spec.trainer, spec.sites) == ("cyclic", "digits", ("a", "b"))
    assert spec.params == {"name": "x", "rounds": 10}
    assert spec.name == "cyclic-digits"


def test_a_name_that_can_be_no_sites_is_refused_in_one_sentence(federation: Federation) -> None:
    with pytest.raises(ValueError, match=r"^this can be no job: sites\.0 'a/b': [^\n]+$"):
        federation.submit(trainer="digits", sites=["a/b"])


def test_submitting_twice_under_one_id_makes_one_job(federation: Federation) -> None:
    first = federation.submit(trainer="digits", job_id="mine")
    again = federation.submit(trainer="digits", job_id="mine")
    assert first.id == again.id == "mine"
    assert len(federation.jobs()) == 1


@pytest.mark.parametrize("job_id", ["", "my job", "a.b", "../up", "j" * 65])
def test_an_id_that_is_no_name_is_refused(federation: Federation, job_id: str) -> None:
    with pytest.raises(ValueError, match="job_id must be a letter or digit, then up to 63"):
        federation.submit(trainer="digits", job_id=job_id)
    assert federation.submit(trainer="digits", job_id="j" * 64).id == "j" * 64


@pytest.mark.parametrize("kind", ["dxo", "mapping", "our file", "a foreign file"])
def test_an_initial_model_reaches_the_server(
    federation: Federation, server, tmp_path: Path, kind: str
) -> None:
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    dxo = DXO(DataKind.WEIGHTS, data=dict(arrays))
    file = tmp_path / "model.safetensors"
    if kind == "our file":
        file.write_bytes(encode(dxo).to_bytes())
    else:
        safetensors.numpy.save_file(arrays, file)
    model = {"dxo": dxo, "mapping": arrays}.get(kind, file)
    blob = federation.submit(trainer="digits", initial_model=model).view().spec.initial_model
    assert blob is not None
    stored = server.blobs.path(blob.digest).read_bytes()
    np.testing.assert_array_equal(safetensors.numpy.load(stored)["w"], arrays["w"])


def test_a_file_that_is_no_model_is_refused_by_name(federation: Federation, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ValueError, match=r"model\.pt is no safetensors file"):
        federation.submit(trainer="digits", initial_model=file)


def test_what_is_no_model_at_all_is_refused(federation: Federation) -> None:
    with pytest.raises(TypeError, match=r"a model must be a DXO, .* got int"):
        federation.submit(trainer="digits", initial_model=3)  # type: ignore[arg-type]


def test_an_unknown_job_is_refused(federation: Federation) -> None:
    with pytest.raises(LinkRefused, match="nothere"):
        federation.job("nothere")


def test_the_newest_model_comes_back_as_it_was_kept(
    federation: Federation, server, job: Job
) -> None:
    for number in (1, 2):
        model = DXO(
            DataKind.WEIGHTS, data={"w": np.full(3, number, np.float32)}, meta={"n": number}
        )
        server.store.save_model(job.id, number, put(server.blobs, model), {})
    assert [model.round for model in job.models()] == [1, 2]
    assert job.model().meta["n"] == 2
    np.testing.assert_array_equal(job.model(1).data["w"], [1, 1, 1])
    np.testing.assert_array_equal(safetensors.numpy.load(job.model_bytes())["w"], [2, 2, 2])


def test_a_model_that_is_not_there_is_refused(job: Job) -> None:
    with pytest.raises(LinkRefused, match="none yet"):
        job.model()


def test_events_are_asked_for_from_where_one_stopped(server, job: Job) -> None:
    server.store.add_events(job.id, "site-1", [loss(1), loss(2)])
    first = job.events()
    assert [event.value for event in first.events] == [1.0, 0.5]
    server.store.add_events(job.id, "site-1", [loss(4)])
    assert [event.value for event in job.events(first.next).events] == [0.25]


def test_a_series_holds_every_metric_of_a_tag_and_a_site(
    server, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "_PAGE", 2)  # so that it takes more than one call
    server.store.add_events(job.id, "site-1", [loss(number) for number in (1, 2, 3, 4)])
    server.store.add_events(job.id, "site-2", [loss(5)])
    server.store.add_events(job.id, "site-1", [Event(id="t", kind="TEXT", tag="loss", text="x")])
    assert [event.step for event in job.series()] == [1, 2, 3, 4, 5]
    assert [event.step for event in job.series("loss", "site-1")] == [1, 2, 3, 4]
    assert list(job.series("accuracy")) == []


def test_metrics_come_summed_up_with_what_was_lost(server, job: Job) -> None:
    server.store.seen_site("site-1", "first", ())
    server.store.add_events(job.id, "site-1", [loss(2), loss(1), loss(4)])
    lost = Event(id="d", kind="DROPPED", tag="trainer", value=7.0, text="7 were dropped")
    server.store.add_events(job.id, "site-1", [lost])
    reply = job.metrics()
    (row,) = reply.metrics
    assert (row.site, row.tag, row.count) == ("site-1", "loss", 3)
    assert (row.last, row.least, row.greatest) == (0.25, 0.25, 1.0)
    assert (row.first_step, row.last_step) == (1, 4)
    assert reply.dropped == {"site-1": 7}
    assert [part.metrics_dropped for part in job.view().sites] == [7]


def test_what_an_event_refers_to_comes_as_it_was_put(server, job: Job) -> None:
    blob = server.blobs.put([b"a long text"])
    event = Event(id="1", kind="TEXT", tag="note", text="a lo", blob=blob)
    server.store.add_events(job.id, "site-1", [event])
    (told,) = job.events().events
    assert told.blob == blob
    assert job.event_bytes(told.seq) == b"a long text"


def test_an_event_that_refers_to_nothing_has_no_bytes(server, job: Job) -> None:
    server.store.add_events(job.id, "site-1", [loss(1)])
    (told,) = job.events().events
    with pytest.raises(LinkRefused, match="refers to no blob"):
        job.event_bytes(told.seq)
    with pytest.raises(LinkRefused, match=f"job {job.id} has no event 999"):
        job.event_bytes(999)


@pytest.mark.parametrize("word", ["sites", "sinks"])
def test_one_name_in_place_of_a_list_is_refused(federation: Federation, word: str) -> None:
    with pytest.raises(TypeError, match=f"{word} must be a sequence of names"):
        federation.submit(trainer="digits", **{word: "x"})


def test_a_sink_that_nobody_knows_is_refused(federation: Federation) -> None:
    with pytest.raises(ValueError, match=r"sinks\.0 'syslog': Input should be 'tensorboard', "):
        federation.submit(trainer="digits", sinks=["syslog"])


def test_following_yields_events_until_the_job_has_ended(server, job: Job) -> None:
    server.store.add_events(job.id, "site-1", [loss(1)])
    seen = []
    for event in job.follow(timeout=30):
        seen.append(event.step)
        if len(seen) == 1:
            server.store.add_events(job.id, "site-1", [loss(2)])
            server.store.set_job_state(job.id, JobState.FINISHED)
    assert seen == [1, 2]


def test_following_goes_on_to_the_last_metric_of_a_site_that_is_still_at_it(
    server, federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = federation.submit(trainer="digits", sites=["site-1"])
    events, late = server.store.events, [loss(3), loss(2)]

    def events_and_then_one_more(*arguments: object, **filters: object) -> object:
        found = events(*arguments, **filters)
        if not found and late:
            server.store.add_events(job.id, "site-1", [late.pop()])
            if not late:
                server.store.set_site_state(job.id, "site-1", SiteState.ENDED)
        return found

    monkeypatch.setattr(server.store, "events", events_and_then_one_more)
    server.store.set_site_state(job.id, "site-1", SiteState.READY)
    server.store.add_events(job.id, "site-1", [loss(1)])
    server.store.set_job_state(job.id, JobState.FINISHED)
    assert [event.step for event in job.follow(timeout=30)] == [1, 2, 3]


def test_a_site_that_never_ends_is_waited_for_no_longer_than_told(
    server, federation: Federation
) -> None:
    job = federation.submit(trainer="digits", sites=["site-1"])
    server.store.set_site_state(job.id, "site-1", SiteState.READY)
    server.store.add_events(job.id, "site-1", [loss(1)])
    server.store.set_job_state(job.id, JobState.FINISHED)
    replies = list(job.replies(timeout=30, late_seconds=0.1))
    assert [event.step for reply in replies for event in reply.events] == [1]


def test_replies_come_also_when_nothing_happens(server, job: Job) -> None:
    replies = job.replies(timeout=30, every=0.01)
    assert next(replies).events == ()
    server.store.add_events(job.id, "site-1", [loss(1)])
    assert [event.value for reply in (next(replies),) for event in reply.events] == [1.0]
    server.store.set_job_state(job.id, JobState.FINISHED)
    assert next(replies).job_state is JobState.FINISHED
    assert next(replies, None) is None


def test_waiting_ends_with_the_job_and_tells_its_error(server, job: Job) -> None:
    waiter_has_begun = threading.Event()

    def end() -> None:
        waiter_has_begun.wait()
        server.store.set_job_state(job.id, JobState.FAILED, "no site came")

    thread = threading.Thread(target=end, name="ender")
    thread.start()
    waiter_has_begun.set()
    view = job.wait(timeout=30)
    thread.join()
    assert (view.state, view.error) == (JobState.FAILED, "no site came")


def test_a_site_that_died_is_not_waited_for_once_its_job_is_long_over(
    server, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.store.seen_site("site-1", "first", ())
    server.store.set_site_state(job.id, "site-1", SiteState.READY)
    server.store.set_job_state(job.id, JobState.FINISHED)
    now, events, looks = time.time(), server.store.events, []

    def counted(*arguments: object, **filters: object) -> object:
        looks.append(arguments)
        return events(*arguments, **filters)

    monkeypatch.setattr(server.store, "events", counted)
    later = SimpleNamespace(time=lambda: now + 600)
    monkeypatch.setattr("federant.server.routes.operator.time", later)
    assert list(job.follow(30)) == []
    assert len(looks) == 2  # the first tells the end, the second that nothing is waited for


def test_waiting_for_the_end_fetches_no_events(
    server, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, fetched, looked = server.store.events, [], threading.Event()

    def watched(*arguments: object, **filters: object) -> object:
        found = events(*arguments, **filters)
        fetched.extend(found)
        looked.set()
        return found

    monkeypatch.setattr(server.store, "events", watched)
    server.store.add_events(job.id, "site-1", [loss(1)])
    ended = []
    waiter = threading.Thread(target=lambda: ended.append(job.wait(60).state), name="waiter")
    waiter.start()
    assert looked.wait(60)
    server.store.add_events(job.id, "site-1", [loss(2)])
    server.store.set_job_state(job.id, JobState.FINISHED)
    waiter.join(60)
    assert ended == [JobState.FINISHED]
    assert fetched == []


def test_waiting_too_long_is_a_timeout_and_leaves_the_job_alone(job: Job) -> None:
    with pytest.raises(TimeoutError, match=r"is submitted after 0\.05 s"):
        job.wait(timeout=0.05)
    assert not job.state().ended


def test_a_job_can_be_stopped(job: Job) -> None:
    view = job.stop()
    assert view.stop_requested or view.state is JobState.STOPPED


def test_a_job_that_has_ended_can_be_deleted_with_all_that_it_has(
    federation: Federation, server, job: Job
) -> None:
    server.store.save_model(job.id, 0, put(server.blobs, DXO(DataKind.WEIGHTS, data={"w": 1.0})))
    server.store.add_events(job.id, "site-1", [loss(1), loss(2)])
    with pytest.raises(LinkRefused, match=f"federant job stop {job.id}") as refusal:
        job.delete()
    assert refusal.value.code == "conflict"
    server.store.set_job_state(job.id, JobState.STOPPED)
    gone = job.delete()
    assert (gone.job_id, gone.models, gone.events) == (job.id, 1, 2)
    assert federation.jobs() == ()
    for look in (job.view, job.models, job.metrics, job.events, job.model, job.delete):
        with pytest.raises(LinkRefused, match=f"job {job.id} was deleted on") as refusal:
            look()
        assert refusal.value.code == "not_found"


def test_sites_that_spoke_to_the_server_are_listed(federation: Federation, server) -> None:
    assert federation.sites() == ()
    server.store.seen_site("site-1", "first", ("x",))
    assert [site.name for site in federation.sites()] == ["site-1"]


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with connect("http://127.0.0.1:9") as federation, pytest.raises(LinkUnavailable):
        federation.jobs()


def test_plain_http_to_another_machine_is_refused() -> None:
    with pytest.raises(LinkConfigError, match="another machine"):
        connect("http://example.org:8750")
