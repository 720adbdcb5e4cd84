"""Who is at the other end of a FilePipe: one client job, one agent at a time, alive or dead."""

import os
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
    PipeBusyError,
)
from federant.pipe.file import life
from federant.pipe.file.life import Alive, PeerLife, Terms
from federant.testing import FakeClock, PeerProcess
from federant.testing.two_ends import LONG, SHORT, pass_on, receive

WEIGHTS = np.arange(100_000, dtype=np.float32)

MakePipe = Callable[..., FilePipe]


def large(number: int = 0) -> Message:
    return Message.new_request("train", {"w": WEIGHTS + number})


def test_two_client_jobs_of_one_host_cannot_hold_one_channel(file_pipe: MakePipe) -> None:
    file_pipe(Mode.PASSIVE)
    with pytest.raises(PipeBusyError, match=f"process {os.getpid()} holds"):
        file_pipe(Mode.PASSIVE)


def test_a_client_job_of_another_host_is_taken_over_from(file_pipe: MakePipe) -> None:
    """Without locks neither knows that the other one lives under the same kernel."""
    old = file_pipe(Mode.PASSIVE, trust_locks=False)
    agent = file_pipe(Mode.ACTIVE, trust_locks=False)
    assert pass_on(agent, old, large(1)).data["w"][0] == 1
    new = file_pipe(Mode.PASSIVE, trust_locks=False)
    assert agent.receive(SHORT) is None  # it learns of that, and offers itself to the next one
    assert pass_on(agent, new, large(2)).data["w"][0] == 2
    with pytest.raises(PeerGoneError):
        old.receive(LONG)
    assert old.receive(SHORT) is None
    assert pass_on(new, agent, large(3)).data["w"][0] == 3


def test_the_second_agent_waits_until_the_first_has_left(
    file_pipe: MakePipe, pool: ThreadPoolExecutor
) -> None:
    job, first, second = file_pipe(Mode.PASSIVE), file_pipe(Mode.ACTIVE), file_pipe(Mode.ACTIVE)
    agents = {1: first, 2: second}
    sent = {
        number: pool.submit(agent.send, large(number), LONG) for number, agent in agents.items()
    }
    one = int(receive(job).data["w"][0])
    assert sent[one].result(LONG) is True
    assert job.receive(SHORT) is None
    agents[one].close()
    with pytest.raises(PeerGoneError):
        job.receive(LONG)
    assert receive(job).data["w"][0] == 3 - one


def test_another_version_is_refused_by_name(
    file_pipe: MakePipe, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = file_pipe(Mode.PASSIVE)
    old_card = life.Card

    def newer(*arguments: object) -> life.Card:
        return old_card(*arguments, version=2)  # type: ignore[arg-type]

    monkeypatch.setattr(life, "Card", newer)
    agent = file_pipe(Mode.ACTIVE)
    monkeypatch.setattr(life, "Card", old_card)
    looking = pool.submit(job.receive, SHORT)
    with pytest.raises(PeerGoneError, match=r"speaks federant\.filepipe version 2, this end"):
        agent.receive(LONG)
    assert looking.result(LONG) is None


def test_over_hosts_silence_is_death(file_pipe: MakePipe, root: Path) -> None:
    job = file_pipe(Mode.PASSIVE, trust_locks=False, peer_timeout=8.0)
    peer = PeerProcess(job, "task")
    try:
        peer.echo(1)
        assert job.send(large(), LONG)
        receive(job)
        peer.kill()
        with pytest.raises(PeerGoneError, match="was silent for 8 s") as gone:
            job.receive(4 * LONG)
        assert not gone.value.clean
    finally:
        peer.end()


def test_silence_is_judged_by_the_own_clock_and_only_while_one_looks(tmp_path: Path) -> None:
    clock = FakeClock()
    Alive(tmp_path / "alive").close()
    os.utime(tmp_path / "alive", (0, 0))
    life = PeerLife(tmp_path, "alive", Terms(10.0, trust_locks=False, clock=clock))
    assert not life.by_lock
    assert not life.death()
    assert not life.awake
    for beat in range(5):
        clock.advance(4)
        (tmp_path / "beat").write_text(str(beat))
        assert not life.death()
    assert life.awake
    clock.advance(1000)  # nobody looked: it may have lived
    assert not life.death()
    for _ in range(2):
        clock.advance(4)
        assert not life.death()
    clock.advance(4)
    assert "was silent for 10 s" in life.death()


def test_a_lock_tells_of_a_death_at_once(tmp_path: Path) -> None:
    alive = Alive(tmp_path / "alive")
    life = PeerLife(tmp_path, "alive", Terms())
    assert not life.death()
    assert life.awake
    alive.close()
    assert life.death() == f"process {os.getpid()} is dead"
    life.close()


def test_a_copied_card_is_not_believed_to_be_locked(tmp_path: Path) -> None:
    """As where one server is mounted twice: the same bytes, another file to the kernel."""
    alive = Alive(tmp_path / "alive")
    (tmp_path / "copy").write_bytes((tmp_path / "alive").read_bytes())
    life = PeerLife(tmp_path, "copy", Terms(10.0))
    assert not life.by_lock
    assert not life.death()
    alive.close()
