import pytest

from federant.pipe import MemoryPipe, Message, Mode
from federant.testing import FaultPipe, PipeContract
from federant.testing.two_ends import LONG, SHORT, in_thread, request


class TestFaultPipeWithoutFaults(PipeContract):
    @pytest.fixture
    def make_pipe(self, request):
        token = request.node.name
        return lambda mode: FaultPipe(MemoryPipe(token, mode))

    def test_export_makes_the_other_end(self, agent, make_pipe):
        """It exports the pipe that it wraps: faults are one end's own affair."""
        name, arguments = make_pipe(Mode.PASSIVE).export("SELF")
        assert (name, arguments) == agent.export("PEER")
        assert name == "federant.pipe.memory.MemoryPipe"


@pytest.fixture
def ends(request):
    token = request.node.name
    faulty, other = FaultPipe(MemoryPipe(token)), MemoryPipe(token, Mode.PASSIVE)
    for pipe in (faulty, other):
        pipe.open("task")
    yield faulty, other
    for pipe in (faulty, other):
        pipe.close()


def numbers(pipe):
    found = []
    while (msg := pipe.receive()) is not None:
        found.append(msg.data["number"])
    return found


def send_all(pipe, count):
    for number in range(count):
        assert pipe.send(request(number), timeout=0)


def chooses(*wanted):
    return lambda msg: msg.data["number"] in wanted


def test_dropped_message_does_not_arrive(ends):
    faulty, other = ends
    faulty.drop(chooses(1))
    send_all(faulty, 3)
    assert numbers(other) == [0, 2]


def test_dropped_message_was_not_read(ends):
    faulty, _ = ends
    faulty.drop(chooses(0))
    assert faulty.send(request(0), LONG) is False


def test_fault_befalls_so_many_messages_as_it_was_told(ends):
    faulty, other = ends
    faulty.drop(chooses(0, 1, 2, 3), times=2)
    send_all(faulty, 4)
    assert numbers(other) == [2, 3]
    assert [msg.data["number"] for msg in faulty.hit] == [0, 1]


def test_duplicated_message_arrives_twice(ends):
    faulty, other = ends
    faulty.duplicate(chooses(1))
    send_all(faulty, 3)
    assert numbers(other) == [0, 1, 1, 2]


def test_held_messages_arrive_late_and_in_order(ends):
    faulty, other = ends
    faulty.hold(chooses(0, 1), times=2)
    send_all(faulty, 3)
    assert numbers(other) == [2]
    faulty.release()
    assert numbers(other) == [0, 1]
    faulty.release()
    assert numbers(other) == []


def test_plans_are_followed_in_the_order_in_which_they_were_made(ends):
    faulty, other = ends
    faulty.drop(chooses(0))
    faulty.duplicate(chooses(0))
    send_all(faulty, 1)
    assert numbers(other) == []
    send_all(faulty, 1)
    assert numbers(other) == [0, 0]


def test_other_messages_wait_to_be_read_as_ever(ends):
    faulty, other = ends
    faulty.drop(chooses(7))
    assert faulty.send(Message.new_request("train", {"number": 1}), SHORT) is False
    sent = in_thread(faulty.send, request(2), LONG)
    assert other.receive(LONG).data["number"] == 2
    assert sent.result(LONG) is True
