"""nvflare 2.7.3 itself is at the other end of a FilePipe: its client job's, and its trainer's.

It is run by an interpreter of its own, named by FEDERANT_NVFLARE_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant import DXO, DataKind, MetaKey
from federant.client.flare_agent import AgentEndException, AgentPeerGoneException, FlareAgent
from federant.exchange import AnalyticsDataType, Shareable, create_analytic_dxo
from federant.link.messages import JobState
from federant.pipe import FileLayout, FilePipe, Mode, StoredFrame
from federant.site.attempt import ExchangeLimits
from federant.site.exchanger import SiteTask, TaskExchanger
from federant.site.journal import Journal, StoredResult
from federant.site.metrics import MetricRelay

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PYTHON = Path(
    os.environ.get("FEDERANT_NVFLARE_PYTHON") or ROOT / ".venv-nvflare" / "bin" / "python"
)
LONG = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(),
        reason=f"needs nvflare==2.7.3 in an environment of its own: there is no {PYTHON}; make one "
        "there, or name its interpreter in FEDERANT_NVFLARE_PYTHON",
    ),
]

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """run(script, *arguments) starts one of the scripts beside this file under nvflare's python."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(PYTHON), str(HERE / script), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# -- federant's agent, nvflare's client job --------------------------------------------------------


def said(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """All that the client job has to say, to its end."""
    assert process.stdout is not None
    return [json.loads(text) for text in process.stdout if text.startswith("{")]


@pytest.mark.parametrize("length", [1000, 4_000_000])
def test_our_agent_serves_nvflares_task_exchanger(run: Run, tmp_path: Path, length: int) -> None:
    root = tmp_path / "pipe"
    rounds = 3
    job = run("nvflare_client_job.py", root, rounds, length)
    assert json.loads(line(job)) == {"open": True}
    agent = FlareAgent(
        FilePipe(Mode.ACTIVE, root, 0.02, layout=FileLayout.NVFLARE),
        metric_pipe=FilePipe(Mode.ACTIVE, root, 0.02, layout=FileLayout.NVFLARE),
        heartbeat_interval=1.0,
    )
    with agent, ThreadPoolExecutor(1) as pool:
        rest = pool.submit(said, job)
        for number in range(rounds):
            task = agent.get_task(LONG)
            assert task is not None
            assert (task.task_name, task.task_id) == ("train", f"task-{number}")
            assert task.data.data_kind is DataKind.WEIGHTS
            assert task.data.get_meta_prop(MetaKey.CURRENT_ROUND) == number
            assert task.data.get_meta_prop(MetaKey.TOTAL_ROUNDS) == rounds
            assert task.data.data["names"] == ["a", "b"]
            weights = task.data.data["w"]
            assert weights.shape == (length,)
            agent.log(create_analytic_dxo("loss", 0.5 + number, AnalyticsDataType.SCALAR))
            # Its relay begins anew with each task, and may lose what it has not read by then.
            assert agent.flush_metrics(LONG)
            weights += 1
            meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: 7}
            assert agent.submit_result(DXO(DataKind.WEIGHTS, {"w": weights}, meta)) is True
        with pytest.raises((AgentEndException, AgentPeerGoneException)):
            agent.get_task(LONG)
        facts = rest.result(LONG)
    results = [fact for fact in facts if "rc" in fact]
    assert [fact["rc"] for fact in results] == ["OK"] * rounds
    assert [fact["mean"] for fact in results] == [1.0, 2.0, 3.0]
    assert [fact["round"] for fact in results] == [0, 1, 2]
    assert {fact["dtype"] for fact in results} == {"float32"}
    assert results[0]["kind"] == "WEIGHTS"
    assert results[0]["meta"] == {"NUM_STEPS_CURRENT_ROUND": 7}
    metrics = [(fact["tag"], fact["metric"]) for fact in facts if "metric" in fact]
    assert metrics == [("loss", 0.5), ("loss", 1.5), ("loss", 2.5)]


