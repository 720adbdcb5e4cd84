"""PipeContract: what every pipe must do, as a suite to inherit; it fixes what the words mean."""

from collections.abc import Callable

import numpy as np
import pytest

from federant.pipe import Message, Mode, Pipe
from federant.testing.handler_contract import HandlerContract
from federant.testing.parting_contract import PartingContract
from federant.testing.two_ends import (
    LONG,
    METRIC,
    SHORT,
    TASK,
    MakePipe,
    OpenPipe,
    in_thread,
    pass_on,
    receive,
    request,
    unreadable,
)


class PipeContract(PartingContract, HandlerContract):
    """Inherit in a test module as a class named Test..., and override make_pipe.

        class TestMyPipe(PipeContract):
            @pytest.fixture
            def make_pipe(self, tmp_path):
                return lambda mode: MyPipe(mode, str(tmp_path))

    make_pipe(mode) gives a new pipe, not open; all that it gives in one test meet each other.
    Set crosses_processes where the two ends can be in two processes: then tests also kill either
    end, which they make from what export says.
    """

    # -- what arrives --------------------------------------------------------------------------

    def test_message_arrives_with_type_topic_ids_and_data(self, agent: Pipe, job: Pipe) -> None:
        sent = Message(Message.REPLY, "train", {"x": [1, 2.5, None, "é"]}, "an-id", "a-request")
        received = pass_on(agent, job, sent)
        assert received.msg_type == Message.REPLY
        assert received.topic == "train"
        assert received.data == {"x": [1, 2.5, None, "é"]}
        assert received.msg_id == "an-id"
        assert received.req_id == "a-request"

    @pytest.mark.parametrize("msg_id", [7, "any text, even with a / in it"])
    def test_ids_are_kept_as_they_are(self, agent: Pipe, job: Pipe, msg_id: int | str) -> None:
        received = pass_on(job, agent, Message.new_request("train", None, msg_id))
        assert received.msg_id == msg_id
        assert received.req_id is None

    @pytest.mark.parametrize("data", [None, "", {}, [], b""], ids=repr)
    def test_empty_data_arrives(self, agent: Pipe, job: Pipe, data: object) -> None:
        assert pass_on(agent, job, Message.new_request("train", data)).data == data

    @pytest.mark.parametrize("length", [0, 1, 1000, 100_000, 2 * 1024 * 1024])
    def test_arrays_of_any_size_arrive_whole(self, agent: Pipe, job: Pipe, length: int) -> None:
        values = np.arange(length, dtype=np.float32)
        received = pass_on(agent, job, Message.new_request("train", {"values": values}))
        np.testing.assert_array_equal(received.data["values"], values)

    def test_many_large_messages_arrive_whole(self, agent: Pipe, job: Pipe) -> None:
        for number in range(4):
            values = np.full(1024 * 1024, number, dtype=np.float64)
            for sender, receiver in ((job, agent), (agent, job)):
                msg = Message.new_request("train", values)
                np.testing.assert_array_equal(pass_on(sender, receiver, msg).data, values)

    def test_received_arrays_can_be_written_without_reaching_the_sender_or_a_later_message(
        self, agent: Pipe, job: Pipe
    ) -> None:
        values = np.ones(100_000)
        first = pass_on(job, agent, Message.new_request("train", values)).data
        first[:] = -1.0
        second = pass_on(job, agent, Message.new_request("train", values)).data
        assert (values == 1.0).all()
        assert (second == 1.0).all()
        assert (first == -1.0).all()

    def test_what_the_sender_writes_afterwards_does_not_arrive(
        self, agent: Pipe, job: Pipe
    ) -> None:
        pass_on(agent, job, request())
        values = np.ones(100_000)
        assert agent.send(Message.new_request("train", values), timeout=0)
        values[:] = -1.0
        assert (receive(job).data == 1.0).all()

    def test_messages_arrive_in_order(self, agent: Pipe, job: Pipe) -> None:
        pass_on(agent, job, request())
        for number in range(100):
            assert agent.send(request(number), timeout=0)
        assert [receive(job).data["number"] for _ in range(100)] == list(range(100))

    def test_both_directions_work_at_once(self, agent: Pipe, job: Pipe) -> None:
        def send_all(pipe: Pipe) -> list[bool]:
            return [pipe.send(request(number), LONG) for number in range(50)]

        def receive_all(pipe: Pipe) -> list[int]:
            return [receive(pipe).data["number"] for _ in range(50)]

        received = [in_thread(receive_all, pipe) for pipe in (agent, job)]
        sent = [in_thread(send_all, pipe) for pipe in (agent, job)]
        for numbers in received:
            assert numbers.result(LONG) == list(range(50))
        for answers in sent:
            assert all(answers.result(LONG))

    def test_many_threads_may_send_at_once(self, agent: Pipe, job: Pipe) -> None:
        def send_some(start: int) -> bool:
            return all(agent.send(request(start + n), LONG) for n in range(20))

        senders = [in_thread(send_some, 20 * start) for start in range(5)]
        received = [receive(job).data["number"] for _ in range(100)]
        assert sorted(received) == list(range(100))
        assert all(sender.result(LONG) for sender in senders)

    def test_task_and_metric_pipes_lie_side_by_side(self, open_pipe: OpenPipe) -> None:
        ends = {
            channel: (open_pipe(Mode.ACTIVE, channel), open_pipe(Mode.PASSIVE, channel))
            for channel in (TASK, METRIC)
        }
        for channel, (agent, job) in ends.items():
            assert pass_on(agent, job, Message.new_request("m", channel)).data == channel
        for agent, job in ends.values():
            assert agent.receive() is None
            assert job.receive() is None

    # -- what send and receive answer ----------------------------------------------------------

    def test_send_is_true_only_after_the_peer_has_received(self, agent: Pipe, job: Pipe) -> None:
        assert agent.send(request(1), SHORT) is False
        msg = request(2)
        sent = in_thread(agent.send, msg, LONG)
        while receive(job).data["number"] != 2:  # the first may have stayed on its way
            assert not sent.done()
        assert sent.result(LONG) is True

    def test_message_sent_again_after_false_arrives(self, agent: Pipe, job: Pipe) -> None:
        msg = request()
        assert agent.send(msg, SHORT) is False
        sent = in_thread(agent.send, msg, LONG)
        ids = set()
        while not sent.done():  # the first may have stayed on its way and comes too
            received = job.receive(SHORT)
            if received is not None:
                ids.add(received.msg_id)
        assert sent.result() is True
        assert ids == {msg.msg_id}

    def test_receive_without_a_message_is_none(self, agent: Pipe, job: Pipe) -> None:
        assert job.receive() is None
        assert job.receive(0) is None
        assert job.receive(SHORT) is None
        assert agent.receive(SHORT) is None

    def test_waiting_receive_gets_the_message(self, agent: Pipe, job: Pipe) -> None:
        received = in_thread(receive, job)
        assert agent.send(request(3), LONG)
        assert received.result(LONG).data["number"] == 3

    @pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.PASSIVE])
    def test_the_sender_is_told_why_its_message_could_not_be_read(
        self, open_pipe: OpenPipe, mode: Mode
    ) -> None:
        sender, receiver = open_pipe(mode), open_pipe(mode.opposite)
        msg = unreadable()
        assert msg.dropped == ""
        sent = in_thread(sender.send, msg, LONG)
        received = in_thread(receive, receiver)
        assert sent.result(LONG / 2) is False
        assert "very many keys of the same hash" in msg.dropped
        assert sender.send(request(1), LONG) is True  # the peer is as well as before
        assert received.result(LONG).data["number"] == 1
        msg.data = None
        assert pass_on(sender, receiver, msg).data is None
        assert msg.dropped == ""

    def test_a_message_that_was_cleared_away_was_not_unreadable(
        self, agent: Pipe, job: Pipe
    ) -> None:
        pass_on(agent, job, request())
        msg = unreadable()
        assert agent.send(msg, SHORT) is False
        job.clear()
        assert job.receive() is None
        agent.send(msg, SHORT)
        assert msg.dropped == ""

    @pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.PASSIVE])
    def test_without_a_peer_send_waits_in_vain_or_drops(
        self, open_pipe: OpenPipe, mode: Mode
    ) -> None:
        pipe = open_pipe(mode)
        assert pipe.send(request(), SHORT) is False
        assert pipe.send(request(), 0) is False
        assert pipe.receive(SHORT) is None

    @pytest.mark.parametrize("first", [Mode.ACTIVE, Mode.PASSIVE])
    def test_either_end_may_open_first_and_send_waits_for_the_other(
        self, open_pipe: OpenPipe, first: Mode
    ) -> None:
        sent = in_thread(open_pipe(first).send, request(5), LONG)
        assert receive(open_pipe(first.opposite)).data["number"] == 5
        assert sent.result(LONG) is True

    @pytest.mark.parametrize("timeout", [0, SHORT])
    def test_data_that_cannot_travel_is_a_type_error_and_harms_nothing(
        self, agent: Pipe, open_pipe: OpenPipe, timeout: float
    ) -> None:
        with pytest.raises(TypeError, match=r"\['x'\]\[1\]"):
            agent.send(Message.new_request("train", {"x": [1, object()]}), timeout)
        assert pass_on(agent, open_pipe(Mode.PASSIVE), request(1)).data["number"] == 1

    def test_reading_shows_that_the_peer_is_active(self, agent: Pipe, job: Pipe) -> None:
        pass_on(agent, job, request())
        before = agent.get_last_peer_active_time()
        pass_on(agent, job, request())
        after = agent.get_last_peer_active_time()
        assert before == after == 0.0 or after > before

    @pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.PASSIVE])
    @pytest.mark.parametrize("length", [1, 100_000])
    def test_reading_what_was_sent_without_waiting_is_no_sign_of_progress(
        self, open_pipe: OpenPipe, mode: Mode, length: int
    ) -> None:
        sender, receiver = open_pipe(mode), open_pipe(mode.opposite)
        pass_on(sender, receiver, request())
        before = sender.get_last_peer_active_time()
        assert sender.send(Message.new_request("train", np.ones(length)), timeout=0)
        receive(receiver)
        assert receiver.receive() is None  # by now it has told all that it tells
        assert sender.receive(SHORT) is None
        assert sender.get_last_peer_active_time() == before

    def test_clear_drops_what_waits_to_be_received(self, agent: Pipe, job: Pipe) -> None:
        pass_on(agent, job, request())
        assert agent.send(request(1), timeout=0)
        job.clear()
        assert pass_on(agent, job, request(2)).data["number"] == 2

    def test_export_makes_the_other_end(self, agent: Pipe, make_pipe: MakePipe) -> None:
        name, arguments = make_pipe(Mode.PASSIVE).export("SELF")
        assert (name, arguments) == agent.export("PEER")
        assert name == f"{type(agent).__module__}.{type(agent).__qualname__}"
        made: Callable[..., Pipe] = type(agent)
        assert made(**arguments).mode is Mode.PASSIVE

    # -- waking --------------------------------------------------------------------------------

    def test_wake_ends_a_waiting_receive(self, agent: Pipe, job: Pipe) -> None:
        if not job.can_wake():
            pytest.skip("this pipe cannot wake its reader")
        waiting = in_thread(job.receive, LONG)
        job.wake()  # before or after receive begins: it ends either way
        assert waiting.result(LONG / 2) is None
        assert pass_on(agent, job, request(1)).data["number"] == 1

    def test_wake_ends_the_send_of_a_withdrawn_message_only(self, agent: Pipe, job: Pipe) -> None:
        if not agent.can_wake():
            pytest.skip("this pipe cannot wake its senders")
        withdrawn, other = request(1), request(2)
        waiting = [in_thread(agent.send, msg, LONG) for msg in (withdrawn, other)]
        withdrawn.withdrawn = True
        agent.wake()
        assert waiting[0].result(LONG / 2) is False
        while receive(job).data["number"] != 2:
            pass
        assert waiting[1].result(LONG) is True

    # -- opening and closing -------------------------------------------------------------------

    def test_pipe_that_is_not_open_is_a_broken_pipe(self, make_pipe: MakePipe) -> None:
        pipe = make_pipe(Mode.ACTIVE)
        for call in (lambda: pipe.send(request(), 0), lambda: pipe.receive(0), pipe.clear):
            with pytest.raises(BrokenPipeError, match="not open"):
                call()

    def test_closed_pipe_is_a_broken_pipe(self, agent: Pipe, job: Pipe) -> None:
        pass_on(agent, job, request())
        for pipe in (agent, job):
            pipe.close()
            with pytest.raises(BrokenPipeError):
                pipe.send(request(), timeout=0)
            with pytest.raises(BrokenPipeError):
                pipe.receive()

    def test_close_before_open_and_twice_does_nothing(self, make_pipe: MakePipe) -> None:
        pipe = make_pipe(Mode.ACTIVE)
        pipe.close()
        pipe.open(TASK)
        pipe.close()
        pipe.close()

    @pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.PASSIVE])
    def test_close_ends_a_waiting_receive(self, open_pipe: OpenPipe, mode: Mode) -> None:
        pipe = open_pipe(mode)
        waiting = in_thread(pipe.receive, LONG)
        pipe.close()
        with pytest.raises(BrokenPipeError):
            waiting.result(LONG / 2)

    def test_close_ends_a_waiting_send(self, agent: Pipe, job: Pipe) -> None:
        pass_on(agent, job, request())
        waiting = in_thread(agent.send, request(), LONG)
        agent.close()
        with pytest.raises(BrokenPipeError):
            waiting.result(LONG / 2)

    @pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.PASSIVE])
    def test_close_ends_a_send_that_waits_for_a_peer(self, open_pipe: OpenPipe, mode: Mode) -> None:
        pipe = open_pipe(mode)
        waiting = in_thread(pipe.send, request(), LONG)
        pipe.close()
        with pytest.raises(BrokenPipeError):
            waiting.result(LONG / 2)
