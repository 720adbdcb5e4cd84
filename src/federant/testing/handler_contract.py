"""HandlerContract: what handlers make of any pipe, in spite of losses; a part of PipeContract."""

import time

import pytest

from federant.pipe import Delivery, Message, Mode, Outcome, Pipe, Topic
from federant.testing.fault_pipe import FaultPipe
from federant.testing.two_ends import (
    LONG,
    SHORT,
    MakeHandler,
    OpenPipe,
    StartPeer,
    TwoEnds,
    in_thread,
    next_of,
    pass_on,
    request,
    unreadable,
)


class HandlerContract(TwoEnds):
    """Read and accepted, losses, duplicates, and the peer's end, with a handler at each end."""

    def test_read_and_accepted_are_two_things(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        trainer, client_job = make_handler(agent), make_handler(job)
        assert trainer.send_to_peer(request(1), timeout=LONG)
        delivered = in_thread(trainer.deliver, request(2), LONG)
        assert next_of(client_job).data["number"] == 1
        result = next_of(client_job)
        assert result.data["number"] == 2
        assert not delivered.done()
        client_job.accept(result)
        assert delivered.result(LONG).outcome is Outcome.ACCEPTED

    def test_refusal_reaches_the_sender_with_its_reason(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        trainer, client_job = make_handler(agent), make_handler(job)
        delivered = in_thread(trainer.deliver, request(), LONG)
        client_job.refuse(next_of(client_job), "RESULT_NOT_FINITE", "layer1 holds NaN")
        assert delivered.result(LONG) == Delivery(
            Outcome.REFUSED, "layer1 holds NaN", "RESULT_NOT_FINITE"
        )

    def test_lost_message_is_sent_again_and_delivered_once(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        if not agent.can_resend():
            pytest.skip("this pipe cannot resend")
        faulty = FaultPipe(agent)
        faulty.drop(lambda msg: msg.topic == "train", times=2)
        trainer, client_job = make_handler(faulty), make_handler(job)
        delivered = in_thread(trainer.deliver, request(1), LONG)
        result = next_of(client_job)
        client_job.accept(result)
        assert delivered.result(LONG).accepted
        assert len(faulty.hit) == 2
        assert client_job.wait_next(SHORT) is None

    def test_message_that_arrives_twice_is_delivered_once(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        faulty = FaultPipe(agent)
        faulty.duplicate(lambda msg: msg.topic == "train")
        trainer, client_job = make_handler(faulty), make_handler(job)
        assert trainer.send_to_peer(request(1), timeout=LONG)
        assert trainer.send_to_peer(request(2), timeout=LONG)
        assert [next_of(client_job).data["number"] for _ in range(2)] == [1, 2]
        assert client_job.wait_next(SHORT) is None

    def test_lost_acceptance_is_given_again_to_the_duplicate(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        if not agent.can_resend():
            pytest.skip("this pipe cannot resend")
        faulty = FaultPipe(job)
        faulty.drop(lambda msg: msg.topic == Topic.ACCEPTED)
        trainer, client_job = make_handler(agent), make_handler(faulty)
        delivered = in_thread(trainer.deliver, request(1), 10 * SHORT)
        client_job.accept(next_of(client_job))
        assert delivered.result(LONG).accepted
        assert client_job.wait_next(SHORT) is None

    def test_message_that_was_held_back_and_comes_after_its_copy_is_dropped(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        if not agent.can_resend():
            pytest.skip("this pipe cannot resend")
        faulty = FaultPipe(agent)
        faulty.hold(lambda msg: msg.topic == "train")
        trainer, client_job = make_handler(faulty), make_handler(job)
        assert trainer.send_to_peer(request(1), timeout=LONG)
        faulty.release()
        assert trainer.send_to_peer(request(2), timeout=LONG)
        assert [next_of(client_job).data["number"] for _ in range(2)] == [1, 2]

    def test_message_that_cannot_be_read_is_given_up_after_its_tries_with_the_reason(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        trainer, client_job = make_handler(agent), make_handler(job)
        msg = unreadable()
        tries = 2 if agent.can_resend() else 1
        delivery = in_thread(trainer.deliver, msg, LONG, 1).result(LONG)
        assert delivery.outcome is Outcome.GAVE_UP
        assert f"after {tries} tr" in delivery.text
        assert "the peer could not read the message: " in delivery.text
        assert trainer.send_to_peer(request(1), timeout=LONG)
        assert next_of(client_job).data["number"] == 1

    def test_heartbeats_do_not_hold_up_the_end_of_a_message_that_is_never_accepted(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        pass_on(agent, job, request())  # a pipe may need a while until its ends have met
        trainer = make_handler(agent, heartbeat_interval=SHORT / 5, heartbeat_timeout=0)
        make_handler(job)  # reads it, unless the machine is too busy for it
        delivered = in_thread(trainer.deliver, request(1), 4 * SHORT, 0)
        assert delivered.result(LONG).outcome is Outcome.GAVE_UP

    def test_nothing_is_sent_again_while_bytes_move(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        pass_on(agent, job, request())
        if not agent.get_last_peer_active_time() or not agent.can_resend():
            pytest.skip("this pipe cannot resend, or does not see bytes move")
        topics = []

        def note(msg: Message) -> bool:
            topics.append(msg.topic)
            return False

        counting = FaultPipe(agent)
        counting.drop(note)
        trainer, client_job = make_handler(counting), make_handler(job)
        patience = 4 * SHORT
        result = Message.new_request("result", None)
        moved = time.monotonic()
        delivered = in_thread(trainer.deliver, result, patience)
        assert next_of(client_job).topic == "result"
        began = time.monotonic()
        longest_pause = began - moved
        moved = began
        while moved - began < 3 * patience:
            assert trainer.send_to_peer(request(), timeout=LONG)
            longest_pause = max(longest_pause, time.monotonic() - moved)
            moved = time.monotonic()
        # On a machine that is too busy to move a byte for so long it may well be sent again.
        assert topics.count("result") == 1 or longest_pause > patience / 2
        client_job.accept(result)
        assert delivered.result(LONG).accepted

    def test_handlers_tell_a_goodbye_from_a_death(
        self, agent: Pipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        trainer, client_job = make_handler(agent), make_handler(job)
        assert trainer.send_to_peer(request(1), timeout=LONG)
        trainer.stop()
        assert next_of(client_job).data["number"] == 1
        gone = next_of(client_job)
        assert gone.topic == Topic.PEER_GONE
        assert gone.data["clean"] is True

    def test_handlers_tell_a_death_from_a_goodbye(
        self,
        job: Pipe,
        make_handler: MakeHandler,
        peer_process: StartPeer,
    ) -> None:
        client_job = make_handler(job)
        peer = peer_process()
        peer.echo(1)
        assert client_job.send_to_peer(request(7), timeout=LONG)
        assert next_of(client_job).data["number"] == 7
        peer.kill()
        gone = next_of(client_job)
        assert gone.topic == Topic.PEER_GONE
        assert gone.data["clean"] is False

    def test_next_handler_goes_on_with_the_same_pipe(
        self, open_pipe: OpenPipe, job: Pipe, make_handler: MakeHandler
    ) -> None:
        for number in range(3):
            client_job = make_handler(job)
            trainer = make_handler(open_pipe(Mode.ACTIVE))
            assert trainer.send_to_peer(request(number), timeout=LONG)
            assert next_of(client_job).data["number"] == number
            trainer.stop()
            assert next_of(client_job).topic == Topic.PEER_GONE
            client_job.stop(close_pipe=False)
