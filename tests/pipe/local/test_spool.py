"""LocalPipe and its files when ends close, fork, or come one after the other."""

import errno
import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from federant.pipe import (
    LocalPipe,
    Message,
    Mode,
    PeerGoneError,
    PipeHandler,
    Topic,
)
from federant.pipe.local import departures
from federant.testing.two_ends import LONG, SHORT, pass_on

WEIGHTS = np.arange(100_000, dtype=np.float32)

MakePipe = Callable[..., LocalPipe]


@pytest.fixture
def make(opened: Callable[[LocalPipe], LocalPipe], tmp_path: Path) -> MakePipe:
    """make(mode, **arguments) gives an open pipe."""
    return lambda mode, **arguments: opened(LocalPipe(mode, tmp_path, **arguments))


def large(number: int = 0) -> Message:
    return Message.new_request("train", {"w": WEIGHTS + number})


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("spool/*/*"))


@pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.PASSIVE])
def test_large_messages_that_were_unread_at_the_goodbye_arrive_before_it(
    make: MakePipe, tmp_path: Path, mode: Mode
) -> None:
    stays, leaves = make(mode), make(mode.opposite)
    pass_on(leaves, stays, large())
    for number in (1, 2):
        assert leaves.send(large(number), 0)
    leaves.close()
    for number in (1, 2):
        received = stays.receive(LONG)
        assert received is not None
        np.testing.assert_array_equal(received.data["w"], WEIGHTS + number)
    with pytest.raises(PeerGoneError):
        stays.receive(LONG)
    del received
    stays.close()
    assert files(tmp_path) == []


def test_a_forked_child_keeps_what_it_sees_while_the_parent_goes_on(make: MakePipe) -> None:
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    weights = pass_on(job, agent, large(1)).data["w"]
    go, start = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go, 1)
        os._exit(0 if np.array_equal(weights, WEIGHTS + 1) else 1)
    del weights
    for number in range(2, 5):
        assert pass_on(job, agent, large(number)).data["w"][0] == number
    os.write(start, b"1")
    assert os.waitpid(child, 0)[1] == 0
    os.close(go)
    os.close(start)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_childs_child_may_give_up_again_what_its_parent_has_given_up(
    make: MakePipe, mode: Mode
) -> None:
    pipe = make(mode)
    for _ in range(2):
        pipe.abandon_in_child()  # raised there, it would keep the pipes after it from their turn


def test_a_message_that_lies_unread_is_not_copied_again_when_it_is_sent_again(
    make: MakePipe, tmp_path: Path
) -> None:
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    pass_on(agent, job, Message.new_request("hello", None))
    message = large(1)
    for _ in range(3):
        assert agent.send(message, SHORT) is False
    received = job.receive(LONG)
    assert received is not None
    assert received.data["w"][0] == 1
    assert agent.send(message, LONG) is True  # it was read, if too late for the first three
    assert job.receive(SHORT) is None
    assert len(files(tmp_path)) == 1


def test_dropped_messages_give_their_files_back(make: MakePipe, tmp_path: Path) -> None:
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    for sender, receiver in ((job, agent), (agent, job)):
        pass_on(sender, receiver, Message.new_request("hello", None))
        for number in range(4):
            assert sender.send(large(number), 0)
            receiver.clear()
    assert len(files(tmp_path)) == 2


def test_a_message_cut_short_is_not_read_and_the_next_ones_arrive_whole(
    make: MakePipe, tmp_path: Path
) -> None:
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    pass_on(agent, job, Message.new_request("hello", None))
    message = large(1)
    assert agent.send(message, 0)
    [path] = tmp_path.glob("spool/*/*")
    os.truncate(path, 1000)
    assert job.receive(SHORT) is None
    for number in (2, 3):
        received = pass_on(agent, job, large(number))
        np.testing.assert_array_equal(received.data["w"], WEIGHTS + number)


