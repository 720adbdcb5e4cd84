"""What becomes of a trainer's records on their way to the server."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from federant.client import FlareAgent
from federant.client.tracking import SummaryWriter
from federant.exchange import DXO, AnalyticsDataType, DataKind, create_analytic_dxo
from federant.exchange.metric_batch import BATCH_TOPIC, Logged, MetricBatch, Scalar
from federant.link import BlobRef, blob_ref
from federant.link.messages import MAX_TEXT_CHARS, Event
from federant.pipe import MemoryPipe, Message, Mode
from federant.site.metrics import MetricRelay, events_of, events_of_batch
from federant.site.png import png

UUID_CHARS = 36
"""An event's id begins with its message's."""


def parts(record: DXO) -> list[tuple[object, ...]]:
    return [(e.kind, e.tag, e.step, e.value, e.text) for e in events_of(record, "r")]


def test_a_scalar_is_one_metric_with_its_step():
    record = create_analytic_dxo("loss", 0.5, AnalyticsDataType.SCALAR, global_step=3)
    assert parts(record) == [("METRIC", "loss", 3, 0.5, "")]


def test_each_number_of_a_dict_is_a_metric_of_its_own():
    record = create_analytic_dxo("val", {"acc": 0.9, "note": "ok"}, AnalyticsDataType.METRICS)
    assert parts(record) == [
        ("METRIC", "val/acc", None, 0.9, ""),
        ("METRICS", "val/note", None, None, "ok"),
    ]


def test_a_text_keeps_its_kind():
    record = create_analytic_dxo("note", "warming up", AnalyticsDataType.TEXT)
    assert parts(record) == [("TEXT", "note", None, None, "warming up")]


def test_metrics_without_a_tracker_are_told_by_their_names():
    assert parts(DXO(DataKind.METRICS, {"loss": 1, "done": True})) == [
        ("METRIC", "loss", None, 1.0, ""),
        ("METRICS", "done", None, None, "True"),
    ]


def test_numpys_numbers_are_numbers_and_what_no_float_holds_is_a_text():
    values = {"a": np.float32(0.25), "b": np.int64(3), "c": 10**400}
    a, b, c = events_of(DXO(DataKind.METRICS, values), "r")
    assert (a.kind, a.value, b.kind, b.value) == ("METRIC", 0.25, "METRIC", 3.0)
    assert (c.kind, c.value, c.text) == ("METRICS", None, str(10**400))


def test_events_of_one_record_have_the_same_ids_each_time_so_that_they_count_once():
    record = DXO(DataKind.METRICS, {"loss": 1.0, "acc": 0.5})
    assert [event.id for event in events_of(record, "r7")] == ["r7-0", "r7-1"]


def test_a_dict_without_a_tag_tells_each_part_by_its_own_name():
    record = create_analytic_dxo("", {"loss": 0.5}, AnalyticsDataType.METRICS, global_step=1)
    assert parts(record) == [("METRIC", "loss", 1, 0.5, "")]


def test_parameters_and_tags_are_no_metrics_even_if_they_are_numbers():
    both = {"lr": 0.1, "name": "x"}
    assert parts(create_analytic_dxo("", both, AnalyticsDataType.PARAMETERS)) == [
        ("PARAMETER", "lr", None, None, "0.1"),
        ("PARAMETER", "name", None, None, "x"),
    ]
    assert parts(create_analytic_dxo("seed", 7, AnalyticsDataType.TAG)) == [
        ("TAG", "seed", None, None, "7")
    ]


def test_an_image_becomes_a_file_and_the_event_refers_to_it():
    kept: list[bytes] = []

    def keep(data: bytes) -> BlobRef:
        kept.append(data)
        return blob_ref([data])

    pixels = np.zeros((4, 5, 3), np.uint8)
    record = create_analytic_dxo("x", pixels, AnalyticsDataType.IMAGE, global_step=2)
    (event,) = events_of(record, "r", 7.0, keep)
    assert (event.kind, event.tag, event.step, event.value) == ("IMAGE", "x", 2, None)
    assert event.text == "5 x 4 pixels of 3 channels"
    assert kept == [png(pixels)]
    assert event.blob == blob_ref(kept)
    assert event.time == 7.0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((4, 5, 3), np.uint8), "5 x 4 pixels of 3 channels, dropped: too many images"),
        (np.zeros((4, 5)), "an image cannot be shown: it is float64 of shape (4, 5)"),
        ("picture", "an image cannot be shown: it is str"),
    ],
)
def test_of_an_image_that_cannot_go_it_is_said_why(value: object, said: str):
    record = create_analytic_dxo("x", value, AnalyticsDataType.IMAGE)
    (event,) = events_of(record, "r", None, lambda data: None)  # noqa: ARG005 - called by name
    assert event.blob is None
    assert event.text.startswith(said)


def test_of_a_long_text_the_event_has_the_beginning_and_refers_to_the_rest():
    kept: list[bytes] = []

    def keep(data: bytes) -> BlobRef:
        kept.append(data)
        return blob_ref([data])

    text = "é" * (MAX_TEXT_CHARS + 1)
    short, long = (
        next(events_of(create_analytic_dxo("x", t, AnalyticsDataType.TEXT), "r", None, keep))
        for t in (text[1:], text)
    )
    assert (short.text, short.blob) == (text[1:], None)
    assert (long.text, long.blob) == (text[1:], blob_ref([text.encode()]))
    assert kept == [text.encode()]


def test_a_batch_tells_first_what_was_lost_and_then_its_records_in_order():
    text = create_analytic_dxo("note", "", AnalyticsDataType.TEXT)
    logged = [Logged(1.0, Scalar("loss", 0.5, 3)), Logged(2.0, text)]
    lost, number, note = events_of_batch(MetricBatch(logged, 4), "b")
    assert (lost.kind, lost.tag, lost.value) == ("DROPPED", "trainer", 4.0)
    assert lost.text.startswith("4 metrics were dropped at the trainer: ")
    assert (number.kind, number.tag, number.value, number.step) == ("METRIC", "loss", 0.5, 3)
    assert (note.kind, note.text) == ("TEXT", "")
    assert [number.time, note.time] == [1.0, 2.0]
    assert len({lost.id, number.id, note.id}) == 3


@pytest.fixture
def come() -> queue.SimpleQueue[Event]:
    """The events that a relay has made."""
    return queue.SimpleQueue()


def into(come: queue.SimpleQueue[Event]) -> Callable[[Sequence[Event]], None]:
    def on_events(events: Sequence[Event]) -> None:
        for event in events:
            come.put(event)

    return on_events


def test_the_relay_says_that_it_takes_batches_to_whoever_has_sent_a_record(
    come: queue.SimpleQueue[Event],
) -> None:
    relay = MetricRelay(MemoryPipe("batches", Mode.PASSIVE), into(come))
    relay.start()
    with FlareAgent(metric_pipe=MemoryPipe("batches", Mode.ACTIVE), heartbeat_timeout=0) as agent:
        writer = SummaryWriter(agent)
        deadline = time.monotonic() + 60
        messages: set[str] = set()
        count = 0
        while len(messages) == count:  # until one message has brought several
            assert time.monotonic() < deadline, "each record came in a message of its own"
            for number in range(count, count + 100):
                writer.add_scalar("loss", float(number), number)
            for number in range(count, count + 100):
                event = come.get(timeout=30)
                assert event.value == number
                messages.add(event.id[:UUID_CHARS])
            count += 100
        writer.add_image("x", np.zeros((3, 4, 4), np.uint8))
        assert come.get(timeout=30).kind == "IMAGE"
    relay.close()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(10**5000, id="number of more digits than Python writes"),
        pytest.param([[10**5000]], id="such a number within"),
        pytest.param(np.full(1, -1, np.int32).view("<U1"), id="array of no characters"),
        pytest.param(np.str_("\ud800"), id="half a character"),
    ],
)
def test_what_can_be_no_event_is_told_of_as_dropped_and_costs_its_record_nothing_else(
    value: object,
) -> None:
    record = DXO(DataKind.METRICS, {"a": 1.0, "bad": value, "b": 2.0})
    a, lost, b = events_of(record, "r")
    assert (a.tag, a.value, b.tag, b.value) == ("a", 1.0, "b", 2.0)
    assert (lost.kind, lost.tag, lost.value) == ("DROPPED", "client job", 1.0)
    assert lost.text.startswith(
        f"1 metric was dropped at the client job: a {type(value).__name__} under the tag 'bad': "
    )
    assert [a.id, lost.id, b.id] == ["r-0", "r-1", "r-2"]


def test_a_tag_that_is_no_text_is_written_as_one_or_told_of_as_dropped() -> None:
    named, lost = events_of(DXO(DataKind.METRICS, {("a", 1): 1.0, 10**5000: 2.0}), "r")
    assert (named.kind, named.tag) == ("METRIC", "('a', 1)")
    assert lost.text.startswith("1 metric was dropped at the client job: a float under the tag ''")


def test_a_kind_of_data_that_is_none_is_told_by_its_type() -> None:
    data = {"track_key": "x", "track_value": "y"}
    record = DXO(DataKind.ANALYTIC, data, {"analytics_data_type": [10**5000]})
    assert parts(record) == [("list", "x", None, None, "y")]


def test_a_batch_with_what_is_no_record_tells_how_many_those_were() -> None:
    bad = create_analytic_dxo("big", 10**5000, AnalyticsDataType.SCALAR)
    logged = [Logged(1.0, Scalar("loss", 0.5, 3)), Logged(2.0, bad)]
    batch = MetricBatch(logged, 4, ["'x' is no number", "None is no number"])
    refused, lost, number, big = events_of_batch(batch, "b")
    assert (refused.kind, refused.tag, refused.value) == ("DROPPED", "client job", 2.0)
    assert refused.text == "2 metrics were dropped at the client job: 'x' is no number"
    assert (lost.tag, lost.value, number.value, big.kind) == ("trainer", 4.0, 0.5, "DROPPED")
    assert len({event.id for event in (refused, lost, number, big)}) == 4


HOSTILE = [
    None,
    {"tags": 1},
    [1, 2],
    {"tags": ["x"], "scalars": [], "records": [], "places": [], "times": [], "dropped": 1 << 80},
    {
        "tags": ["x", 3, b"y"],
        "scalars": [[0, 1, 2, -1, 9], [1.0] * 5, [1] * 5, [0.0] * 5],
        "records": [7, DXO(DataKind.APP_DEFINED, [10**5000])],
        "places": [-5, 2],
        "times": [0.0, float("nan")],
        "dropped": 3,
    },
]
"""And the last is a batch: a number is in order, and beside the three there are six to be lost."""


def test_of_hostile_batches_the_relay_keeps_what_is_in_order_and_counts_the_rest(
    come: queue.SimpleQueue[Event], caplog: pytest.LogCaptureFixture
) -> None:
    relay = MetricRelay(MemoryPipe("junk", Mode.PASSIVE), into(come))
    relay.start()
    pipe = MemoryPipe("junk", Mode.ACTIVE)
    pipe.open("metric")
    for data in HOSTILE:
        assert pipe.send(Message.new_request(BATCH_TOPIC, data), 60)
    assert pipe.send(Message.new_request("metric", DXO(DataKind.METRICS, {"a": 1})), 60)
    events: list[Event] = []
    while not events or events[-1].tag != "a":
        events.append(come.get(timeout=30))
    assert [event.tag for event in events if event.kind == "METRIC"] == ["x", "a"]
    lost = [event.value for event in events if event.kind == "DROPPED"]
    assert lost == [1.0, 1.0, 1.0, 1.0, 5.0, 3.0, 1.0]
    assert (
        "records were lost count=9 first='5 metrics were dropped at the client job" in caplog.text
    )
    relay.close()
    pipe.close()


def test_the_relay_reads_records_and_counts_what_is_none(come: queue.SimpleQueue[Event]) -> None:
    relay = MetricRelay(MemoryPipe("relay", Mode.PASSIVE), into(come))
    relay.start()
    pipe = MemoryPipe("relay", Mode.ACTIVE)
    pipe.open("metric")
    assert pipe.send(Message.new_request("metric", {"no": "record"}), 60)
    for number in range(3):
        record = create_analytic_dxo("loss", float(number), AnalyticsDataType.SCALAR)
        assert pipe.send(Message.new_request("metric", record), 60)
    assert pipe.send(Message.new_request("metric", None), 60)
    events = [come.get(timeout=30) for _ in range(5)]
    relay.close()
    pipe.close()
    assert [event.value for event in events] == [1.0, 0.0, 1.0, 2.0, 1.0]
    assert [event.kind for event in events] == ["DROPPED", *["METRIC"] * 3, "DROPPED"]
    assert "a record is a dict, no DXO" in events[0].text


def test_a_trainer_that_was_heard_is_waited_for_until_its_last_record_is_read(
    come: queue.SimpleQueue[Event],
) -> None:
    relay = MetricRelay(MemoryPipe("last", Mode.PASSIVE), into(come))
    relay.start()
    assert relay.wait_until_left(30), "there is nobody to wait for"
    agent = FlareAgent(metric_pipe=MemoryPipe("last", Mode.ACTIVE), heartbeat_timeout=0)
    agent.start()
    writer = SummaryWriter(agent)
    writer.add_scalar("loss", 0.0)
    assert come.get(timeout=30).value == 0.0
    assert not relay.wait_until_left(0)
    for number in range(1, 100):
        writer.add_scalar("loss", float(number))
    agent.stop()
    assert relay.wait_until_left(30)
    assert [come.get_nowait().value for _ in range(1, 100)] == [float(n) for n in range(1, 100)]
    relay.close()
