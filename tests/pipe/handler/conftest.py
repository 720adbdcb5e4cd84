"""What tests of the handler share: both ends' handlers, what they heard, a pipe that is polled."""

import queue

import pytest

from federant.pipe import MemoryPipe, Mode, Pipe, PipeHandler
from federant.testing.two_ends import LONG, SHORT


@pytest.fixture
def pipes(request):
    token = request.node.name
    agent, job = MemoryPipe(token, Mode.ACTIVE), MemoryPipe(token, Mode.PASSIVE)
    for pipe in (agent, job):
        pipe.open("task")
    yield agent, job
    for pipe in (agent, job):
        pipe.close()


@pytest.fixture
def make_handler():
    made = []

    def make(pipe, **arguments):
        handler = PipeHandler(pipe, **{"resend_interval": SHORT, **arguments})
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler.stop()


@pytest.fixture
def trainer(pipes, make_handler):
    handler = make_handler(pipes[0])
    handler.start()
    return handler


@pytest.fixture
def job(pipes, make_handler):
    """The passive end's handler, not yet started."""
    return make_handler(pipes[1])


class Heard:
    """A callback that keeps the messages it is called with, and the rest of the latest call."""

    def __init__(self):
        self.arguments = ()
        self._messages = queue.Queue()

    def __call__(self, msg, *args, **kwargs):
        self.arguments = (args, kwargs)
        self._messages.put(msg)

    def next(self):
        return self._messages.get(timeout=LONG)

    def is_empty(self):
        return self._messages.empty()


class PollingPipe(Pipe):
    """A pipe that cannot wake its reader, as those that others write may be."""

    def __init__(self, pipe):
        super().__init__(pipe.mode)
        self.pipe = pipe

    def open(self, name):
        self.pipe.open(name)

    def clear(self):
        self.pipe.clear()

    def send(self, msg, timeout=None):
        return self.pipe.send(msg, timeout)

    def receive(self, timeout=None):
        return self.pipe.receive(timeout)

    def close(self):
        self.pipe.close()

    def can_resend(self):
        return False


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def polling_pipe():
    """The class of a pipe round another one: it cannot wake its reader."""
    return PollingPipe
