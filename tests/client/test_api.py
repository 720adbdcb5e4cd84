"""The client API: what a training script calls, over each kind of pipe."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import federant.client as flare
from federant.client import ApiCallError, APIContext, FlareAgent, FlareAgentWithFLModel
from federant.exchange import (
    DXO,
    AnalyticsDataType,
    DataKind,
    FLModel,
    HeaderKey,
    MetaKey,
    ParamsType,
    ReturnCode,
    Shareable,
    from_shareable,
    make_reply,
)
from federant.pipe import LocalPipe, Message, Mode, PipeHandler, Topic

Background = Callable[..., Future[Any]]


@pytest.fixture
def ctx(job: Any, new_agent: Callable[..., FlareAgent]) -> APIContext:
    """A context whose client job is the test."""
    agent = new_agent(FlareAgentWithFLModel, site_name="site-1", job_id="job-7")
    agent.start()
    assert isinstance(agent, FlareAgentWithFLModel)
    return APIContext("0", agent=agent)


def weights(**more: float) -> Shareable:
    return DXO(DataKind.WEIGHTS, {"w": np.array([1.0, 2.0]), **more}).to_shareable()


def answer(job: Any, background: Background, model: FLModel, **options: Any) -> Shareable:
    """Sends the model; the result that the client job got and accepted."""
    sent = background(flare.send, model, **options)
    result = job.take_result().data
    assert sent.result() is True
    assert isinstance(result, Shareable)
    return result


def test_a_model_comes_with_its_round_and_goes_back_with_metrics(
    job: Any, ctx: APIContext, background: Background
) -> None:
    job.send_task(data=weights(), **{HeaderKey.CURRENT_ROUND: 2, HeaderKey.NUM_ROUNDS: 5})
    model = flare.receive(ctx=ctx)
    assert model is not None
    assert (model.current_round, model.total_rounds) == (2, 5)
    assert model.params_type is ParamsType.FULL
    trained = FLModel(
        params={"w": model.params["w"] + 1},
        optimizer_params={"momentum": np.ones(1)},
        metrics={"accuracy": 0.5},
        meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 7},
    )
    dxo = from_shareable(answer(job, background, trained, ctx=ctx))
    assert dxo.data_kind == DataKind.WEIGHTS
    np.testing.assert_array_equal(dxo.data["w"], [2.0, 3.0])
    np.testing.assert_array_equal(dxo.meta.pop("optimizer_params")["momentum"], np.ones(1))
    assert dxo.meta == {"NUM_STEPS_CURRENT_ROUND": 7, "initial_metrics": {"accuracy": 0.5}}


def test_receive_gives_the_same_model_until_a_result_is_sent(
    job: Any, ctx: APIContext, background: Background
) -> None:
    job.send_task("task-1")
    job.send_task("task-2")
    first = flare.receive(ctx=ctx)
    assert first is not None
    assert flare.receive(ctx=ctx) is first
    assert flare.is_running(ctx)
    assert flare.receive(ctx=ctx) is first
    answer(job, background, FLModel(metrics={}), ctx=ctx)
    assert flare.receive(ctx=ctx) is not first


def test_receive_gives_none_when_its_timeout_has_passed(job: Any, ctx: APIContext) -> None:
    assert flare.receive(timeout=0.01, ctx=ctx) is None
    job.send_task()
    assert flare.receive(timeout=60.0, ctx=ctx) is not None


def test_memory_of_both_models_is_let_go_after_send(
    job: Any, ctx: APIContext, background: Background
) -> None:
    job.send_task()
    received, sent = flare.receive(ctx=ctx), FLModel(params={"w": np.zeros(2)})
    assert received is not None
    answer(job, background, sent, ctx=ctx)
    assert received.params is None
    assert sent.params is None


def test_without_clearing_the_old_model_stays_and_takes_no_second_result(
    job: Any, ctx: APIContext, background: Background
) -> None:
    job.send_task("task-1")
    job.send_task("task-2")
    received = flare.receive(ctx=ctx)
    answer(job, background, FLModel(metrics={}), clear_cache=False, ctx=ctx)
    assert flare.receive(ctx=ctx) is received
    with pytest.raises(ApiCallError, match=r"task 'train task-1' was sent, .* call clear\(\) and"):
        flare.send(FLModel(metrics={}), ctx=ctx)
    flare.clear(ctx)
    assert flare.receive(ctx=ctx) is not received


def test_a_second_result_is_refused_with_what_to_do(
    job: Any, ctx: APIContext, background: Background
) -> None:
    job.send_task()
    flare.receive(ctx=ctx)
    answer(job, background, FLModel(metrics={}), ctx=ctx)
    with pytest.raises(ApiCallError, match=r"takes only one: call receive\(\) for the next model"):
        flare.send(FLModel(metrics={}), ctx=ctx)


def test_send_before_receive_is_refused(ctx: APIContext) -> None:
    with pytest.raises(RuntimeError, match=r"send before receive: .* call receive\(\) first"):
        flare.send(FLModel(metrics={}), ctx=ctx)


def test_a_model_that_holds_nothing_is_refused_and_the_result_is_still_due(
    job: Any, ctx: APIContext, background: Background
) -> None:
    job.send_task()
    flare.receive(ctx=ctx)
    with pytest.raises(RuntimeError, match="neither params nor metrics"):
        flare.send(FLModel(), ctx=ctx)
    answer(job, background, FLModel(metrics={"report": "all is well"}), ctx=ctx)


def test_the_type_of_what_is_sent_is_checked_first(ctx: APIContext) -> None:
    with pytest.raises(TypeError, match="send needs an FLModel, got dict"):
        flare.send({"w": 1}, ctx=ctx)  # type: ignore[arg-type]


def test_send_says_when_the_client_job_did_not_accept(
    job: Any, ctx: APIContext, background: Background
) -> None:
    job.send_task()
    flare.receive(ctx=ctx)
    model = FLModel(params={"w": np.zeros(2)})
    sent = background(flare.send, model, ctx=ctx)
    reply = job.read_result()
    job.tasks.refuse(reply, ReturnCode.TASK_ABORTED, "nobody waits for it")
    assert sent.result() is False
    assert model.params is not None
    with pytest.raises(ApiCallError, match="was sent, and was not accepted"):
        flare.send(model, ctx=ctx)


def test_after_clear_the_result_can_still_be_sent_and_nothing_else_be_received(
    job: Any, ctx: APIContext, background: Background
) -> None:
    job.send_task()
    flare.receive(ctx=ctx)
    flare.clear(ctx)
    assert not flare.is_train(ctx)
    with pytest.raises(ApiCallError, match="cleared before its result was sent: send one first"):
        flare.receive(ctx=ctx)
    answer(job, background, FLModel(metrics={}), ctx=ctx)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("train", (True, False, False)),
        ("validate", (False, True, False)),
        ("evaluate", (False, True, False)),
        ("submit_model", (False, False, True)),
        ("fit", (False, False, False)),
    ],
)
def test_the_task_says_what_is_to_be_done(
    job: Any, ctx: APIContext, background: Background, name: str, kinds: tuple[bool, ...]
) -> None:
    def found() -> tuple[bool, ...]:
        return flare.is_train(ctx), flare.is_evaluate(ctx), flare.is_submit_model(ctx)

    assert found() == (False, False, False)
    job.send_task(name=name)
    assert flare.get_task_name(ctx) == name
    assert found() == kinds
    answer(job, background, FLModel(metrics={}), ctx=ctx)
    assert found() == (False, False, False)


def test_a_task_that_only_asks_for_a_model_is_received(job: Any, ctx: APIContext) -> None:
    job.send_task(name="submit_model", data=Shareable(), submit_model_name="best_model")
    model = flare.receive(ctx=ctx)
    assert model is not None
    assert model.params is None
    assert model.meta[MetaKey.SUBMIT_MODEL_NAME] == "best_model"


def test_a_task_without_a_model_is_answered_with_a_return_code_and_told_to_the_script(
    job: Any, ctx: APIContext, background: Background
) -> None:
    job.send_task(data=make_reply(ReturnCode.ERROR))
    received = background(flare.receive, ctx=ctx)
    assert job.take_result().data.get_return_code() == ReturnCode.BAD_TASK_DATA
    with pytest.raises(ValueError, match="only the return code 'ERROR'"):
        received.result()


@pytest.mark.parametrize("topic", [Topic.END, Topic.ABORT])
def test_is_running_is_false_once_the_job_is_over(
    job: Any, ctx: APIContext, background: Background, topic: str
) -> None:
    running = background(flare.is_running, ctx)
    job.tasks.send_to_peer(Message.new_request(topic, "over"), timeout=60.0)
    assert running.result() is False
    with pytest.raises(flare.AgentClosed):
        flare.receive(ctx=ctx)


def test_shutdown_wakes_who_waits_and_may_be_called_twice(
    ctx: APIContext, background: Background
) -> None:
    running = background(flare.is_running, ctx)
    flare.shutdown(ctx)
    flare.shutdown(ctx)
    assert running.result() is False


def test_site_and_job_are_known_before_anything_is_received(ctx: APIContext) -> None:
    assert flare.system_info(ctx) == {"site_name": "site-1", "job_id": "job-7"}
    assert flare.get_site_name(ctx) == "site-1"
    assert flare.get_job_id(ctx) == "job-7"
    config = flare.get_config(ctx)
    assert config["job_id"] == "job-7"
    assert config["TASK_EXCHANGE"]["eval_task_name"] == "validate"


def test_log_says_that_a_value_was_taken(job: Any, ctx: APIContext) -> None:
    assert flare.log("loss", 0.25, AnalyticsDataType.SCALAR, ctx=ctx, global_step=3) is True
    flare.shutdown(ctx)
    assert flare.log("loss", 0.5, AnalyticsDataType.SCALAR, ctx=ctx) is False


def test_a_process_that_is_not_rank_0_is_told_that_it_does_not_talk() -> None:
    ctx = APIContext(rank=1)
    assert ctx.rank == "1"
    assert flare.system_info(ctx) == {"site_name": "", "job_id": ""}
    for call in (
        lambda: flare.receive(ctx=ctx),
        lambda: flare.is_running(ctx),
        lambda: flare.get_task_name(ctx),
        lambda: flare.log("loss", 1.0, AnalyticsDataType.SCALAR, ctx=ctx),
    ):
        with pytest.raises(ApiCallError, match="process of rank 1: only rank 0 talks"):
            call()
    flare.shutdown(ctx)


def test_torchrun_says_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    assert APIContext().rank == "3"
    with pytest.raises(ValueError, match="rank must be a str or an int, got b"):
        APIContext(rank=b"0")  # type: ignore[arg-type]


# -- tasks that want a difference ----------------------------------------------------------------


def give_task_that_wants_difference(job: Any, ctx: APIContext) -> FLModel:
    job.send_task(data=weights(count=3), **{HeaderKey.TRANSFER_TYPE: ParamsType.DIFF.value})
    model = flare.receive(ctx=ctx)
    assert model is not None
    return model


def test_a_whole_model_is_sent_as_the_difference_that_the_task_wants(
    job: Any, ctx: APIContext, background: Background
) -> None:
    model = give_task_that_wants_difference(job, ctx)
    trained = FLModel(
        params={"w": model.params["w"] * 3, "count": 5},
        optimizer_params={"momentum": 0.5},
        metrics={"accuracy": 0.5},
        meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 7},
    )
    dxo = from_shareable(answer(job, background, trained, ctx=ctx))
    assert dxo.data_kind == DataKind.WEIGHT_DIFF
    np.testing.assert_array_equal(dxo.data["w"], [2.0, 4.0])
    assert dxo.data["count"] == 2
    assert dxo.meta == {
        "NUM_STEPS_CURRENT_ROUND": 7,
        "initial_metrics": {"accuracy": 0.5},
        "optimizer_params": {"momentum": 0.5},
    }


def test_a_difference_that_the_script_has_made_is_sent_as_it_is(
    job: Any, ctx: APIContext, background: Background
) -> None:
    give_task_that_wants_difference(job, ctx)
    made = FLModel("DIFF", {"w": np.ones(2), "count": 1})
    dxo = from_shareable(answer(job, background, made, ctx=ctx))
    assert dxo.data_kind == DataKind.WEIGHT_DIFF
    np.testing.assert_array_equal(dxo.data["w"], [1.0, 1.0])


def test_a_model_whose_difference_could_not_be_sent_can_be_sent_again(
    job: Any, ctx: APIContext, background: Background
) -> None:
    model = give_task_that_wants_difference(job, ctx)
    trained = FLModel(params={"w": model.params["w"] * 3, "count": 5}, metrics={"odd": object()})
    with pytest.raises(TypeError, match="cannot travel"):
        flare.send(trained, ctx=ctx)
    trained.metrics = {"accuracy": 0.5}
    dxo = from_shareable(answer(job, background, trained, ctx=ctx))
    np.testing.assert_array_equal(dxo.data["w"], [2.0, 4.0])
    assert dxo.data["count"] == 2


def test_metrics_alone_have_no_difference(
    job: Any, ctx: APIContext, background: Background
) -> None:
    give_task_that_wants_difference(job, ctx)
    dxo = from_shareable(answer(job, background, FLModel(metrics={"loss": 1.0}), ctx=ctx))
    assert dxo.data_kind == DataKind.METRICS


def test_without_clearing_the_received_model_stays_as_it_came(
    job: Any, ctx: APIContext, background: Background
) -> None:
    model = give_task_that_wants_difference(job, ctx)
    trained = FLModel(params={"w": np.zeros(2), "count": 3})
    dxo = from_shareable(answer(job, background, trained, clear_cache=False, ctx=ctx))
    np.testing.assert_array_equal(dxo.data["w"], [-1.0, -2.0])
    np.testing.assert_array_equal(model.params["w"], [1.0, 2.0])


def test_without_the_received_model_there_is_no_difference(job: Any, ctx: APIContext) -> None:
    give_task_that_wants_difference(job, ctx)
    flare.clear(ctx)
    with pytest.raises(flare.DifferenceError, match="the model received, which was cleared before"):
        flare.send(FLModel(params={"w": np.zeros(2)}), ctx=ctx)


# -- the default context -----------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PipeHandler]:
    """That of a trainer which a client job, the test, has started."""
    monkeypatch.setenv("FEDERANT_PIPE", str(tmp_path / "pipe"))
    monkeypatch.setenv("FEDERANT_SITE", "site-1")
    monkeypatch.setenv("FEDERANT_JOB", "job-7")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # join() puts its own in its place
    pipe = LocalPipe(Mode.PASSIVE, tmp_path / "pipe")
    handler = PipeHandler(pipe, heartbeat_interval=3600.0, heartbeat_timeout=0.0)
    pipe.open("task")
    handler.start()
    yield handler
    flare.shutdown()
    handler.stop()


def test_init_joins_the_job_whose_client_job_started_the_process(environment: PipeHandler) -> None:
    context = flare.init()
    assert flare.get_context() is context
    assert flare.get_site_name() == "site-1"
    assert flare.get_job_id() == "job-7"
    assert flare.init(rank=0) is context
    flare.shutdown()
    assert flare.is_running() is False
    assert flare.init() is not context


def test_before_init_each_call_says_to_call_it() -> None:
    code = (
        "import federant.client as flare\n"
        "for call in (flare.receive, flare.is_running, flare.is_train, flare.system_info,\n"
        "             flare.get_task_name, flare.clear, flare.shutdown,\n"
        "             lambda: flare.send(flare.FLModel(metrics={}))):\n"
        "    try: call()\n"
        "    except RuntimeError as error: assert 'call init() once' in str(error)\n"
        "    else: raise SystemExit(f'{call} did not refuse')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
