import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federant.client.errors import AgentPeerGoneException, JoinError
from federant.client.join import join
from federant.client.meeting_point import MeetingPoint, meeting_point
from federant.exchange import DXO, DataKind, HeaderKey, ReturnCode
from federant.pipe import FilePipe, LocalPipe, MemoryPipe, Message, Mode, PipeHandler, Topic
from federant.spool import SpoolError


def test_the_environment_of_a_client_job_says_where_to_connect() -> None:
    environment = {
        "FEDERANT_PIPE": "/run/job-7",
        "FEDERANT_TOKEN": "secret",
        "FEDERANT_SITE": "site-1",
        "FEDERANT_JOB": "job-7",
        "FEDERANT_HEARTBEAT_TIMEOUT": "120",
        "FEDERANT_SPOOL_BYTES": "1048576",
        "FEDERANT_JOIN": "/not/read",
    }
    assert meeting_point(None, environment) == MeetingPoint(
        Path("/run/job-7"), "secret", "site-1", "job-7", 120.0, 1 << 20
    )


def test_a_file_says_where_to_connect(tmp_path: Path) -> None:
    file = tmp_path / "join.toml"
    file.write_text(
        'pipe = "job-7"\ntoken = "secret"\nsite = "site-1"\njob = "job-7"\nspool_bytes = 4096\n'
    )
    expected = MeetingPoint(tmp_path / "job-7", "secret", "site-1", "job-7", None, 4096)
    assert meeting_point(None, {"FEDERANT_JOIN": str(file)}) == expected
    assert meeting_point(file, {"FEDERANT_PIPE": "/elsewhere"}) == expected


def test_a_shared_folder_is_joined_by_a_file_pipe(tmp_path: Path) -> None:
    file = tmp_path / "join.toml"
    file.write_text('pipe = "shared"\npipe_kind = "file"\n')
    for point in (
        meeting_point(file, {}),
        meeting_point(
            None, {"FEDERANT_PIPE": str(tmp_path / "shared"), "FEDERANT_PIPE_KIND": "file"}
        ),
    ):
        pipe = point.new_pipe()
        assert isinstance(pipe, FilePipe)
        assert pipe.root_path == tmp_path / "shared"
        assert pipe.mode is Mode.ACTIVE


def test_an_unknown_kind_of_pipe_is_refused_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "join.toml"
    file.write_text('pipe = "shared"\npipe_kind = "nfs"\n')
    for where, call in (
        ("join.toml: pipe_kind", lambda: meeting_point(file, {})),
        (
            "FEDERANT_PIPE_KIND",
            lambda: meeting_point(None, {"FEDERANT_PIPE": "p", "FEDERANT_PIPE_KIND": "nfs"}),
        ),
    ):
        with pytest.raises(
            JoinError, match=rf'{where} must be one of "local", "file", .*got .nfs.'
        ):
            call()


def test_a_process_that_nobody_started_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEDERANT_PIPE", "FEDERANT_JOIN", "FEDERANT_KIT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(JoinError, match="was not started by a client job") as refusal:
        join()
    for hint in (
        *("FEDERANT_PIPE", "FEDERANT_JOIN", "join(config=...)", "init(config_file=...)"),
        *("FEDERANT_KIT", "startup kit", "federant provision add-agent"),
        *("the site's file", 'start = "external"', "join.toml", "federant trainer check"),
    ):
        assert hint in str(refusal.value)


