import math

import pytest

from federant.client.flare_agent import FlareAgent
from federant.pipe import MemoryPipe


def test_an_agent_without_any_pipe_is_refused() -> None:
    with pytest.raises(RuntimeError, match="needs a pipe for tasks, a metric_pipe, or both"):
        FlareAgent()


@pytest.mark.parametrize("name", ["pipe", "metric_pipe"])
def test_what_is_no_pipe_is_refused_by_name(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a Pipe or None, got '/tmp/pipe' of type"):
        FlareAgent(**{"pipe": MemoryPipe("t"), name: "/tmp/pipe"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("read_interval", 0),
        ("read_interval", -1.0),
        ("heartbeat_interval", 0),
        ("heartbeat_timeout", -1),
        ("heartbeat_timeout", 5.0),
        ("heartbeat_timeout", math.nan),
        ("resend_interval", -1),
        ("resend_interval", 0),
        ("max_resends", -1),
        ("submit_result_timeout", 0),
        ("submit_result_timeout", math.inf),
        ("submit_result_timeout", 10**400),
    ],
)
def test_a_number_out_of_range_is_refused_by_name_and_value(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be .*, got {value}"):
        FlareAgent(MemoryPipe("t"), **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("read_interval", "0.1", "a finite number above 0, got '0.1' of type str"),
        ("heartbeat_interval", True, "a finite number above 0, got True of type bool"),
        ("heartbeat_timeout", None, "a finite number of at least 0, got None of type NoneType"),
        ("resend_interval", "2", "a finite number above 0, or None, got '2' of type str"),
        ("max_resends", "many", "an int of at least 0, or None, got 'many' of type str"),
        ("max_resends", 1.5, "an int of at least 0, or None, got 1.5 of type float"),
        ("submit_result_timeout", None, "a finite number above 0, got None of type NoneType"),
        ("close_pipe", "no", "True or False, got 'no' of type str"),
        ("close_metric_pipe", 0, "True or False, got 0 of type int"),
        ("site_name", None, "a str, got None of type NoneType"),
        ("job_id", 7, "a str, got 7 of type int"),
        ("task_channel_name", None, "1 to 64 of the characters a-z A-Z 0-9 _, got None of type"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name_and_what_is_allowed(
    name: str, value: object, text: str
) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be {text}"):
        FlareAgent(MemoryPipe("t"), **{name: value})


@pytest.mark.parametrize("name", ["task_channel_name", "metric_channel_name"])
@pytest.mark.parametrize("value", ["", "a-b", "a\n", "c" * 65])
def test_a_channel_name_is_one_that_every_pipe_can_have(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be 1 to 64 of the characters a-z"):
        FlareAgent(MemoryPipe("t"), **{name: value})


def test_two_pipes_have_two_channels() -> None:
    names = {"task_channel_name": "one", "metric_channel_name": "one"}
    with pytest.raises(ValueError, match=r"^metric_channel_name must differ .* got 'one' for both"):
        FlareAgent(MemoryPipe("t"), metric_pipe=MemoryPipe("m"), **names)
    FlareAgent(MemoryPipe("t"), **names)
    FlareAgent(metric_pipe=MemoryPipe("m"), **names)
