import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federant.client.flare_agent import FlareAgent
from federant.client.last_words import hear_crashes, last_words
from federant.exchange import HeaderKey, ReturnCode


def crash_with(agent: FlareAgent, error: BaseException) -> None:
    with agent:
        assert agent.get_task() is not None
        raise error


def test_a_crash_with_a_task_in_hand_tells_the_client_job_the_traceback(
    job: Any, new_agent: Callable[..., FlareAgent], background: Any, patience: float
) -> None:
    job_done = background(crash_with, new_agent(), ZeroDivisionError("batch size"))
    job.send_task("task-1")
    reply = job.take_result()
    assert reply.req_id == "task-1"
    assert reply.data.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    text = reply.data.get_header(HeaderKey.ERROR)
    assert text.startswith("Traceback")
    assert "ZeroDivisionError: batch size" in text
    assert isinstance(job_done.exception(patience), ZeroDivisionError)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(0), SystemExit(None)])
def test_leaving_on_purpose_is_no_crash(
    job: Any,
    new_agent: Callable[..., FlareAgent],
    patience: float,
    error: BaseException,
) -> None:
    agent = new_agent()
    agent.start()
    job.send_task()
    with pytest.raises(type(error)):
        crash_with(agent, error)
    news = job.tasks.wait_next(patience)
    assert news.topic == "_PEER_GONE_"


def test_a_crash_without_a_task_has_nobody_to_tell(
    new_agent: Callable[..., FlareAgent],
) -> None:
    with pytest.raises(ValueError, match="before the first task"), new_agent():
        raise ValueError("before the first task")


def test_last_words_are_the_end_of_a_long_traceback_and_always_a_text(
    job: Any, new_agent: Callable[..., FlareAgent], background: Any, patience: float
) -> None:
    error = ValueError("x" * 100_000 + "\udcff the end")
    job_done = background(crash_with, new_agent(), error)
    job.send_task("task-1")
    text = job.take_result().data.get_header(HeaderKey.ERROR)
    assert len(text) == 16 * 1024
    assert text.rstrip().endswith("? the end")
    assert job_done.exception(patience) is error


def test_an_exit_status_is_a_crash() -> None:
    assert "SystemExit: 3" in last_words(SystemExit(3))


def test_a_process_that_does_not_talk_leaves_its_words_beside_the_pipe(tmp_path: Path) -> None:
    code = "import federant.client as flare; flare.init(); raise ValueError('bad batch')"
    environment = {"FEDERANT_PIPE": str(tmp_path), "RANK": "1", "WORLD_SIZE": "2"}
    crashed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ValueError: bad batch" in crashed.stderr
    (words,) = (tmp_path / "last_words").iterdir()
    text = words.read_text()
    assert text.startswith("rank 1, process ")
    assert text.rstrip().endswith("ValueError: bad batch")


def test_a_crash_is_heard_after_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    monkeypatch.setattr(sys, "excepthook", lambda *_: happened.append("shown"))
    hear_crashes(lambda error: happened.append(str(error)))
    error = ValueError("boom")
    sys.excepthook(ValueError, error, None)
    assert happened == ["shown", "boom"]
