"""Who is let in at a LocalPipe's door, and what those hear who are not."""

import contextlib
import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from federant.pipe import (
    LocalPipe,
    Message,
    Mode,
    PeerGoneError,
    PipeProtocolError,
)
from federant.pipe.local import sockets
from federant.pipe.local.connection import Peer
from federant.pipe.local.greetings import checked_folder, hello, new_folder, refusal
from federant.pipe.local.wire import Hello, Refuse, to_bytes

LONG = 60.0


@pytest.mark.parametrize("mode", list(Mode))
def test_a_new_folder_is_one_of_its_end_of_the_channel(mode: Mode) -> None:
    name = new_folder("task", mode)
    assert checked_folder(name, "task", mode) == name


@pytest.mark.parametrize(
    "name",
    ["", "..", "task-active-../x", "task-passive-01", "metric-active-01", "task-active-", "/"],
)
def test_a_folder_that_is_not_the_peers_is_refused(name: str) -> None:
    with pytest.raises(PipeProtocolError, match="is not the name of a folder of the ACTIVE end"):
        checked_folder(name, "task", Mode.ACTIVE)


def test_the_right_greeting_is_taken() -> None:
    assert refusal(hello("secret", "task", "folder"), "secret", "task", None) is None


@pytest.mark.parametrize(
    ("greeting", "holder", "code", "text"),
    [
        (Hello("other", 1, [], "secret", "task", 1, "f"), None, "version", "other version 1"),
        (hello("", "task", "f"), None, "token", "not the one of this launch"),
        (hello("sécret", "task", "f"), None, "token", "not the one of this launch"),
        (hello("secret", "metric", "f"), None, "channel", "'task', not 'metric'"),
        (hello("secret", "task", "f"), Peer(7, "f", 0.0), "busy", "process 7 holds this channel"),
    ],
)
def test_every_refusal_has_a_code_and_says_why(
    greeting: Hello, holder: Peer | None, code: str, text: str
) -> None:
    refused = refusal(greeting, "secret", "task", holder)
    assert refused is not None
    assert refused.code == code
    assert text in refused.text


@pytest.mark.parametrize("name", ["", "a-b", "a/b", "..", "a" * 65])
def test_a_channel_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a channel's name is"):
        LocalPipe(Mode.PASSIVE, tmp_path).open(name)


def test_a_folder_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "pipe"
    folder.mkdir(mode=0o755)
    job = LocalPipe(Mode.PASSIVE, folder)
    job.open("task")
    job.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="this process runs as 12345"):
        LocalPipe(Mode.PASSIVE, tmp_path).open("task")


def test_a_send_that_finds_only_a_refusal_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.sendall(to_bytes(Refuse("token", "not this one")))  # before the hello, so to say
    monkeypatch.setattr(sockets, "connect", lambda _path: ours)
    agent = LocalPipe(Mode.ACTIVE, tmp_path)
    agent.open("task")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(agent.send, Message.new_request("hello", None), LONG)
        assert sent.result(LONG / 2) is False
    agent.close()
    theirs.close()


def test_a_crowd_that_says_nothing_does_not_keep_an_agent_waiting(tmp_path: Path) -> None:
    job, agent = LocalPipe(Mode.PASSIVE, tmp_path), LocalPipe(Mode.ACTIVE, tmp_path)
    job.open("task")
    agent.open("task")
    with contextlib.ExitStack() as silent, ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(job.receive, LONG)
        first, *_ = crowd = [silent.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(40)]
        for stranger in crowd:
            stranger.connect(str(tmp_path / "task.sock"))
            stranger.settimeout(LONG)
        # Well before the silent ones have had the time that they are given.
        assert agent.send(Message.new_request("hello", None), 2.0) is True
        assert receiving.result(LONG) is not None
        assert first.recv(1) == b""  # the oldest had to go
    agent.close()
    job.close()


def test_one_that_is_refused_is_told_and_does_not_knock_again_before_it_has_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job, agent = LocalPipe(Mode.PASSIVE, tmp_path, "secret"), LocalPipe(Mode.ACTIVE, tmp_path)
    job.open("task")
    agent.open("task")
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(job.receive, LONG)
        assert agent.send(Message.new_request("hello", None), LONG) is False
        assert agent.send(Message.new_request("hello", None), 0.3) is False
        assert caplog.text.count("peer refused") == 1
        with pytest.raises(PeerGoneError, match="token is not the one of this launch"):
            agent.receive(LONG)
        job.wake()
        assert listening.result(LONG) is None
    agent.close()
    job.close()
