"""PartingContract: how a pipe's peers leave, die and come back; a part of PipeContract."""

import contextlib

import numpy as np
import pytest

from federant.pipe import Message, Mode, PeerGoneError, Pipe
from federant.testing.peer_process import PeerProcess
from federant.testing.two_ends import (
    LONG,
    SHORT,
    OpenPipe,
    StartPeer,
    TwoEnds,
    in_thread,
    pass_on,
    receive,
    request,
)


class PartingContract(TwoEnds):
    """Goodbyes, and for ends in two processes also deaths: of either end, and of both."""

    # -- the peer says goodbye -----------------------------------------------------------------

    def receive_all(self, pipe: Pipe) -> tuple[list[int], PeerGoneError]:
        """The numbers of all messages until the news that the peer is gone."""
        numbers = []
        while True:
            try:
                numbers.append(receive(pipe).data["number"])
            except PeerGoneError as gone:
                return numbers, gone

    @pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.PASSIVE])
    def test_goodbye_is_told_once_after_the_last_message(
        self, open_pipe: OpenPipe, mode: Mode
    ) -> None:
        stays, leaves = open_pipe(mode), open_pipe(mode.opposite)
        pass_on(leaves, stays, request(0))
        for number in range(1, 4):
            assert leaves.send(request(number), timeout=0)
        leaves.close()
        numbers, gone = self.receive_all(stays)
        assert numbers == [1, 2, 3]
        assert gone.clean
        assert stays.receive(SHORT) is None

    def test_goodbye_ends_a_waiting_receive(self, agent: Pipe, job: Pipe) -> None:
        pass_on(agent, job, request())
        waiting = in_thread(receive, job)
        agent.close()
        with pytest.raises(PeerGoneError) as gone:
            waiting.result(LONG / 2)
        assert gone.value.clean

    def test_goodbye_of_a_peer_that_has_not_read_ends_a_waiting_send(
        self, agent: Pipe, job: Pipe
    ) -> None:
        pass_on(job, agent, request())
        waiting = in_thread(job.send, request(), LONG)
        pass_on(agent, job, request())
        agent.close()
        with pytest.raises(PeerGoneError):
            receive(job)
        # It says False as soon as its peer is gone; what begins later waits for the next peer.
        job.close()
        with contextlib.suppress(BrokenPipeError):
            assert waiting.result(LONG / 2) is False

    def test_next_peer_follows_the_one_that_left(self, open_pipe: OpenPipe, job: Pipe) -> None:
        for number in range(3):
            agent = open_pipe(Mode.ACTIVE)
            assert pass_on(agent, job, request(number)).data["number"] == number
            agent.close()
            with pytest.raises(PeerGoneError):
                receive(job)

    def test_what_a_closed_pair_left_unread_does_not_reach_the_next_pair(
        self, open_pipe: OpenPipe
    ) -> None:
        agent, job = open_pipe(Mode.ACTIVE), open_pipe(Mode.PASSIVE)
        pass_on(agent, job, request())
        for pipe in (agent, job):
            assert pipe.send(request(-1), timeout=0)
        agent.close()
        job.close()
        agent, job = open_pipe(Mode.ACTIVE), open_pipe(Mode.PASSIVE)
        for sender, receiver in ((agent, job), (job, agent)):
            assert pass_on(sender, receiver, request(1)).data["number"] == 1

    # -- the peer is a process, and is killed --------------------------------------------------

    def meet(self, pipe: Pipe, peer: PeerProcess) -> None:
        """Lets a message go to the peer and back; afterwards the ends know each other."""
        peer.echo(1)
        assert pipe.send(request(), LONG)
        receive(pipe)

    def hear_of_death(self, pipe: Pipe) -> None:
        """The passive end is told; the active end may be, or looks for the next client job."""
        if pipe.mode is Mode.PASSIVE:
            with pytest.raises(PeerGoneError) as gone:
                receive(pipe)
            assert not gone.value.clean
        else:
            with contextlib.suppress(PeerGoneError):
                assert pipe.receive(SHORT) is None

    @pytest.mark.parametrize("killed", [Mode.ACTIVE, Mode.PASSIVE])
    def test_messages_of_a_killed_peer_come_before_the_news_of_its_death(
        self, open_pipe: OpenPipe, peer_process: StartPeer, killed: Mode
    ) -> None:
        stays, peer = open_pipe(killed.opposite), peer_process(killed)
        self.meet(stays, peer)
        peer.send(5)
        peer.kill()
        assert [receive(stays).data["number"] for _ in range(5)] == [0, 1, 2, 3, 4]
        self.hear_of_death(stays)

    @pytest.mark.parametrize("leaves", [Mode.ACTIVE, Mode.PASSIVE])
    def test_goodbye_of_a_process_is_told_apart_from_its_death(
        self, open_pipe: OpenPipe, peer_process: StartPeer, leaves: Mode
    ) -> None:
        stays, peer = open_pipe(leaves.opposite), peer_process(leaves)
        self.meet(stays, peer)
        peer.send(1)
        peer.close()
        peer.kill()
        numbers, gone = self.receive_all(stays)
        assert numbers == [0]
        assert gone.clean

    def test_death_ends_a_waiting_send_and_receive(
        self, job: Pipe, peer_process: StartPeer
    ) -> None:
        peer = peer_process()
        self.meet(job, peer)
        receiving = in_thread(receive, job)
        sending = in_thread(job.send, Message.new_request("train", np.ones(100_000)), LONG)
        peer.kill()
        with pytest.raises(PeerGoneError) as gone:
            receiving.result(LONG / 2)
        assert not gone.value.clean
        job.close()
        with contextlib.suppress(BrokenPipeError):
            assert sending.result(LONG / 2) is False

    @pytest.mark.parametrize("killed", [Mode.ACTIVE, Mode.PASSIVE])
    def test_next_process_takes_the_place_of_one_that_was_killed(
        self, open_pipe: OpenPipe, peer_process: StartPeer, killed: Mode
    ) -> None:
        stays = open_pipe(killed.opposite)
        for number in range(3):
            values = np.arange(100_000.0) + number
            sent = in_thread(stays.send, Message.new_request("train", values), LONG)
            peer = peer_process(killed)
            peer.echo(1)
            np.testing.assert_array_equal(receive(stays).data, values)
            assert sent.result(LONG) is True
            peer.send(number)
            peer.kill()
            assert [receive(stays).data["number"] for _ in range(number)] == list(range(number))
            self.hear_of_death(stays)

    def test_leftovers_of_a_crashed_run_do_not_reach_the_next(
        self, open_pipe: OpenPipe, peer_process: StartPeer
    ) -> None:
        crashed = [peer_process(mode) for mode in (Mode.PASSIVE, Mode.ACTIVE)]
        crashed[0].take(1)
        crashed[1].tell(1)  # they have met
        for peer in crashed:
            peer.send(3)
        for peer in crashed:
            peer.kill()
        agent, job = open_pipe(Mode.ACTIVE), open_pipe(Mode.PASSIVE)
        for sender, receiver in ((agent, job), (job, agent)):
            assert pass_on(sender, receiver, request(9)).data["number"] == 9
            assert receiver.receive() is None