def test_a_message_that_cannot_be_mapped_is_dropped_with_the_reason(
    make: MakePipe,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    really_map = mmap.mmap

    def no_memory(*arguments: int, **options: int) -> mmap.mmap:
        if options.get("flags") == mmap.MAP_PRIVATE:  # only readers map so
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return really_map(*arguments, **options)

    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    pass_on(job, agent, large(1))
    receiving = pool.submit(agent.receive, LONG)
    message = large(2)
    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", no_memory)
        assert job.send(message, LONG) is False
    assert "Cannot allocate memory" in message.dropped
    assert "unreadable message dropped" in caplog.text
    assert job.send(message, LONG) is True
    np.testing.assert_array_equal(receiving.result(LONG).data["w"], WEIGHTS + 2)


def test_the_next_agent_waits_until_the_end_of_the_one_before_is_told(
    make: MakePipe, pool: ThreadPoolExecutor
) -> None:
    job, first = make(Mode.PASSIVE), make(Mode.ACTIVE)
    pass_on(first, job, large(1))
    assert first.send(large(2), 0)
    first.close()
    second = make(Mode.ACTIVE)
    sending = pool.submit(second.send, large(3), LONG)
    received = job.receive(LONG)
    assert received is not None
    assert received.data["w"][0] == 2
    with pytest.raises(PeerGoneError):
        job.receive(LONG)
    received = job.receive(LONG)
    assert received is not None
    assert received.data["w"][0] == 3
    assert sending.result(LONG) is True


def test_what_an_agent_left_unread_does_not_go_to_the_next_one(make: MakePipe) -> None:
    job, first = make(Mode.PASSIVE), make(Mode.ACTIVE)
    pass_on(first, job, large(1))
    assert job.send(large(2), 0)
    first.close()
    second = make(Mode.ACTIVE)
    with pytest.raises(PeerGoneError):
        job.receive(LONG)
    assert pass_on(job, second, large(3)).data["w"][0] == 3
    assert second.receive(SHORT) is None


def test_a_copy_of_a_result_that_is_answered_already_gives_its_file_back(
    make: MakePipe, tmp_path: Path
) -> None:
    handler = PipeHandler(make(Mode.PASSIVE, defer=True))
    agent = make(Mode.ACTIVE)
    handler.set_message_cb(lambda msg: (msg.data.release(), handler.accept(msg)))
    handler.start()
    result = large()
    try:
        for _ in range(4):
            assert agent.send(result, LONG)
            answer = agent.receive(LONG)
            while answer is not None and answer.topic != Topic.ACCEPTED:
                answer = agent.receive(LONG)
            assert answer is not None
            assert answer.req_id == result.msg_id
    finally:
        handler.stop(close_pipe=False)
    assert len(list(tmp_path.glob("spool/*active*/frame-*"))) == 1


def test_nothing_is_left_when_both_ends_have_closed(make: MakePipe, tmp_path: Path) -> None:
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    kept = pass_on(job, agent, large(1)).data["w"]
    pass_on(agent, job, large(2))
    agent.close()
    job.close()
    assert files(tmp_path) == []
    assert not (tmp_path / "task.sock").exists()
    np.testing.assert_array_equal(kept, WEIGHTS + 1)


def test_nothing_is_left_when_the_last_agent_was_sent_nothing_large(
    make: MakePipe, tmp_path: Path
) -> None:
    job, first = make(Mode.PASSIVE), make(Mode.ACTIVE)
    pass_on(job, first, large(1))
    first.close()
    with pytest.raises(PeerGoneError):
        job.receive(LONG)
    last = make(Mode.ACTIVE)
    pass_on(last, job, Message.new_request("hello", None))
    job.close()
    last.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_view_may_outlive_its_pipe(make: MakePipe) -> None:
    job, agent = make(Mode.PASSIVE), make(Mode.ACTIVE)
    weights = pass_on(job, agent, large(1)).data["w"]
    agent.close()
    job.close()
    del job, agent
    np.testing.assert_array_equal(weights, WEIGHTS + 1)
    del weights  # rings for a pipe that is gone: nothing may come of it


@pytest.mark.parametrize("msg_id", ["x" * 1001, 1 << 63, 1.5])
def test_an_id_that_cannot_travel_is_a_type_error(make: MakePipe, msg_id: object) -> None:
    agent = make(Mode.ACTIVE)
    with pytest.raises(TypeError, match="msg_id must be a str of at most 1000 characters"):
        agent.send(Message.new_request("train", None, msg_id), 0)  # type: ignore[arg-type]


def test_a_message_waits_for_the_file_of_one_that_is_still_looked_at(
    make: MakePipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "NEW_BYTES_A_SECOND", 1000)
    passive, active = make(Mode.PASSIVE), make(Mode.ACTIVE)
    first = pass_on(passive, active, large())
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(passive.send, large(1), LONG)
        del first
        received = active.receive(LONG)
        assert received is not None
        assert sending.result(LONG) is True
    np.testing.assert_array_equal(received.data["w"], WEIGHTS + 1)
    assert len(files(tmp_path)) == 1


def test_a_message_gets_a_file_of_its_own_where_one_is_looked_at_for_long(
    make: MakePipe, tmp_path: Path
) -> None:
    passive, active = make(Mode.PASSIVE), make(Mode.ACTIVE)
    first = pass_on(passive, active, large())
    second = pass_on(passive, active, large(1))
    np.testing.assert_array_equal(first.data["w"], WEIGHTS)
    np.testing.assert_array_equal(second.data["w"], WEIGHTS + 1)
    assert len(files(tmp_path)) == 2
