"""What a pipe between processes makes of an agent that is killed, and of a process that forks."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from federant.pipe import FilePipe, LocalPipe, Message, Mode, PeerGoneError, Pipe, StoredFrame
from federant.testing.two_ends import LONG, pass_on

WEIGHTS = np.arange(100_000, dtype=np.float32)

MakePipe = Callable[..., Pipe]


@pytest.fixture(params=[FilePipe, LocalPipe], ids=["file", "local"])
def make(
    request: pytest.FixtureRequest, opened: Callable[[Pipe], Pipe], tmp_path: Path
) -> MakePipe:
    """make(mode, **arguments) gives an open pipe."""
    return lambda mode, **arguments: opened(request.param(mode, tmp_path / "pipe", **arguments))


def large(number: int = 0) -> Message:
    return Message.new_request("train", {"w": WEIGHTS + number})


@pytest.mark.parametrize("defer", [False, True])
def test_a_large_result_outlives_the_kill_of_its_agent_and_leaves_no_file(
    make: MakePipe,
    pool: ThreadPoolExecutor,
    killed_agent: Callable[..., None],
    tmp_path: Path,
    defer: bool,
) -> None:
    job = make(Mode.PASSIVE, defer=defer)
    receiving = pool.submit(job.receive, LONG)
    killed_agent(job)
    received = receiving.result(LONG)
    assert received is not None
    with pytest.raises(PeerGoneError) as gone:
        job.receive(LONG)
    assert not gone.value.clean
    if defer:
        assert isinstance(received.data, StoredFrame)
        np.testing.assert_array_equal(received.data.open()["w"], WEIGHTS)
        received.data.release()
    else:
        np.testing.assert_array_equal(received.data["w"], WEIGHTS)
    job.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_agents_death_is_news_at_once_though_its_forked_child_lives(
    make: MakePipe, pool: ThreadPoolExecutor, killed_agent: Callable[..., None]
) -> None:
    job = make(Mode.PASSIVE)
    receiving = pool.submit(job.receive, LONG)
    killed_agent(job, "fork")
    assert receiving.result(LONG) is not None
    with pytest.raises(PeerGoneError, match=r"is dead|without a goodbye"):
        job.receive(LONG)


def test_a_forked_child_cannot_use_the_pipe_of_its_parent(make: MakePipe) -> None:
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    pass_on(agent, job, large(1))
    child = os.fork()
    if child == 0:
        broken = 0
        for call in (lambda: agent.send(large(), 0), lambda: agent.receive(0), agent.clear):
            try:
                call()
            except BrokenPipeError:
                broken += 1
        agent.close()
        os._exit(0 if broken == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert pass_on(agent, job, large(2)).data["w"][0] == 2