@pytest.mark.parametrize("named_by", ["the variable", "the argument"])
def test_a_folder_that_holds_the_file_says_where_to_connect(tmp_path: Path, named_by: str) -> None:
    (tmp_path / "join.toml").write_text('pipe = "pipe"\njob = "job-7"\n')
    expected = MeetingPoint(tmp_path / "pipe", job="job-7")
    if named_by == "the variable":
        assert meeting_point(None, {"FEDERANT_JOIN": str(tmp_path)}) == expected
    else:
        assert meeting_point(tmp_path, {}) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the key pipe, .* is missing"),
        ('pipe = ""', "the key pipe, .* is missing"),
        ("pipe = 7", "pipe must be a string, got 7"),
        ('pipe = "p"\ntokn = "x"', "unknown key 'tokn'"),
        ('pipe = "p"\nheartbeat_timeout = "long"', "heartbeat_timeout must be a number"),
        ('pipe = "p"\nspool_bytes = 0', "spool_bytes must be a number of bytes above 0, got 0"),
        ('pipe = "p"\nspool_bytes = "1 GB"', "spool_bytes must be a number of bytes"),
        ("pipe =", "cannot read where to connect"),
    ],
)
def test_a_file_that_is_not_right_is_refused_by_key(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "join.toml"
    file.write_text(text)
    with pytest.raises(JoinError, match=said) as refusal:
        meeting_point(file, {})
    assert str(file) in str(refusal.value)


@pytest.mark.parametrize("name", ["none.toml", ""])
def test_a_file_that_is_not_there_is_refused_with_what_writes_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(JoinError, match=r"\.toml: there is no such file. The client job writes it"):
        meeting_point(tmp_path / name, {})


def test_a_heartbeat_timeout_that_is_no_number_is_refused() -> None:
    environment = {"FEDERANT_PIPE": "/p", "FEDERANT_HEARTBEAT_TIMEOUT": "soon"}
    with pytest.raises(JoinError, match="must be a number of seconds, got 'soon'"):
        meeting_point(None, environment)


@pytest.mark.parametrize("size", ["0", "-1", "8 GiB", "1e9"])
def test_a_spool_limit_that_is_no_number_of_bytes_is_refused(size: str) -> None:
    environment = {"FEDERANT_PIPE": "/p", "FEDERANT_SPOOL_BYTES": size}
    with pytest.raises(JoinError, match=f"must be a number of bytes above 0, got '{size}'"):
        meeting_point(None, environment)


class ClientJob:
    """The passive ends of both channels in a folder, and a trainer process started for them."""

    def __init__(self, folder: Path, patience: float) -> None:
        self.folder = folder
        self.patience = patience
        self.pipes = {
            name: LocalPipe(Mode.PASSIVE, folder, "secret") for name in ("task", "metric")
        }
        self.handlers = {name: PipeHandler(pipe) for name, pipe in self.pipes.items()}
        for name, pipe in self.pipes.items():
            pipe.open(name)
            self.handlers[name].start()

    def start(self, program: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "FEDERANT_PIPE": str(self.folder),
            "FEDERANT_TOKEN": "secret",
            "FEDERANT_SITE": "site-1",
            "FEDERANT_JOB": "job-7",
        }
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send_task(self, task_id: str) -> None:
        shareable = DXO(DataKind.WEIGHTS, {"w": np.array([1.0, 2.0])}).to_shareable()
        shareable.set_header(HeaderKey.TASK_ID, task_id)
        task = Message.new_request("train", shareable, task_id)
        assert self.handlers["task"].send_to_peer(task, timeout=self.patience)

    def take(self, channel: str) -> Message:
        message = self.handlers[channel].wait_next(self.patience)
        assert message is not None
        self.handlers[channel].accept(message)
        return message

    def close(self) -> None:
        for handler in self.handlers.values():
            handler.stop()


@pytest.fixture
def client_job(tmp_path: Path, patience: float) -> Any:
    job = ClientJob(tmp_path / "pipe", patience)
    yield job
    job.close()


def test_a_trainer_of_four_lines_takes_part(client_job: ClientJob, patience: float) -> None:
    trainer = client_job.start(
        """
        from federant.client import join
        from federant.exchange import AnalyticsDataType, create_analytic_dxo
        agent = join()
        for task in agent.tasks():
            task.data.data["w"] += 1.0
            agent.log(create_analytic_dxo("loss", 0.5, AnalyticsDataType.SCALAR))
            assert agent.submit_result(task.data)
        print(agent.site_name, agent.job_id)
        """
    )
    for number in range(3):
        client_job.send_task(f"task-{number}")
        reply = client_job.take("task")
        assert reply.req_id == f"task-{number}"
        np.testing.assert_array_equal(reply.data["DXO"]["data"]["w"], [2.0, 3.0])
        assert client_job.take("metric").data.data["track_value"] == 0.5
    client_job.handlers["task"].notify_end("end_of_job")
    out, err = trainer.communicate(timeout=patience)
    assert (trainer.returncode, out, err) == (0, "site-1 job-7\n", "")


def test_a_trainer_that_crashes_tells_why_and_says_goodbye(
    client_job: ClientJob, patience: float
) -> None:
    trainer = client_job.start(
        """
        from federant.client import join
        agent = join()
        for task in agent.tasks():
            raise ZeroDivisionError("no examples")
        """
    )
    client_job.send_task("task-1")
    reply = client_job.take("task")
    assert reply.data.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert "ZeroDivisionError: no examples" in reply.data.get_header(HeaderKey.ERROR)
    _, err = trainer.communicate(timeout=patience)
    assert trainer.returncode == 1
    assert "ZeroDivisionError: no examples" in err
    news = client_job.take("task")
    assert news.topic == Topic.PEER_GONE
    assert news.data["clean"] is True


def test_the_agent_does_not_keep_a_trainer_alive_that_has_finished(
    client_job: ClientJob, patience: float
) -> None:
    trainer = client_job.start("from federant.client import join; join()")
    assert trainer.communicate(timeout=patience) == ("", "")
    assert trainer.returncode == 0


def test_an_agent_of_ones_own_class_and_options_can_join(
    client_job: ClientJob, patience: float
) -> None:
    trainer = client_job.start(
        """
        import json
        from federant.client import FlareAgent, join
        class Mine(FlareAgent):
            def shareable_to_task_data(self, shareable):
                return sorted(shareable)
        agent = join(agent_class=Mine, submit_result_timeout=7.0)
        print(json.dumps([agent.submit_result_timeout, agent.get_task().data]))
        agent.submit_result(None)
        """
    )
    client_job.send_task("task-1")
    client_job.take("task")
    out, err = trainer.communicate(timeout=patience)
    assert json.loads(out) == [7.0, ["DXO", "__headers__"]], err


@pytest.fixture
def join_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a site wrote; join() may be called here, its hook for crashes goes with the test."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    file = tmp_path / "join.toml"
    file.write_text('pipe = "pipe"\nsite = "site-1"\njob = "job-7"\nheartbeat_timeout = 30\n')
    return file


def test_an_override_out_of_range_is_refused(join_file: Path) -> None:
    with pytest.raises(ValueError, match="heartbeat_interval"):
        join(join_file, heartbeat_interval=-1)


def test_overrides_take_the_place_of_what_the_site_says(join_file: Path) -> None:
    own_pipe = MemoryPipe("mine")
    with join(join_file, pipe=own_pipe, site_name="lab", job_id="trial") as agent:
        assert agent.pipe is own_pipe
        assert (agent.site_name, agent.job_id) == ("lab", "trial")
        assert isinstance(agent.metric_pipe, LocalPipe)


@pytest.mark.parametrize("absent", ["pipe", "metric_pipe"])
def test_an_agent_may_join_one_channel_only(join_file: Path, absent: str) -> None:
    with join(join_file, **{absent: None}) as agent:  # type: ignore[call-overload]
        assert getattr(agent, absent) is None
        assert agent.site_name == "site-1"


def test_a_heartbeat_timeout_of_ones_own_is_kept_to(join_file: Path) -> None:
    with (
        join(join_file, heartbeat_timeout=0.05) as agent,  # nobody is at the other end
        pytest.raises(AgentPeerGoneException, match=r"no sign of life for 0\.05 s"),
    ):
        agent.get_task()


def test_a_result_beyond_the_spool_limit_of_the_site_is_refused(
    client_job: ClientJob, join_file: Path, background: Any, patience: float
) -> None:
    with join_file.open("a") as file:
        file.write('token = "secret"\nspool_bytes = 1048576\n')
    with join(join_file) as agent:
        client_job.send_task("task-1")
        assert agent.get_task() is not None
        with pytest.raises(SpoolError, match=r"raise its limit \(spool_bytes\)"):
            agent.submit_result(DXO(DataKind.WEIGHTS, {"w": np.zeros(1 << 20)}))
        waiting = background(agent.submit_result, None)  # the task is still current
        client_job.take("task")
        assert waiting.result(patience) is True
