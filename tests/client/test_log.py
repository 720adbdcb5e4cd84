import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from federant.client import flare_agent, metrics
from federant.client.flare_agent import FlareAgent
from federant.exchange import (
    DXO,
    AnalyticsDataType,
    DataKind,
    LogWriterName,
    create_analytic_dxo,
)
from federant.exchange.metric_batch import (
    BATCH_TOPIC,
    TAKES_BATCHES_TOPIC,
    Logged,
    read_batch,
)
from federant.pipe import Message, Mode, Pipe
from federant.testing.two_ends import unreadable

PATIENCE = 60.0


def record(value: float) -> DXO:
    return create_analytic_dxo("loss", value, AnalyticsDataType.SCALAR, global_step=int(value))


def test_records_arrive_in_order_as_they_were(job: Any, agent: FlareAgent) -> None:
    sent = record(1.0)
    assert agent.log(sent) is True
    sent.data["track_value"] = 99.0  # what happens to it later does not matter
    assert agent.log(record(2.0)) is True
    assert [job.read_metric().data["track_value"] for _ in range(2)] == [1.0, 2.0]


def test_a_record_may_be_logged_with_and_without_a_task(job: Any, agent: FlareAgent) -> None:
    assert agent.log(record(1.0))
    job.send_task()
    agent.get_task()
    assert agent.log(record(2.0))
    assert job.read_metric().data["track_value"] == 1.0
    assert job.read_metric().data["track_value"] == 2.0


def test_an_agent_without_a_metric_pipe_cannot_log(new_pipe: Any) -> None:
    with (
        FlareAgent(new_pipe(), heartbeat_timeout=0) as agent,
        pytest.raises(RuntimeError, match="has no metric pipe"),
    ):
        agent.log(record(1.0))


def test_an_agent_for_metrics_only_logs(new_pipe: Any, job: Any) -> None:
    with FlareAgent(metric_pipe=new_pipe(), heartbeat_timeout=0) as agent:
        agent.log(record(1.0))
        assert job.read_metric().data["track_value"] == 1.0


def test_only_a_dxo_can_be_logged(agent: FlareAgent) -> None:
    with pytest.raises(TypeError, match="a record must be a DXO, got str"):
        agent.log("loss=1")  # type: ignore[arg-type]


def test_a_reader_that_is_slow_costs_records_and_no_time(
    job: Any, agent: FlareAgent, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(metrics, "QUEUE_LENGTH", 3)
    job.metrics.pause()
    taken = [agent.log(record(float(number))) for number in range(10)]
    assert taken[:3] == [True] * 3
    assert taken[-1] is False
    assert agent.metrics_dropped == taken.count(False)
    assert caplog.text.count("metrics dropped") == 1
    job.metrics.resume()
    values = [job.read_metric().data["track_value"] for _ in range(taken.count(True))]
    assert values == [float(number) for number, was_taken in enumerate(taken) if was_taken]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: {"image": np.zeros(100_000, np.uint8)}, id="array"),
        pytest.param(lambda: {"text": ["x" * 50_000, ("y" * 50_000,)]}, id="text"),
        pytest.param(lambda: {"blob": {"part": b"z" * 100_000}}, id="bytes"),
        pytest.param(lambda: {"values": [0.5] * 3000}, id="numbers"),
    ],
)
def test_records_that_wait_take_so_many_bytes_and_no_more(
    job: Any,
    agent: FlareAgent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
    make: Callable[[], Any],
) -> None:
    monkeypatch.setattr(metrics, "QUEUE_BYTES", 500_000)
    job.metrics.pause()
    taken = [agent.log(DXO(DataKind.METRICS, make())) for _ in range(10)]
    assert taken == [True] * taken.count(True) + [False] * taken.count(False)
    assert 1 <= taken.count(True) <= 4
    assert agent.metrics_dropped == taken.count(False)
    assert f"bytes; at most {metrics.QUEUE_LENGTH} and 500000 may" in caplog.text
    job.metrics.resume()
    for _ in range(taken.count(True)):
        job.read_metric()
    assert agent.log(record(1.0))  # there is room again
    job.read_metric()


