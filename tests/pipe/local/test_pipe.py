"""LocalPipe beyond the contract: who may connect, hostile bytes, frames that stay in the spool."""

import os
import socket
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federant.codec import FrameError
from federant.pipe import (
    LocalPipe,
    Message,
    Mode,
    PeerGoneError,
    PipeBusyError,
    StoredFrame,
)
from federant.pipe.errors import PipeProtocolError
from federant.pipe.local import leftovers
from federant.pipe.local.wire import Hello, Unpacker, to_bytes
from federant.spool import SpoolError
from federant.testing.two_ends import LONG, pass_on

SECRET = "secret"
WEIGHTS = np.arange(100_000, dtype=np.float32)


@pytest.fixture
def make(opened, tmp_path: Path):
    """make(mode, token, folder, **arguments) gives an open pipe."""

    def make_one(mode: Mode, token: str = SECRET, folder: Path = tmp_path, **arguments):
        return opened(LocalPipe(mode, folder, token, **arguments))

    return make_one


def large(number: int = 0) -> Message:
    return Message.new_request("train", {"w": WEIGHTS + number})


def frames(folder: Path) -> list[str]:
    return sorted(str(path.name) for path in folder.glob("spool/*/frame-*"))


def test_the_folder_and_the_socket_are_the_users_own(make, tmp_path):
    make(Mode.PASSIVE)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "task.sock").stat().st_mode) == 0o600


def test_a_wrong_token_is_refused_and_the_agent_is_told(make, pool):
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE, "guessed")
    listening = pool.submit(job.receive, 5)
    with pytest.raises(PeerGoneError, match="token is not the one of this launch"):
        agent.receive(LONG)
    job.wake()
    assert listening.result(LONG) is None


def test_the_token_can_be_changed_for_whoever_comes_next(make):
    job, agent = make(Mode.PASSIVE, "of the last launch"), make(Mode.ACTIVE, "of this launch")
    job.token = "of this launch"
    assert pass_on(agent, job, large()).topic == "train"


def test_a_second_live_agent_is_told_who_holds_the_channel(make, pool):
    job, first, second = make(Mode.PASSIVE), make(Mode.ACTIVE), make(Mode.ACTIVE)
    pass_on(first, job, large())
    listening = pool.submit(job.receive, 5)
    with pytest.raises(PeerGoneError, match=f"process {os.getpid()} holds this channel since"):
        second.receive(LONG)
    job.wake()
    assert listening.result(LONG) is None


def test_an_unknown_version_is_refused_by_name(make, tmp_path, pool):
    job = make(Mode.PASSIVE)
    listening = pool.submit(job.receive, 5)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(LONG)
        stranger.connect(str(tmp_path / "task.sock"))
        stranger.sendall(to_bytes(Hello("federant.pipe", 99, [], "secret", "task", 1, "folder")))
        answer = stranger.recv(4096)
    assert b"version 1, the other end federant.pipe version 99" in answer
    job.wake()
    assert listening.result(LONG) is None


@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\x05\x00\x00\x00hello", b"\x00" * 8]
)
def test_junk_on_the_socket_ends_that_connection_only(make, tmp_path, pool, junk):
    job = make(Mode.PASSIVE)
    listening = pool.submit(job.receive, LONG)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(LONG)
        stranger.connect(str(tmp_path / "task.sock"))
        stranger.sendall(junk)
        while stranger.recv(4096):
            pass
    agent = make(Mode.ACTIVE)
    assert agent.send(large(), LONG)
    assert listening.result(LONG).topic == "train"


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_a_protocol_error(data):
    unpacker = Unpacker()
    unpacker.feed(data)
    try:
        records = list(unpacker.records())
    except PipeProtocolError:
        return
    assert all(to_bytes(record) in data for record in records)


def test_two_client_jobs_cannot_hold_one_channel(make):
    make(Mode.PASSIVE)
    with pytest.raises(PipeBusyError, match="another process listens on"):
        make(Mode.PASSIVE)


def test_a_socket_that_a_dead_client_job_left_is_taken_over(make, tmp_path):
    tmp_path.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "task.sock"))
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    assert pass_on(agent, job, large()).data["w"][1] == 1


def test_a_path_longer_than_a_socket_address_works(make, tmp_path):
    folder = tmp_path / ("long" * 20) / ("longer" * 20)
    job, agent = make(Mode.PASSIVE, folder=folder), make(Mode.ACTIVE, folder=folder)
    assert pass_on(agent, job, large()).data["w"][1] == 1


def test_an_array_may_be_written_to_and_the_next_message_is_not_touched(make):
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    for number in range(3):
        received = pass_on(job, agent, large(number)).data["w"]
        np.testing.assert_array_equal(received, WEIGHTS + number)
        received[:] = -1
        del received


def test_files_are_used_again_once_their_readers_views_are_dead(make, tmp_path):
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    for number in range(5):
        pass_on(job, agent, large(number))
        pass_on(agent, job, large(number))
    assert len(frames(tmp_path)) <= 4


def test_a_view_that_lives_keeps_its_file_from_being_used_again(make):
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    kept = [pass_on(job, agent, large(number)).data["w"][10:] for number in range(4)]
    for number, view in enumerate(kept):
        np.testing.assert_array_equal(view, WEIGHTS[10:] + number)


