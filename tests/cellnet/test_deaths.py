"""Cells, relays and trainers are killed, and connections cut; real processes, real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.client import AgentEndException, FlareAgent
from federant.client.flare_agent import FlareAgentWithCellPipe
from federant.exchange import DXO, DataKind, from_shareable
from federant.pipe import CellPipe, Message, Mode, PeerGoneError, PipeBusyError, PipeHandler
from federant.testing.peer_process import PeerProcess
from federant.testing.two_ends import (
    LONG,
    METRIC,
    TASK,
    in_thread,
    next_of,
    pass_on,
    receive,
    request,
)

NewPipe = Callable[..., CellPipe]


def wait_until(what: str, look: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG
    while not look():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process has not ended, be it waited for or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


class RestartedRelay:
    """A relay that can go and come back at its address."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        admission = Admission("site-1", None)
        self._relay = RelayThread("site-1", "127.0.0.1", self.port, admission, None)
        self.port = self._relay.port

    def stop(self) -> None:
        self._relay.stop()


def test_calls_that_wait_survive_the_death_of_the_relay(new_cell_pipe: NewPipe) -> None:
    relay = RestartedRelay()
    agent, job = (new_cell_pipe(mode, relay.url) for mode in (Mode.ACTIVE, Mode.PASSIVE))
    agent.open(TASK)
    job.open(TASK)
    pass_on(agent, job, request())
    values = np.arange(3_000_000.0)
    receiving = in_thread(receive, job)
    relay.stop()
    sending = in_thread(agent.send, Message.new_request("train", values), LONG)
    relay.start()
    np.testing.assert_array_equal(receiving.result(LONG).data, values)
    assert sending.result(LONG) is True
    agent.close()
    job.close()
    relay.stop()


def test_a_cell_that_was_killed_is_started_again_and_its_peer_hears_of_it(
    new_cell_pipe: NewPipe,
) -> None:
    agent, job = new_cell_pipe(Mode.ACTIVE), new_cell_pipe(Mode.PASSIVE)
    agent.open(TASK)
    job.open(TASK)
    pass_on(agent, job, request())
    killed = agent.cell_pid
    os.kill(killed, signal.SIGKILL)
    in_thread(agent.receive, LONG)  # somebody waits there, and connects again
    with pytest.raises(PeerGoneError) as gone:
        receive(job)
    assert not gone.value.clean
    assert agent.cell_pid != killed
    sending = in_thread(job.send, request(2), LONG)
    assert sending.result(LONG) is True


@pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.PASSIVE])
def test_a_cell_ends_with_its_owner(new_cell_pipe: NewPipe, mode: Mode) -> None:
    pipe = new_cell_pipe(mode)
    pipe.open(TASK)
    cell = pipe.cell_pid
    pipe.close()
    wait_until("the cell's end", lambda: not is_running(cell))


def test_a_cell_ends_with_a_trainer_that_was_killed(new_cell_pipe: NewPipe) -> None:
    job = new_cell_pipe(Mode.PASSIVE)
    job.open(TASK)
    trainer = PeerProcess(job, TASK)
    (cell,) = children_of(trainer.pid)
    trainer.kill()
    trainer.end()
    wait_until("the cell's end", lambda: not is_running(cell))


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_child_that_outlives_its_trainer_does_not_hold_its_cell(new_cell_pipe: NewPipe) -> None:
    job = new_cell_pipe(Mode.PASSIVE)
    job.open(TASK)
    _, arguments = job.export("PEER")
    code = (
        "import os, sys, json, time, federant.pipe\n"
        "pipe = federant.pipe.CellPipe(**json.loads(sys.argv[1]))\n"
        "pipe.open('task')\n"
        "if os.fork() == 0: time.sleep(60)\n"
        "pipe.send(federant.pipe.Message.new_request('train', None), 20)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    trainer = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(arguments)], start_new_session=True
    )
    try:
        receive(job)
        with pytest.raises(PeerGoneError):
            receive(job)
    finally:
        trainer.wait(LONG)
        os.killpg(trainer.pid, signal.SIGKILL)


