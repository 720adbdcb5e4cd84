import pytest

from federant.pipe import MemoryPipe, Mode, PipeBusyError
from federant.testing import PipeContract
from federant.testing.two_ends import pass_on, request


class TestMemoryPipe(PipeContract):
    @pytest.fixture
    def make_pipe(self, request):
        token = request.node.name
        return lambda mode: MemoryPipe(token, mode)


@pytest.fixture
def open_pipe():
    opened = []

    def open_one(token, mode, channel="task"):
        pipe = MemoryPipe(token, mode)
        opened.append(pipe)
        pipe.open(channel)
        return pipe

    yield open_one
    for pipe in opened:
        pipe.close()


def test_mode_is_active_unless_said_otherwise():
    assert MemoryPipe("token").mode is Mode.ACTIVE


def test_token_must_be_a_str():
    with pytest.raises(TypeError, match="token must be a str, got int"):
        MemoryPipe(7)


def test_pipes_of_other_tokens_do_not_meet(open_pipe):
    open_pipe("one", Mode.PASSIVE)
    stranger = open_pipe("two", Mode.ACTIVE)
    assert stranger.send(request(), timeout=0) is False


def test_an_end_that_is_held_cannot_be_opened_again(open_pipe):
    pipe = open_pipe("token", Mode.ACTIVE)
    with pytest.raises(PipeBusyError, match=r"token='token' channel='task' mode=ACTIVE is open"):
        MemoryPipe("token", Mode.ACTIVE).open("task")
    with pytest.raises(PipeBusyError):
        pipe.open("metric")


def test_pipe_can_be_opened_again_after_close(open_pipe):
    agent, job = open_pipe("token", Mode.ACTIVE), open_pipe("token", Mode.PASSIVE)
    agent.close()
    job.close()
    agent.open("task")
    job.open("task")
    assert pass_on(agent, job, request(1)).data == {"number": 1}


def test_export_names_the_token():
    name, arguments = MemoryPipe("token", Mode.PASSIVE).export("PEER")
    assert name == "federant.pipe.memory.MemoryPipe"
    assert arguments == {"token": "token", "mode": "ACTIVE"}