def test_a_full_spool_makes_the_sender_wait_until_its_deadline(make):
    job, agent = make(Mode.PASSIVE, spool_bytes=1_000_000), make(Mode.ACTIVE)
    kept = [pass_on(job, agent, large(number)) for number in range(2)]
    assert job.send(large(), 0.05) is False
    kept.clear()
    assert pass_on(job, agent, large(7)).data["w"][0] == 7


def test_a_frame_larger_than_the_spool_is_an_error_at_the_sender(make):
    job, agent = make(Mode.PASSIVE, spool_bytes=100_000), make(Mode.ACTIVE)
    pass_on(agent, job, Message.new_request("hello", None))
    with pytest.raises(SpoolError, match="raise its limit"):
        job.send(large(), LONG)


def test_a_deferred_result_stays_in_its_file_until_it_is_released(make, tmp_path):
    job, agent = make(Mode.PASSIVE, defer=True), make(Mode.ACTIVE)
    stored = pass_on(agent, job, large(3)).data
    assert isinstance(stored, StoredFrame)
    assert stored.layout.tensors[0].shape == WEIGHTS.shape
    np.testing.assert_array_equal(stored.open()["w"], WEIGHTS + 3)
    assert b"".join(stored.chunks()) == stored.path.read_bytes()[: stored.size]
    pass_on(agent, job, large(4))
    assert len(frames(tmp_path)) == 2
    stored.release()
    stored.release()
    pass_on(agent, job, large(5))
    assert len(frames(tmp_path)) == 2


def test_a_small_deferred_result_is_held_in_memory(make):
    job, agent = make(Mode.PASSIVE, defer=True), make(Mode.ACTIVE)
    stored = pass_on(agent, job, Message.new_request("train", {"loss": 0.5})).data
    assert stored.path is None
    assert stored.open() == {"loss": 0.5}


def test_a_deferred_result_outlives_its_agent(make, tmp_path):
    job, agent = make(Mode.PASSIVE, defer=True), make(Mode.ACTIVE)
    stored = pass_on(agent, job, large(3)).data
    agent.close()
    with pytest.raises(PeerGoneError) as gone:
        job.receive(LONG)
    assert gone.value.clean
    np.testing.assert_array_equal(stored.open()["w"], WEIGHTS + 3)
    stored.release()
    assert frames(tmp_path) == []


def test_a_result_that_its_agent_cut_short_is_an_error_and_no_crash(make):
    job, agent = make(Mode.PASSIVE, defer=True), make(Mode.ACTIVE)
    stored = pass_on(agent, job, large()).data
    os.truncate(stored.path, 1000)
    with pytest.raises((SpoolError, FrameError)):
        stored.open()


def test_open_takes_away_what_dead_processes_left_but_for_what_it_is_to_keep(make, tmp_path):
    left = tmp_path / "spool" / "task-active-0123"
    left.mkdir(parents=True)
    for name in ("frame-1", "frame-2"):
        (left / name).write_bytes(b"x")
    make(Mode.PASSIVE, keep=[left / "frame-2"])
    assert frames(tmp_path) == ["frame-2"]


def test_foreign_things_in_the_spool_do_not_keep_a_client_job_from_opening(make, tmp_path):
    spool = tmp_path / "spool"
    (spool / "task-active-01" / "sub").mkdir(parents=True)
    (spool / "task-active-02").write_text("x")
    (spool / "task-active-03").symlink_to(tmp_path)
    (spool / "task-passive-04").mkdir(mode=0)
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    assert pass_on(agent, job, large()).data["w"][1] == 1
    assert not (spool / "task-active-01").exists()
    assert (spool / "task-active-02").exists()


def test_an_open_that_fails_lets_go_of_the_channel(tmp_path, monkeypatch):
    def fail(folder, keep):
        raise OSError(f"the disk is gone under {folder}, {keep}")

    (tmp_path / "spool" / "task-active-01").mkdir(parents=True)
    job = LocalPipe(Mode.PASSIVE, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(leftovers, "reclaim", fail)
        with pytest.raises(OSError, match="the disk is gone"):
            job.open("task")
    job.open("task")
    job.close()


def test_the_agent_finds_the_client_job_that_takes_the_place_of_a_dead_one(make, pool, tmp_path):
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    kept = pass_on(job, agent, large(1)).data["w"]
    job.abandon_in_child()  # its sockets close without a goodbye, as in a process that is killed
    successor = make(Mode.PASSIVE)
    waiting = pool.submit(agent.receive, LONG)
    assert successor.send(large(2), LONG)
    np.testing.assert_array_equal(waiting.result(LONG).data["w"], WEIGHTS + 2)
    np.testing.assert_array_equal(kept, WEIGHTS + 1)


def test_wait_peer_says_who_came(make, pool):
    job = make(Mode.PASSIVE)
    assert job.wait_peer(0) is None
    agent = make(Mode.ACTIVE)
    calling = pool.submit(agent.receive, 5)
    peer = job.wait_peer(LONG)
    assert (peer.pid, job.peer) == (os.getpid(), peer)
    agent.wake()
    assert calling.result(LONG) is None
