"""FilePipe in nvflare's layout, both ends ours: names, receipts, and what no peer can be told."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from federant import DXO, DataKind
from federant.codec import fobs
from federant.pipe import (
    FileLayout,
    FilePipe,
    Message,
    Mode,
    Outcome,
    PeerGoneError,
    PipeHandler,
    StoredFrame,
    Topic,
)
from federant.testing.two_ends import LONG, SHORT, pass_on, receive, request

WEIGHTS = np.arange(100_000, dtype=np.float32)

MakePipe = Callable[..., FilePipe]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "pipe"


@pytest.fixture
def make(opened: Callable[[FilePipe], FilePipe], root: Path) -> MakePipe:
    """make(mode, **arguments) gives an open pipe."""
    return lambda mode, **arguments: opened(
        FilePipe(mode, root, 0.02, layout=FileLayout.NVFLARE, **arguments)
    )


@pytest.fixture
def agent(make: MakePipe) -> FilePipe:
    return make(Mode.ACTIVE)


@pytest.fixture
def job(make: MakePipe) -> FilePipe:
    return make(Mode.PASSIVE)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_message_is_a_file_of_its_name_in_the_peers_folder(
    agent: FilePipe, job: FilePipe, root: Path
) -> None:
    assert agent.send(Message.new_reply("train", {"a": 1}, "task-1", "id-1"), 0)
    assert job.send(Message.new_request("train", WEIGHTS, "task-2"), 0)
    assert names(root / "task" / "y") == ["REP.train.task-1.id-1"]
    assert names(root / "task" / "x") == ["REQ.train.task-2"]
    assert names(root / "task" / "t") == []
    assert fobs.load((root / "task/y/REP.train.task-1.id-1").read_bytes()) == {"a": 1}
    answer, task = receive(job), receive(agent)
    assert (answer.msg_type, answer.topic, answer.req_id, answer.msg_id) == (
        *("REP", "train", "task-1", "id-1"),
    )
    assert (task.msg_type, task.topic, task.req_id, task.msg_id) == ("REQ", "train", None, "task-2")
    np.testing.assert_array_equal(task.data, WEIGHTS)
    assert task.sent_time is not None
    assert names(root / "task" / "x") == names(root / "task" / "y") == []


def test_send_is_true_only_when_the_file_was_taken(
    agent: FilePipe, job: FilePipe, root: Path
) -> None:
    assert agent.send(request(1), SHORT) is False
    assert names(root / "task" / "y") == []
    assert pass_on(agent, job, request(2)).data == {"number": 2}
    assert job.receive(SHORT) is None


def test_messages_come_in_the_order_in_which_they_were_sent(agent: FilePipe, job: FilePipe) -> None:
    for number in range(50):
        assert agent.send(request(number), 0)
    assert [receive(job).data["number"] for _ in range(50)] == list(range(50))


def test_a_withdrawn_message_is_taken_back(
    agent: FilePipe, job: FilePipe, root: Path, pool: ThreadPoolExecutor
) -> None:
    message = request()
    sending = pool.submit(agent.send, message, LONG)
    while not names(root / "task" / "y"):
        assert not sending.done()
    message.withdrawn = True
    agent.wake()
    assert sending.result(LONG) is False
    assert job.receive(SHORT) is None


@pytest.mark.parametrize("msg_id", ["a.b", "a/b", "x" * 101])
def test_an_id_that_is_no_part_of_a_files_name_is_a_type_error(
    agent: FilePipe, msg_id: str
) -> None:
    with pytest.raises(TypeError, match="without a dot or a slash"):
        agent.send(Message.new_request("train", None, msg_id), 0)


def test_data_that_has_no_type_there_is_a_type_error_and_leaves_nothing(
    agent: FilePipe, root: Path
) -> None:
    with pytest.raises(TypeError, match=r"\['x'\] is of type object"):
        agent.send(Message.new_request("train", {"x": object()}), 0)
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_junk_is_set_aside_and_the_pipe_goes_on(agent: FilePipe, job: FilePipe, root: Path) -> None:
    inbox = root / "task" / "y"
    (inbox / "REQ.train.id").write_bytes(b"no FOBS")
    (inbox / "README").write_text("what is this folder?")
    (inbox / "REQ.a.b.c.d").touch()
    (inbox / "REP.train.x.y").mkdir()
    (inbox / "REQ.train.passwd").symlink_to("/etc/passwd")
    os.mkfifo(inbox / "REQ.train.fifo")
    assert agent.send(request(7), 0)
    assert receive(job).data == {"number": 7}
    assert names(inbox) == []
    assert len(names(root / "task" / "quarantine")) >= 5


def test_a_folder_that_cannot_be_used_for_a_moment_ends_nothing(
    agent: FilePipe, job: FilePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, *_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    for number, (owner, name) in enumerate([(os, "scandir"), (Path, "rename")]):
        assert agent.send(request(number), 0)
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, failing)
            assert job.receive(SHORT) is None
        assert receive(job).data == {"number": number}


def test_clear_drops_what_waits(agent: FilePipe, job: FilePipe) -> None:
    assert agent.send(request(1), 0)
    job.clear()
    assert pass_on(agent, job, request(2)).data == {"number": 2}


def test_what_is_read_counts_as_accepted_and_nobody_is_answered(
    agent: FilePipe, job: FilePipe, root: Path, pool: ThreadPoolExecutor
) -> None:
    assert not agent.can_answer()
    assert not agent.can_resend()
    trainer, client_job = PipeHandler(agent), PipeHandler(job)
    trainer.start()
    client_job.start()
    try:
        delivered = pool.submit(trainer.deliver, request(), LONG)
        received = client_job.wait_next(LONG)
        assert received is not None
        assert delivered.result(LONG).outcome is Outcome.ACCEPTED
        assert client_job.refuse(received, "ERROR", "not wanted") is True
        assert job.send(Message.new_request(Topic.CANCEL, {"task_id": "1"}), 0) is True
        assert [name for name in names(root / "task" / "x") if "HEARTBEAT" not in name] == []
    finally:
        trainer.stop()
        client_job.stop()


def test_heartbeats_that_nobody_reads_do_not_pile_up(agent: FilePipe, root: Path) -> None:
    for _ in range(5):
        assert agent.send(Message.new_request(Topic.HEARTBEAT, None), 0)
    assert len(names(root / "task" / "y")) == 1
    agent.close()
    assert list(root.rglob("REQ.*")) == []


def test_the_agent_learns_that_the_client_job_has_closed(agent: FilePipe, job: FilePipe) -> None:
    pass_on(agent, job, request())
    job.close()
    with pytest.raises(PeerGoneError, match="has taken the channel down") as gone:
        agent.receive(LONG)
    assert gone.value.clean
    assert agent.receive(SHORT) is None


def test_an_agent_that_falls_silent_counts_as_dead_once(make: MakePipe, agent: FilePipe) -> None:
    job = make(Mode.PASSIVE, peer_timeout=0.3)
    assert job.receive(SHORT) is None  # one that was never there is not missed
    pass_on(agent, job, request(1))
    with pytest.raises(PeerGoneError, match=r"was silent for 0\.3 s"):
        job.receive(LONG)
    assert job.receive(0.5) is None
    assert pass_on(agent, job, request(2)).data == {"number": 2}


def test_a_large_result_becomes_a_frame_in_a_file_of_the_client_job(
    make: MakePipe, agent: FilePipe, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    job = make(Mode.PASSIVE, defer=True, taken_folder=taken)
    result = DXO(DataKind.WEIGHTS, {"w": WEIGHTS}).to_shareable()
    data = pass_on(agent, job, Message.new_reply("train", result, "task-1")).data
    assert isinstance(data, StoredFrame)
    assert data.path is not None
    job.close()
    (taken / "forgotten").touch()
    make(Mode.PASSIVE, defer=True, taken_folder=taken, keep=[data.path]).close()
    assert names(taken) == [data.path.name]
    np.testing.assert_array_equal(data.open()["DXO"]["data"]["w"], WEIGHTS)  # type: ignore[index]
    data.release()
    assert names(taken) == []


class TextAccessor:
    """A file accessor of a user's own: each message is a folder with a text in it."""

    def write(self, data: object, file_path: str) -> None:
        folder = Path(file_path)
        folder.mkdir()
        (folder / "text").write_text(str(data))

    def read(self, file_path: str) -> object:
        return (Path(file_path) / "text").read_text()


def test_a_file_accessor_of_ones_own_writes_and_reads_the_data(root: Path) -> None:
    pipes = [FilePipe(mode, root, 0.02, layout=FileLayout.NVFLARE) for mode in Mode]
    for pipe in pipes:
        pipe.set_file_accessor(TextAccessor())
        pipe.open("task")
    agent, job = pipes
    assert pass_on(agent, job, Message.new_request("note", "hello")).data == "hello"
    assert agent.send(Message.new_request("note", "unread"), SHORT) is False
    for pipe in pipes:
        pipe.close()
    assert not root.exists()


def test_an_accessor_for_federants_own_layout_or_without_methods_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="layout='nvflare'"):
        FilePipe(Mode.ACTIVE, root).set_file_accessor(TextAccessor())
    with pytest.raises(TypeError, match="needs a method read"):
        FilePipe(Mode.ACTIVE, root, layout=FileLayout.NVFLARE).set_file_accessor(7)  # type: ignore[arg-type]


def test_an_unknown_layout_is_refused_with_those_there_are(root: Path) -> None:
    with pytest.raises(ValueError, match="must be 'federant' or 'nvflare', got 'flower'"):
        FilePipe(Mode.ACTIVE, root, layout="flower")  # type: ignore[arg-type]
