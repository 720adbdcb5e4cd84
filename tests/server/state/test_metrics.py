"""What the store keeps of metrics beside the events themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from federant.link.messages import Event, JobSpec
from federant.server.state import Durability, JobRow, SinkCursor, Store

NAN = float("nan")

Submit = Callable[..., JobRow]


def metric(number: int, tag: str = "loss", value: float | None = None) -> Event:
    return Event(
        id=f"{tag}{number}",
        kind="METRIC",
        tag=tag,
        value=float(number) if value is None else value,
        step=number,
        time=float(number),
    )


def test_metrics_are_summed_up_by_site_and_tag(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1", "site-2")
    store.add_events(job.id, "site-1", [metric(3), metric(1), metric(0, "acc")])
    store.add_events(job.id, "site-2", [metric(9)])
    store.add_events(job.id, "site-1", [metric(3), metric(2)])  # the first is known already
    acc, loss, other = store.metrics(job.id)
    assert (acc.site, acc.tag, acc.count) == ("site-1", "acc", 1)
    assert (loss.site, loss.tag, loss.count) == ("site-1", "loss", 3)
    assert (loss.last, loss.least, loss.greatest, loss.time) == (2.0, 1.0, 3.0, 2.0)
    assert (loss.first_step, loss.last_step) == (1, 3)
    assert (other.site, other.last) == ("site-2", 9.0)


def test_what_is_no_number_is_neither_least_nor_greatest(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1")
    store.add_events(job.id, "site-1", [metric(1, value=NAN)])
    (row,) = store.metrics(job.id)
    assert (row.count, row.least, row.greatest) == (1, None, None)
    assert repr(row.last) == "nan"
    store.add_events(job.id, "site-1", [metric(2, value=float("inf")), metric(3, value=-5.0)])
    (row,) = store.metrics(job.id)
    assert (row.count, row.last, row.least, row.greatest) == (3, -5.0, -5.0, float("inf"))


def test_a_number_without_a_step_has_none(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1")
    store.add_events(job.id, "site-1", [Event(id="1", kind="METRIC", tag="x", value=1.0)])
    (row,) = store.metrics(job.id)
    assert (row.first_step, row.last_step) == (None, None)


def test_only_metrics_are_summed_up(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1")
    store.add_events(
        job.id,
        "site-1",
        [Event(id="1", kind="TEXT", tag="x"), Event(id="2", kind="METRIC", tag="x")],
    )
    assert store.metrics(job.id) == []


@pytest.mark.parametrize("value", [NAN, float("inf"), -1.0, 1e300, None])
def test_a_count_of_lost_records_that_is_none_counts_for_nothing(
    store: Store, submit: Submit, value: float | None
) -> None:
    job = submit(store, "site-1")
    events = [Event(id="1", kind="DROPPED", value=value), Event(id="2", kind="DROPPED", value=3.0)]
    store.add_events(job.id, "site-1", events)
    store.add_events(job.id, "site-1", events)
    (part,) = store.job_sites(job.id)
    assert part.metrics_dropped == 3


def test_a_count_of_lost_records_stays_one_that_can_be_shown(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1")
    for batch in range(3):
        events = [
            Event(id=f"{batch}-{n}", kind="DROPPED", value=float(2**53 - 1)) for n in range(1000)
        ]
        store.add_events(job.id, "site-1", events)
    (part,) = store.job_sites(job.id)
    assert part.metrics_dropped == 2**53


def test_events_are_found_by_kind_tag_and_site(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1", "site-2")
    store.add_events(job.id, "site-1", [metric(1), metric(2, "acc")])
    store.add_events(job.id, "site-2", [metric(3), Event(id="t", kind="TEXT", tag="loss")])
    assert [row.step for row in store.events(job.id, kind="METRIC", tag="loss")] == [1, 3]
    assert [row.step for row in store.events(job.id, site="site-1")] == [1, 2]


def test_how_far_a_sink_is_is_kept_with_its_note(store: Store, submit: Submit) -> None:
    job = submit(store, "site-1")
    assert store.sink_cursor(job.id, "mlflow") == SinkCursor(job.id, "mlflow")
    for cursor in (
        SinkCursor(job.id, "mlflow", 3, {"run": "a"}, error="away"),
        SinkCursor(job.id, "mlflow", 9, {"run": "b"}, done=True),
    ):
        store.save_sink_cursor(cursor)
        assert store.sink_cursor(job.id, "mlflow") == cursor
    assert store.sink_cursor(job.id, "wandb").seq == 0


def test_events_behind_a_place_are_counted(store: Store, submit: Submit) -> None:
    job, other = submit(store, "site-1"), submit(store, "site-1")
    store.add_events(other.id, "site-1", [metric(1)])
    store.add_events(job.id, "site-1", [metric(1), metric(2)])
    first, _ = store.events(job.id)
    assert store.events_after(job.id, 0) == 2
    assert store.events_after(job.id, first.seq) == 1


def test_what_a_site_logs_beyond_the_limit_is_dropped_and_counted_and_told_of_once(
    store: Store, submit: Submit
) -> None:
    job = submit(store, "site-1", "site-2")
    assert store.add_events(job.id, "site-1", [metric(1), metric(2)], most=3) == 2
    assert store.add_events(job.id, "site-1", [metric(2), metric(3)], most=3) == 1  # one is known
    assert [event.site for event in store.events(job.id)] == ["site-1"] * 3
    assert store.add_events(job.id, "site-1", [metric(4), metric(5)], most=3) == 0
    assert store.add_events(job.id, "site-1", [metric(6)], most=3) == 0
    assert store.add_events(job.id, "site-2", [metric(4)], most=3) == 1
    kept = [(event.site, event.kind) for event in store.events(job.id)]
    told = ("", "STATUS")
    assert kept == [*[("site-1", "METRIC")] * 3, told, ("site-2", "METRIC")]
    (text,) = [event.text for event in store.events(job.id, site="")]
    assert "site-1 has logged 3 metrics, texts and images in this job" in text
    assert "events in the table [limits] of server.toml" in text
    assert [part.metrics_dropped for part in store.job_sites(job.id)] == [3, 0]
    assert [row.count for row in store.metrics(job.id)] == [3, 1]


def test_of_a_batch_that_goes_beyond_the_limit_the_first_are_kept(
    store: Store, submit: Submit
) -> None:
    job = submit(store, "site-1")
    assert store.add_events(job.id, "site-1", [metric(n) for n in range(9)], most=4) == 4
    assert [event.step for event in store.events(job.id, site="site-1")] == [0, 1, 2, 3]
    assert store.job_sites(job.id)[0].metrics_dropped == 5


def test_how_a_site_fares_is_told_also_when_it_has_logged_too_much(
    store: Store, submit: Submit
) -> None:
    job = submit(store, "site-1")
    store.add_events(job.id, "site-1", [metric(1), metric(2)], most=1)
    news = [
        Event(id="s", kind="STATUS", tag="failed", text="the trainer died"),
        Event(id="d", kind="DROPPED", tag="trainer", value=7.0),
    ]
    assert store.add_events(job.id, "site-1", news, most=1) == 2
    assert store.events(job.id)[-2].text == "the trainer died"
    assert store.job_sites(job.id)[0].metrics_dropped == 1 + 7


def test_what_an_earlier_server_has_stored_is_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = Store.in_file(path, durability=Durability.PROCESS)
    job = old.create_job(JobSpec(name="n", trainer="t", sites=("site-1",)))
    old.add_events(job.id, "site-1", [metric(2), metric(4, value=NAN), metric(1)])
    old.add_events(job.id, "site-1", [metric(5, "nothing", NAN)])
    expected = old.metrics(job.id)
    old.close()
    _back_to_the_first_tables(path)
    new = Store.in_file(path, durability=Durability.PROCESS)
    assert [repr(row) for row in new.metrics(job.id)] == [repr(row) for row in expected]
    assert new.job_sites(job.id)[0].metrics_dropped == 0
    assert new.job_sites(job.id)[0].events_kept == 4
    assert new.events(job.id)[0].blob is None
    new.close()


def _back_to_the_first_tables(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as conn:
        for statement in (
            "DROP INDEX ix_events_blob_digest",
            "ALTER TABLE events DROP COLUMN blob_digest",
            "ALTER TABLE events DROP COLUMN blob_size",
            "ALTER TABLE jobs DROP COLUMN deleted",
            "ALTER TABLE job_sites DROP COLUMN events_kept",
            "ALTER TABLE job_sites DROP COLUMN metrics_dropped",
            "DROP TABLE metrics",
            "DROP TABLE sink_cursors",
            "DROP TABLE revocations",
            "UPDATE alembic_version SET version_num = '0001'",
        ):
            conn.execute(text(statement))
    engine.dispose()
