"""The writers that people know, over each kind of pipe: what the client job reads of each call."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from federant.client import CallStateError, api
from federant.client import joined as joined_module
from federant.client.api_context import APIContext
from federant.client.errors import ApiCallError
from federant.client.flare_agent import FlareAgent
from federant.client.flare_agent_with_fl_model import FlareAgentWithFLModel
from federant.client.joined import joined_agent, remember
from federant.client.talker import Bystander
from federant.client.tracking import MLflowWriter, SummaryWriter, WandBWriter
from federant.exchange import AnalyticsData, LogWriterName


@pytest.fixture
def read(job: Any) -> Callable[[], tuple[Any, ...]]:
    """The next record: type, tag, value, step."""

    def next_one() -> tuple[Any, ...]:
        record = job.read_metric()
        sender = record.get_meta_prop("tracker_key")
        data = AnalyticsData.from_dxo(record, receiver=sender)
        return data.data_type.value, data.tag, data.value, data.step

    return next_one


@pytest.fixture
def nobody_has_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined_module, "_latest", None)
    monkeypatch.setattr(api, "_default", None)


class OneElement:
    """Stands for a tensor of some framework: no number, but it holds one."""

    def __init__(self, value: float) -> None:
        self.value = value

    def item(self) -> float:
        return self.value


def test_a_summary_writer_logs_scalars_dicts_and_texts(
    read: Callable[[], Any], agent: FlareAgent
) -> None:
    writer = SummaryWriter(agent)
    assert writer.add_scalar("loss", 0.5, 3) is True
    assert writer.add_scalars("val", {"acc": 0.9, "auc": np.float32(0.5)}, global_step=3)
    assert writer.add_text("note", "")
    assert read() == ("SCALAR", "loss", 0.5, 3)
    assert read() == ("SCALARS", "val", {"acc": 0.9, "auc": 0.5}, 3)
    assert read() == ("TEXT", "note", "", None)


def test_tensors_of_one_element_are_numbers_also_as_steps(
    read: Callable[[], Any], agent: FlareAgent
) -> None:
    writer = SummaryWriter(agent)
    writer.add_scalar("a", OneElement(0.25), OneElement(7))  # type: ignore[arg-type]
    writer.add_scalar("b", np.array([1.5]), np.int64(8))  # type: ignore[arg-type]
    assert read() == ("SCALAR", "a", 0.25, 7)
    assert read() == ("SCALAR", "b", 1.5, 8)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_travels(
    read: Callable[[], Any], agent: FlareAgent, value: float
) -> None:
    SummaryWriter(agent).add_scalar("loss", value, 1)
    assert repr(read()[2]) == repr(value)


def test_further_keywords_travel_along(job: Any, agent: FlareAgent) -> None:
    SummaryWriter(agent).add_scalar("loss", 0.5, 3, walltime=1.5)
    assert job.read_metric().data["analytics_kwargs"] == {"walltime": 1.5, "global_step": 3}


def test_an_mlflow_writer_logs_parameters_metrics_texts_and_tags(
    job: Any, read: Callable[[], Any], agent: FlareAgent
) -> None:
    writer = MLflowWriter(agent)
    writer.log_param("lr", 0.1)
    writer.log_params({"layers": [1, 2], "name": "x"})
    writer.log_metric("loss", 0.5, step=1)
    writer.log_metrics({"loss": 0.4, "acc": OneElement(1)}, step=2)  # type: ignore[dict-item]
    writer.set_tag("who", 7)
    writer.set_tags({"a": None})
    assert read() == ("PARAMETER", "lr", 0.1, None)
    assert read() == ("PARAMETERS", "", {"layers": "[1, 2]", "name": "x"}, None)
    assert read() == ("METRIC", "loss", 0.5, 1)
    assert read() == ("METRICS", "", {"loss": 0.4, "acc": 1}, 2)
    assert read() == ("TAG", "who", 7, None)
    assert read() == ("TAGS", "", {"a": "None"}, None)
    writer.log_text("hello", "notes/today.txt")
    record = job.read_metric()
    assert (record.data["track_value"], record.data["path"]) == ("hello", "notes/today.txt")


def test_a_wandb_writer_joins_the_names_of_nested_dicts(
    read: Callable[[], Any], agent: FlareAgent
) -> None:
    WandBWriter(agent).log({"loss": 0.5, "val": {"acc": 0.9, "top": {"5": 1}}}, step=4)
    assert read() == ("METRICS", "", {"loss": 0.5, "val/acc": 0.9, "val/top/5": 1}, 4)


def test_each_writer_says_whose_words_it_speaks(job: Any, agent: FlareAgent) -> None:
    SummaryWriter(agent).add_scalar("a", 1)
    MLflowWriter(agent).log_metric("a", 1)
    WandBWriter(agent).log({"a": 1})
    speakers = [job.read_metric().get_meta_prop("tracker_key") for _ in range(3)]
    assert speakers == [LogWriterName.TORCH_TB, LogWriterName.MLFLOW, LogWriterName.WANDB]


@pytest.mark.parametrize(
    ("image", "dataformats", "corner"),
    [
        pytest.param(np.full((3, 4, 5), 7, np.uint8), "CHW", [7, 7, 7], id="CHW"),
        pytest.param(np.full((4, 5, 3), 0.5, np.float64), "HWC", [128] * 3, id="brightness"),
        pytest.param(np.full((4, 5), np.nan, np.float32), "HW", [0], id="nan is black"),
        pytest.param(np.full((4, 5), 7.0, np.float16), "HW", [255], id="too bright"),
        pytest.param(np.ones((4, 5), np.bool_), "HW", [255], id="bool"),
        pytest.param([[[0.0] * 5] * 4], "CHW", [0], id="lists"),
    ],
)
def test_an_image_travels_as_bytes_of_height_width_and_channels(
    read: Callable[[], Any], agent: FlareAgent, image: Any, dataformats: str, corner: list[int]
) -> None:
    assert SummaryWriter(agent).add_image("sample", image, 2, dataformats)
    kind, tag, pixels, step = read()
    assert (kind, tag, step) == ("IMAGE", "sample", 2)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (4, 5, len(corner))
    assert pixels[0, 0].tolist() == corner


def test_a_picture_of_pil_says_its_layout_itself(
    read: Callable[[], Any], agent: FlareAgent
) -> None:
    images = pytest.importorskip("PIL.Image")
    for mode, channels in (("L", 1), ("RGB", 3), ("RGBA", 4), ("P", 3), ("1", 3)):
        SummaryWriter(agent).add_image("sample", images.new(mode, (5, 4)))
        assert read()[2].shape == (4, 5, channels)


def test_what_happens_to_an_image_afterwards_does_not_matter(
    read: Callable[[], Any], agent: FlareAgent
) -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    MLflowWriter(agent).log_image(image, "sample", step=1)
    image[:] = 9
    assert read()[2].max() == 0


@pytest.mark.parametrize(
    ("image", "dataformats", "message"),
    [
        (np.zeros((5, 4, 3)), "CHW", r"is the layout another, as in dataformats='HWC'"),
        (np.zeros((4, 5)), "CHW", r"has the shape \(4, 5\), which is not CHW"),
        (np.zeros((1, 0, 5)), "CHW", "has 0 x 5 pixels"),
        (np.zeros((2, 3, 4, 5)), "NCHW", "dataformats must be one of CHW, HWC, HW"),
        (np.zeros((1, 1, 1 << 25), np.uint8), "CHW", "log a smaller one"),
    ],
)
def test_an_image_that_is_none_is_refused_with_what_to_do(
    agent: FlareAgent, image: Any, dataformats: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SummaryWriter(agent).add_image("sample", image, dataformats=dataformats)


def test_an_array_of_ints_is_no_image(agent: FlareAgent) -> None:
    with pytest.raises(TypeError, match="an array of dtype int64; uint8"):
        SummaryWriter(agent).add_image("sample", np.zeros((1, 4, 4), np.int64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.add_scalar("loss", "low"), "must be a number, got str"),
        (lambda w: w.add_scalar("loss", 1.0, 2.5), "global_step of 'loss' must be an int"),
        (lambda w: w.add_scalars("loss", 1.0), "a dict of names and values is needed, got float"),
        (lambda w: w.add_text("note", 5), "must be of type str, got int"),
    ],
)
def test_a_wrong_type_is_refused_where_it_is_logged(
    agent: FlareAgent, call: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        call(SummaryWriter(agent))


def test_a_writer_may_be_made_before_the_process_joins(
    nobody_has_joined: None, read: Callable[[], Any], agent: FlareAgent
) -> None:
    writer = SummaryWriter()
    with pytest.raises(CallStateError, match=r"call federant\.client\.init\(\) or federant\.join"):
        writer.add_scalar("loss", 1.0)
    remember(agent)
    assert joined_agent("test") is agent
    writer.add_scalar("loss", 1.0)
    assert read() == ("SCALAR", "loss", 1.0, None)


def test_a_writer_takes_what_init_returns(
    nobody_has_joined: None, job: Any, read: Callable[[], Any], new_pipe: Any
) -> None:
    agent = FlareAgentWithFLModel(new_pipe(), metric_pipe=new_pipe(), heartbeat_timeout=0)
    with APIContext(agent=agent) as context:
        agent.start()
        MLflowWriter(context).log_metric("loss", 0.5, step=2)
        record = job.read_metric()
        assert record.get_meta_prop("tracker_key") is LogWriterName.MLFLOW
        assert (record.data["track_value"], record.data["global_step"]) == (0.5, 2)


def test_a_process_that_does_not_talk_may_not_log(
    nobody_has_joined: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = APIContext(agent=Bystander("1"))
    with pytest.raises(ApiCallError, match="logging in the process of rank 1: only rank 0"):
        SummaryWriter(context).add_scalar("loss", 1.0)
    monkeypatch.setattr(api, "_default", context)
    with pytest.raises(ApiCallError, match="only rank 0"):
        SummaryWriter().add_scalar("loss", 1.0)


def test_flush_waits_until_the_client_job_has_read_all(job: Any, agent: FlareAgent) -> None:
    writer = SummaryWriter(agent)
    for number in range(20):
        writer.add_scalar("loss", float(number))
    writer.flush()
    assert agent.flush_metrics(0)


def test_flush_says_that_nobody_has_read_what_was_logged(
    new_agent: Callable[..., FlareAgent],
) -> None:
    agent = new_agent()
    agent.start()
    assert agent.flush_metrics(0)
    SummaryWriter(agent).add_scalar("loss", 1.0)
    assert not agent.flush_metrics(0)


def test_an_agent_without_metrics_has_nothing_to_flush(new_pipe: Any) -> None:
    with FlareAgent(new_pipe(), heartbeat_timeout=0) as agent:
        assert agent.flush_metrics(0)
