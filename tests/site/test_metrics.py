"""What becomes of a trainer's records on their way to the server."""

from __future__ import annotations

import numpy as np

from federant.exchange import DXO, AnalyticsDataType, DataKind, create_analytic_dxo
from federant.link.messages import Event
from federant.pipe import MemoryPipe, Message, Mode
from federant.site.metrics import MetricRelay, events_of


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


def test_the_relay_reads_records_and_drops_what_is_none():
    events: list[Event] = []
    relay = MetricRelay(MemoryPipe("relay", Mode.PASSIVE), events.extend)
    relay.start()
    pipe = MemoryPipe("relay", Mode.ACTIVE)
    pipe.open("metric")
    assert pipe.send(Message.new_request("metric", {"no": "record"}), 10)
    for number in range(3):
        record = create_analytic_dxo("loss", float(number), AnalyticsDataType.SCALAR)
        assert pipe.send(Message.new_request("metric", record), 10)
    assert pipe.send(Message.new_request("metric", None), 10)
    relay.close()
    pipe.close()
    assert [event.value for event in events] == [0.0, 1.0, 2.0]