def test_a_peer_whose_cell_stays_away_counts_as_dead(new_cell_pipe: NewPipe) -> None:
    relay = RestartedRelay()
    agent = new_cell_pipe(Mode.ACTIVE, relay.url)
    job = new_cell_pipe(Mode.PASSIVE, relay.url, peer_timeout=0.5)
    agent.open(TASK)
    job.open(TASK)
    pass_on(agent, job, request())
    relay.stop()
    with pytest.raises(PeerGoneError) as gone:
        receive(job)
    assert not gone.value.clean
    relay.start()
    receiving = in_thread(agent.receive, LONG)
    assert job.send(request(7), LONG) is True  # to the same agent, in another session
    message = receiving.result(LONG)
    assert message is not None
    assert message.data["number"] == 7
    agent.close()
    job.close()
    relay.stop()


def test_a_second_live_agent_of_one_id_is_told_who_holds_it(new_cell_pipe: NewPipe) -> None:
    first, second = new_cell_pipe(Mode.ACTIVE), new_cell_pipe(Mode.ACTIVE)
    first.open(TASK)
    with pytest.raises(PipeBusyError) as busy:
        second.open(TASK)
    assert f"is held by process {os.getpid()} on" in str(busy.value)
    assert f"since {time.strftime('%Y-')}" in str(busy.value)
    assert "use another agent_id" in str(busy.value)
    first.close()
    second.open(TASK)


def test_an_agent_whose_cell_stalls_while_another_asks_for_its_id_keeps_it(
    new_cell_pipe: NewPipe, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = new_cell_pipe(Mode.ACTIVE), new_cell_pipe(Mode.ACTIVE)
    first.open(TASK)
    os.kill(first.cell_pid, signal.SIGSTOP)
    try:
        second.open(TASK)
    finally:
        os.kill(first.cell_pid, signal.SIGCONT)
    assert f"is held by process {os.getpid()}" in caplog.text
    assert "whose cell does not answer just now" in caplog.text
    with pytest.raises(PipeBusyError):
        second.reach_relay(LONG)


def test_an_agent_with_a_cell_pipe_serves_a_client_job(
    new_cell_pipe: NewPipe, plain_relay: str
) -> None:
    tasks, metrics = new_cell_pipe(Mode.PASSIVE), new_cell_pipe(Mode.PASSIVE)
    tasks.open(TASK)
    metrics.open(METRIC)
    handler, metric_handler = PipeHandler(tasks), PipeHandler(metrics)
    handler.start()
    metric_handler.start()
    agent = FlareAgentWithCellPipe(
        agent_id=tasks.token,
        site_name="site-1",
        root_url=plain_relay,
        secure_mode=False,
        workspace_dir="",
        has_metrics=True,
    )
    assert isinstance(agent, FlareAgent)
    with agent:
        weights = DXO(DataKind.WEIGHTS, {"w": np.ones(200_000)})
        sent = in_thread(
            handler.send_to_peer, Message.new_request("train", weights.to_shareable()), LONG
        )
        task = agent.get_task(timeout=LONG)
        assert task is not None
        assert sent.result(LONG) is True
        assert agent.log(DXO(DataKind.ANALYTIC, {"value": 0.5}))
        assert next_of(metric_handler).data is not None
        submitted = in_thread(
            agent.submit_result, DXO(DataKind.WEIGHTS, {"w": task.data.data["w"] + 1})
        )
        reply = next_of(handler)
        np.testing.assert_array_equal(from_shareable(reply.data).data["w"], np.full(200_000, 2.0))
        handler.accept(reply)
        assert submitted.result(LONG) is True
        handler.notify_end("done")
        with pytest.raises(AgentEndException):
            agent.get_task(timeout=LONG)
    handler.stop()
    metric_handler.stop()


def test_the_agent_s_process_needs_no_network_library() -> None:
    code = (
        "import sys, federant.pipe, federant.client\n"
        "federant.pipe.CellPipe('ACTIVE', 'a', 'b', 'http://127.0.0.1:1', secure_mode=False)\n"
        "print(sorted({'websockets', 'ssl', 'asyncio', 'urllib3', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_secret_is_in_a_cells_arguments(new_cell_pipe: NewPipe) -> None:
    pipe = new_cell_pipe(Mode.ACTIVE)
    pipe.open(TASK)
    words = Path(f"/proc/{pipe.cell_pid}/cmdline").read_bytes().split(b"\0")
    assert words[1:] == [b"-P", b"-m", b"federant.cellnet.cell", b""]