def test_each_way_of_losing_records_is_warned_of_once(
    job: Any, agent: FlareAgent, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(metrics, "QUEUE_LENGTH", 3)
    for value in (1.0, 2.0):
        assert agent.log(DXO(DataKind.APP_DEFINED, {"tag": type}))
        assert agent.log(record(value))
        job.read_metric()
    job.metrics.pause()
    for number in range(10):
        agent.log(record(float(number)))
    assert caplog.text.count("cannot be sent") == 1
    assert caplog.text.count("records wait") == 1


def test_a_record_that_cannot_be_copied_is_refused_with_what_to_log_instead(
    job: Any, agent: FlareAgent
) -> None:
    with pytest.raises(TypeError, match=r"cannot be: cannot pickle .*; log numbers, strings"):
        agent.log(DXO(DataKind.APP_DEFINED, {"lock": threading.Lock()}))
    assert agent.metrics_dropped == 0
    assert agent.log(record(1.0))
    job.read_metric()


def test_a_record_that_cannot_travel_is_counted_and_the_next_one_goes(
    job: Any, agent: FlareAgent, caplog: Any
) -> None:
    assert agent.log(DXO(DataKind.APP_DEFINED, {"tag": type}))
    assert agent.log(record(2.0))
    assert job.read_metric().data["track_value"] == 2.0
    assert agent.metrics_dropped == 1
    assert "a record cannot be sent: data['tag'] cannot travel" in caplog.text


def batches_are_taken(job: Any, agent: FlareAgent) -> None:
    """Until the client job has said so, and the agent has heard it, records come one by one."""
    for _ in range(2):  # whoever reads the second has done with the first
        assert job.metrics.send_to_peer(Message.new_request(TAKES_BATCHES_TOPIC, None), timeout=60)


def test_a_client_job_that_takes_batches_gets_all_that_gathered(
    job: Any, agent: FlareAgent
) -> None:
    batches_are_taken(job, agent)
    count = 3 * metrics.BATCH_LENGTH
    text = create_analytic_dxo("note", "half way", AnalyticsDataType.TEXT)
    for number in range(count):
        if number == count // 2:
            assert agent.log(text)
        assert agent.log(record(float(number)))
    logged: list[Logged] = []
    messages = 0
    while len(logged) < count + 1:
        message = job.metrics.wait_next(10)
        assert message.topic == BATCH_TOPIC
        batch = read_batch(message.data)
        assert len(batch.logged) <= metrics.BATCH_LENGTH
        assert batch.dropped == 0
        logged += batch.logged
        messages += 1
    assert 3 <= messages < count / 10
    assert [each.what for each in logged[:2]] == [("loss", 0.0, 0), ("loss", 1.0, 1)]
    assert isinstance(logged[count // 2].what, DXO)
    assert logged[-1].what == ("loss", count - 1.0, count - 1)
    times = [each.time for each in logged]
    assert times == sorted(times)


def test_the_next_batch_tells_what_was_dropped_before_it(
    job: Any, agent: FlareAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "QUEUE_LENGTH", 3)
    batches_are_taken(job, agent)
    job.metrics.pause()
    while agent.log(record(1.0)):
        pass
    job.metrics.resume()
    assert agent.flush_metrics(10)
    assert agent.log(record(2.0))
    assert agent.flush_metrics(10)
    told = 0
    while told < agent.metrics_dropped:
        told += read_batch(job.metrics.wait_next(10).data).dropped
    assert told == agent.metrics_dropped == 1


def test_a_number_logged_the_short_way_is_the_same_record(job: Any, agent: FlareAgent) -> None:
    metric, mlflow = AnalyticsDataType.METRIC, LogWriterName.MLFLOW
    assert agent.log_number("loss", 0.5, 3, metric, mlflow)
    record = job.read_metric()
    assert record.data["track_value"] == 0.5
    assert record.data["global_step"] == 3
    assert record.get_meta_prop("analytics_data_type") is metric
    assert record.get_meta_prop("tracker_key") is mlflow
    batches_are_taken(job, agent)
    assert agent.log_number("loss", 0.25)
    assert agent.flush_metrics(10)
    (logged,) = read_batch(job.metrics.wait_next(10).data).logged
    assert logged.what == ("loss", 0.25, None)


@pytest.mark.parametrize(
    ("value", "step", "error"),
    [("low", 1, TypeError), (1.0, 0.5, TypeError), (1.0, -1, ValueError)],
)
def test_the_short_way_refuses_what_is_no_number(
    job: Any, agent: FlareAgent, value: Any, step: Any, error: type[Exception]
) -> None:
    for _ in range(2):
        with pytest.raises(error, match="loss"):
            agent.log_number("loss", value, step)
        batches_are_taken(job, agent)


def test_a_record_that_cannot_travel_costs_its_batch_nothing_else(
    job: Any, agent: FlareAgent
) -> None:
    batches_are_taken(job, agent)
    for value in (type, 1.0, type, 2.0):
        assert agent.log(DXO(DataKind.APP_DEFINED, {"tag": value}))
    assert agent.log(record(3.0))
    assert agent.flush_metrics(10)
    arrived: list[Any] = []
    while len(arrived) < 3:
        arrived += [each.what for each in read_batch(job.metrics.wait_next(10).data).logged]
    assert [each.data["tag"] for each in arrived[:2]] == [1.0, 2.0]
    assert arrived[2] == ("loss", 3.0, 3)
    assert agent.metrics_dropped == 2


@pytest.mark.parametrize("batches", [False, True])
def test_a_record_that_the_client_job_cannot_read_costs_itself_alone(
    job: Any, agent: FlareAgent, batches: bool, caplog: Any
) -> None:
    if batches:
        batches_are_taken(job, agent)
    for data in ({"x": 1.0}, unreadable().data, {"x": 2.0}):
        assert agent.log(DXO(DataKind.APP_DEFINED, data))
    assert agent.flush_metrics(PATIENCE)
    assert agent.metrics_dropped == 1
    arrived, told = [], 0
    while len(arrived) < 2 or (batches and told < 1):
        message = job.metrics.wait_next(10)
        if message.topic == BATCH_TOPIC:
            batch = read_batch(message.data)
            told += batch.dropped
            arrived += [each.what.data["x"] for each in batch.logged]
        else:
            arrived.append(message.data.data["x"])
    assert arrived == [1.0, 2.0]
    assert told == batches
    assert "the client job cannot read a record: " in caplog.text


def test_a_loss_after_which_nothing_is_logged_is_told_all_the_same(
    job: Any, agent: FlareAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "QUEUE_BYTES", 1000)
    batches_are_taken(job, agent)
    assert agent.log(DXO(DataKind.METRICS, {"text": "x" * 2000})) is False
    assert agent.flush_metrics(PATIENCE)
    batch = read_batch(job.metrics.wait_next(10).data)
    assert (batch.logged, batch.dropped) == ([], 1)


def test_stop_sends_what_was_logged_before(
    job: Any, agent: FlareAgent, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(flare_agent, "FLUSH_SECONDS", patience)
    for number in range(20):
        agent.log(record(float(number)))
    agent.stop()
    assert agent.metrics_dropped == 0
    assert agent.log(record(1.0)) is False


def test_the_end_of_the_metric_channel_does_not_close_the_agent(
    job: Any, agent: FlareAgent
) -> None:
    agent.log(record(1.0))
    job.read_metric()
    job.metrics.notify_end("no more metrics, please")
    job.send_task()
    assert agent.get_task(timeout=None) is not None


def test_after_the_end_of_its_channel_a_record_is_not_taken(
    job: Any, new_agent: Callable[..., FlareAgent], background: Any, patience: float
) -> None:
    agent = new_agent(heartbeat_interval=0.02, heartbeat_timeout=0.05)
    job.close()
    agent.start()

    def log_until_refused() -> None:
        while agent.log(record(1.0)):
            pass

    background(log_until_refused).result(patience)


def test_records_are_sent_after_the_task_channel_has_ended(job: Any, agent: FlareAgent) -> None:
    job.tasks.notify_end("done")
    assert list(agent.tasks()) == []
    assert agent.log(record(1.0)) is True
    assert job.read_metric().data["track_value"] == 1.0


def test_a_metric_message_is_a_request_with_the_record_itself(
    new_pipe: Any, new_agent: Callable[..., FlareAgent], patience: float
) -> None:
    pipe = new_pipe(Mode.PASSIVE)
    pipe.open("metric")
    agent = new_agent()
    agent.start()
    agent.log(record(1.0))
    message = _first_of_topic(pipe, "metric", patience)
    assert message.msg_type == Message.REQUEST
    assert isinstance(message.data, DXO)
    pipe.close()


def _first_of_topic(pipe: Pipe, topic: str, patience: float) -> Message:
    while True:
        message = pipe.receive(patience)
        assert message is not None
        if message.topic == topic:
            return message