def test_our_agents_failure_reaches_nvflares_task_exchanger(run: Run, tmp_path: Path) -> None:
    job = run("nvflare_client_job.py", tmp_path, 1, 10)
    assert json.loads(line(job)) == {"open": True}
    with FlareAgent(
        FilePipe(Mode.ACTIVE, tmp_path, 0.02, layout=FileLayout.NVFLARE), heartbeat_interval=1.0
    ) as agent:
        assert agent.get_task(LONG) is not None
        assert agent.submit_result(None, rc="EXECUTION_EXCEPTION") is True
        assert json.loads(line(job)) == {"rc": "EXECUTION_EXCEPTION"}


# -- nvflare's agent, federant's client job --------------------------------------------------------


class Outside:
    """A trainer that somebody else started."""

    external = True
    one_task = False
    replaceable = False
    many_crashed = False
    exit = None

    def ensure(self) -> None: ...

    def retire(self) -> None: ...

    def kill(self) -> None: ...

    def last_words(self) -> str:
        return ""


def test_nvflares_agent_serves_our_client_job(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "pipe"
    root.mkdir()
    results: list[tuple[StoredResult, StoredFrame | None]] = []
    losses: list[float | None] = []
    all_losses_came = threading.Event()

    def on_events(events: Any) -> None:
        losses.extend(event.value for event in events if event.tag == "loss")
        if len(losses) == 3:
            all_losses_came.set()

    layout = FileLayout.NVFLARE
    tasks = FilePipe(
        Mode.PASSIVE, root, 0.02, layout=layout, defer=True, taken_folder=tmp_path / "taken"
    )
    metrics = FilePipe(Mode.PASSIVE, root, 0.02, layout=layout)
    journal = Journal(tmp_path / "journal.db")
    exchanger = TaskExchanger(
        tasks,
        journal,
        Outside(),
        job_id="job-1",
        site_name="site-1",
        on_result=lambda result, frame: results.append((result, frame)),
        on_status=lambda *_: None,
        limits=ExchangeLimits(heartbeat_interval=1.0),
    )
    relay = MetricRelay(metrics, on_events, heartbeat_interval=1.0)
    exchanger.start()
    relay.start()
    trainer = run("nvflare_trainer.py", root, 1.0)
    assert line(trainer) == "started"
    weights = np.zeros(20_000, np.float32)
    try:
        for number in range(3):
            body = DXO(DataKind.WEIGHTS, {"w": weights}).to_shareable()
            task = SiteTask(f"task-{number}", 1, "train", {"current_round": number})
            result = exchanger.execute(task, lambda body=body: body)
            assert result is not None
            assert result.rc == "OK", result.headers
            stored, frame = results[-1]
            assert stored.path is not None
            assert frame is not None
            assert stored.path.parent == tmp_path / "taken"
            data = frame.open()
            assert isinstance(data, Shareable)
            weights = data["DXO"]["data"]["w"]
            frame.release()
            assert line(trainer) == f"train {number} True True"
        assert all_losses_came.wait(LONG)
    finally:
        exchanger.stop()
        exchanger.close()
        relay.close()
        journal.close()
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, np.full(20_000, 1.75, np.float32))
    assert losses == [1.0, 1 / 2, 1 / 3]
    assert trainer.wait(LONG) == 0
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_site_serves_a_trainer_that_still_runs_nvflares_agent(
    run: Run, server: Any, until: Any
) -> None:
    site = server.site('start = "external"\npipe = "nvflare-file"\npipe_folder = "shared"')
    trainer = run("nvflare_trainer.py", site.folder / "shared", site.step)
    assert line(trainer) == "started"
    job = server.submit(rounds=3)
    view = server.finish(job)
    assert view.state is JobState.FINISHED, view.error
    assert server.model(job) == server.expected(3)
    assert [line(trainer) for _ in range(3)] == [f"train {n} True True" for n in range(3)]
    assert trainer.wait(LONG) == 0
    until("its metrics", lambda: [e.value for e in job.events().events if e.tag == "loss"])
    until("the end at the site", (site.job_folder() / "ended.json").exists)
