"""FilePipe beyond the contract: what lies in the folder, junk, and results that stay there."""

import errno
import os
import resource
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from federant.pipe import (
    FilePipe,
    Message,
    Mode,
    PeerGoneError,
    StoredFrame,
)
from federant.pipe.file import life, link
from federant.pipe.file.life import Alive
from federant.spool import SpoolError
from federant.testing.two_ends import LONG, SHORT, pass_on, receive

WEIGHTS = np.arange(100_000, dtype=np.float32)

MakePipe = Callable[..., FilePipe]


def large(number: int = 0) -> Message:
    return Message.new_request("train", {"w": WEIGHTS + number})


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def meeting(root: Path) -> Path:
    (found,) = root.glob("task/link-*")
    return found


# -- its arguments ---------------------------------------------------------------------------------


def test_the_folder_is_given_as_str_or_path(tmp_path: Path) -> None:
    for root in (tmp_path, str(tmp_path)):
        assert FilePipe(Mode.ACTIVE, root).root_path == tmp_path


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((Mode.ACTIVE, 7), TypeError, "root_path must be a str or a Path, got int"),
        ((Mode.ACTIVE, ""), ValueError, "root_path must name a folder"),
        ((Mode.ACTIVE, "x", 0), ValueError, "file_check_interval must be above 0"),
        ((Mode.ACTIVE, "x", "1"), TypeError, "file_check_interval must be a number, got str"),
        (("active", "x"), ValueError, "mode must be 'ACTIVE' or 'PASSIVE', got 'active'"),
    ],
)
def test_a_bad_argument_is_named(
    arguments: tuple[object, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        FilePipe(*arguments)  # type: ignore[arg-type]


def test_export_keeps_every_argument(root: Path) -> None:
    pipe = FilePipe(Mode.ACTIVE, root, 0.5, peer_timeout=7.0, trust_locks=False)
    assert pipe.export("PEER") == (
        "federant.pipe.file.pipe.FilePipe",
        {
            "mode": "PASSIVE",
            "root_path": str(root),
            "file_check_interval": 0.5,
            "peer_timeout": 7.0,
            "trust_locks": False,
            "layout": "federant",
        },
    )


# -- what lies in the folder -----------------------------------------------------------------------


@pytest.mark.parametrize("opens", list(Mode))
@pytest.mark.parametrize("closes", list(Mode))
def test_nothing_is_left_of_what_the_ends_made_whichever_opens_and_closes_first(
    file_pipe: MakePipe, root: Path, opens: Mode, closes: Mode
) -> None:
    root.mkdir(parents=True)
    pipes = {mode: file_pipe(mode) for mode in (opens, opens.opposite)}
    agent, job = pipes[Mode.ACTIVE], pipes[Mode.PASSIVE]
    pass_on(agent, job, large())
    pass_on(job, agent, large())
    pipes[closes].close()
    pipes[closes.opposite].close()
    assert entries(root) == []


def test_the_end_that_made_the_folder_removes_it_unless_somebody_is_there(
    file_pipe: MakePipe, root: Path
) -> None:
    for mode in Mode:
        file_pipe(mode).close()
        assert not root.exists()
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    job.close()
    assert root.is_dir()
    agent.close()
    assert entries(root) == []


def test_a_folder_that_the_other_end_takes_down_is_made_again_by_whoever_opens(
    file_pipe: MakePipe, pool: ThreadPoolExecutor, root: Path
) -> None:
    def come_and_go(mode: Mode) -> None:
        for _ in range(50):
            file_pipe(mode).close()

    for ended in [pool.submit(come_and_go, mode) for mode in Mode]:
        ended.result(LONG)
    assert not list(root.glob("*"))


def test_close_leaves_what_others_have_in_the_folder(file_pipe: MakePipe, root: Path) -> None:
    job = file_pipe(Mode.PASSIVE)
    (root / "notes.txt").write_text("ours")
    other = FilePipe(Mode.PASSIVE, root)
    other.open("metric")
    job.close()
    assert entries(root) == ["metric", "metric/holder", "metric/taken", "notes.txt"]
    other.close()
    assert entries(root) == ["notes.txt"]


def test_junk_is_set_aside_and_the_pipe_goes_on(file_pipe: MakePipe, root: Path) -> None:
    make_junk = root / "task"
    make_junk.mkdir(parents=True)
    (make_junk / "README").write_text("what is this folder?")
    (make_junk / "x").mkdir()
    (make_junk / "link-of-somebody").mkdir()
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    pass_on(agent, job, large(1))
    inbox = meeting(root) / "to_passive"
    (inbox / "a file.tmp").write_bytes(b"\0" * 100)
    (inbox / "folder").mkdir()
    (inbox / "m-000000000002-n").write_bytes(b"no frame at all")
    (inbox / "m-000000000003-n").symlink_to("/etc/passwd")
    os.mkfifo(inbox / "m-000000000004-n")
    job.receive()
    assert not any((inbox / name).exists() for name in ("a file.tmp", "folder"))
    agent.send(large(), 0)  # these numbers were used by somebody else
    for _ in range(4):
        agent.send(large(2), 0)
    assert receive(job).data["w"][0] == 2
    set_aside = {path.name[:-9] for path in (root / "task" / "quarantine").iterdir()}
    assert {"README", "x", "link-of-somebody", "a file.tmp", "folder"} <= set_aside
    assert len(set_aside) >= 6


def test_open_removes_what_a_process_had_begun_to_make_when_it_died(
    file_pipe: MakePipe, root: Path
) -> None:
    hidden = {name: root / "task" / f".link-{name}" for name in ("dead", "alive")}
    for folder in hidden.values():
        (folder / "to_passive").mkdir(parents=True)
    alive = Alive(hidden["alive"] / "to_passive" / "alive")
    Alive(hidden["dead"] / "to_passive" / "alive").close()
    Alive(root / "task" / ".holder-7").close()
    file_pipe(Mode.PASSIVE)
    assert entries(root / "task") == [
        *(".link-alive", ".link-alive/to_passive", ".link-alive/to_passive/alive"),
        *("holder", "taken"),
    ]
    alive.close()


def test_a_folder_that_was_cleared_away_is_made_again(file_pipe: MakePipe, root: Path) -> None:
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    pass_on(agent, job, large(1))
    shutil.rmtree(root)
    with pytest.raises(PeerGoneError, match="the folder of the meeting is gone"):
        job.receive(LONG)
    assert agent.receive(SHORT) is None
    assert pass_on(agent, job, large(2)).data["w"][0] == 2


def test_a_message_that_lies_unread_is_not_written_again(file_pipe: MakePipe, root: Path) -> None:
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    pass_on(agent, job, large())
    message = large(1)
    for _ in range(3):
        assert agent.send(message, SHORT) is False
    assert len(list(meeting(root).glob("to_passive/m-*"))) == 1
    assert pass_on(agent, job, message).data["w"][0] == 1
    assert job.receive(SHORT) is None


def test_a_withdrawn_message_is_taken_back(
    file_pipe: MakePipe, pool: ThreadPoolExecutor, root: Path
) -> None:
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    pass_on(agent, job, large())
    message = large(1)
    assert agent.send(message, SHORT) is False
    sending = pool.submit(agent.send, message, LONG)
    message.withdrawn = True
    agent.wake()
    assert sending.result(LONG) is False
    assert list(meeting(root).glob("to_passive/m-*")) == []
    assert job.receive(SHORT) is None


def test_messages_that_nobody_reads_do_not_fill_the_folder(
    file_pipe: MakePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "UNREAD_FILES", 100)
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    pass_on(agent, job, large())
    taken = [agent.send(Message.new_request("beat", None), 0) for _ in range(300)]
    assert 100 <= taken.count(True) < 200
    for _ in range(taken.count(True)):
        receive(job)
    assert agent.send(Message.new_request("beat", None), 0) is True


def test_a_file_that_cannot_be_written_is_a_spool_error(file_pipe: MakePipe) -> None:
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    pass_on(agent, job, large())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SpoolError, match=r"cannot write .* make room there"):
            agent.send(large(), LONG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert pass_on(agent, job, large(1)).data["w"][0] == 1


def test_a_receipt_that_cannot_be_written_harms_nothing(file_pipe: MakePipe, root: Path) -> None:
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    pass_on(agent, job, large())
    message = large()
    assert agent.send(message, SHORT) is False
    (path,) = meeting(root).glob("to_passive/m-*")
    path.write_bytes(b"torn by the file system")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        assert job.receive(SHORT) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert message.dropped == ""
    assert pass_on(agent, job, large(1)).data["w"][0] == 1


def test_a_folder_that_cannot_be_looked_at_for_a_moment_ends_nothing(
    file_pipe: MakePipe, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    pass_on(agent, job, large(1))

    def failing(path: Path) -> list[str]:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as broken:
        broken.setattr(os, "listdir", failing)
        assert job.receive(SHORT) is None
    assert pass_on(agent, job, large(2)).data["w"][0] == 2


def test_a_message_that_cannot_be_taken_for_a_moment_is_taken_later(
    file_pipe: MakePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, agent = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE)
    pass_on(agent, job, large(1))
    for number in (2, 3):
        assert agent.send(large(number), 0)
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.parent.name == "to_passive":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return rename(path, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", failing)
        assert job.receive(SHORT) is None
    assert [receive(job).data["w"][0] for _ in range(2)] == [2, 3]


def test_a_client_job_that_cannot_see_for_a_moment_whether_it_holds_its_channel_goes_on(
    file_pipe: MakePipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = file_pipe(Mode.PASSIVE)

    def failing(path: Path) -> life.Card:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as broken:
        broken.setattr("federant.pipe.file.meeting.read_card", failing)
        assert job.receive(SHORT) is None
    assert pass_on(file_pipe(Mode.ACTIVE), job, large(1)).data["w"][0] == 1


# -- results that stay where they are --------------------------------------------------------------


def stored(message: Message) -> StoredFrame:
    assert isinstance(message.data, StoredFrame)
    return message.data


def test_a_deferred_result_stays_in_its_file_until_it_is_released(file_pipe: MakePipe) -> None:
    job, agent = file_pipe(Mode.PASSIVE, defer=True), file_pipe(Mode.ACTIVE)
    frame = stored(pass_on(agent, job, large(1)))
    agent.close()
    assert frame.path is not None
    assert frame.path.stat().st_size == frame.size
    np.testing.assert_array_equal(frame.open()["w"], WEIGHTS + 1)
    assert b"".join(frame.chunks()) == frame.path.read_bytes()
    frame.release()
    frame.release()
    assert not frame.path.exists()


def test_a_small_deferred_result_is_held_in_memory(file_pipe: MakePipe) -> None:
    job, agent = file_pipe(Mode.PASSIVE, defer=True), file_pipe(Mode.ACTIVE)
    frame = stored(pass_on(agent, job, Message.new_request("train", {"x": 1})))
    assert frame.path is None
    assert frame.open() == {"x": 1}


def test_a_result_of_a_killed_agent_outlives_both_and_the_next_client_job_keeps_it(
    file_pipe: MakePipe, pool: ThreadPoolExecutor, killed_agent: Callable[..., None]
) -> None:
    job = file_pipe(Mode.PASSIVE, defer=True)
    receiving = pool.submit(receive, job)
    killed_agent(job)
    path = stored(receiving.result(LONG)).path
    assert path is not None
    job.close()
    (path.parent / "forgotten").write_bytes(b"taken, but never noted")
    file_pipe(Mode.PASSIVE, defer=True, keep=[path]).close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_folder_of_taken_files_may_vanish_when_its_last_result_is_confirmed(
    file_pipe: MakePipe, root: Path
) -> None:
    job, agent = file_pipe(Mode.PASSIVE, defer=True), file_pipe(Mode.ACTIVE)
    (root / "task" / "taken").rmdir()
    assert stored(pass_on(agent, job, large())).path is not None
