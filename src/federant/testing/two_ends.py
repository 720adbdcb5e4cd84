"""What the suites for pipes are made with: fixtures for both ends, and small helpers."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, ClassVar, TypeAlias, TypeVar

import pytest

from federant.pipe import Message, Mode, Pipe, PipeChannelName, PipeHandler
from federant.testing.peer_process import PeerProcess

T = TypeVar("T")
MakePipe: TypeAlias = Callable[[Mode], Pipe]
OpenPipe: TypeAlias = Callable[..., Pipe]
MakeHandler: TypeAlias = Callable[..., PipeHandler]
StartPeer: TypeAlias = Callable[..., PeerProcess]

LONG = 60.0
"""Seconds within which what must happen happens, however busy the machine; nothing waits it out."""

SHORT = 0.05
"""Seconds after which a call that nobody answers must come back."""

TASK, METRIC = PipeChannelName.TASK, PipeChannelName.METRIC


def in_thread(call: Callable[..., T], *args: object) -> "Future[T]":
    """Runs the call in a daemon thread; the future has its result or its exception."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is read
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def receive(pipe: Pipe) -> Message:
    """The next message, which must come."""
    msg = pipe.receive(LONG)
    while msg is None:  # only a pipe that was woken
        msg = pipe.receive(LONG)
    return msg


def next_of(handler: PipeHandler) -> Message:
    """The next message of the handler's queue, which must come."""
    msg = handler.wait_next(LONG)
    assert msg is not None, "no message came"
    return msg


def pass_on(sender: Pipe, receiver: Pipe, msg: Message) -> Message:
    """Sends and receives one message; afterwards the ends know each other."""
    sent = in_thread(sender.send, msg, LONG)
    received = receive(receiver)
    assert sent.result(LONG) is True
    return received


def request(number: int = 0) -> Message:
    return Message.new_request("train", {"number": number})


def unreadable() -> Message:
    """A message that travels and that no receiver takes: very many keys have the same hash."""
    return Message.new_request("train", {number * (2**61 - 1): None for number in range(1, 300)})


class TwoEnds:
    """The fixtures of every suite; PipeContract says what is to be overridden."""

    crosses_processes: ClassVar[bool] = False

    @pytest.fixture
    def make_pipe(self) -> MakePipe:
        raise NotImplementedError("override the fixture make_pipe")

    @pytest.fixture
    def open_pipe(self, make_pipe: MakePipe) -> Iterator[OpenPipe]:
        """open_pipe(mode, channel="task") gives an open pipe that is closed after the test."""
        opened: list[Pipe] = []

        def open_one(mode: Mode, channel: str = TASK) -> Pipe:
            pipe = make_pipe(mode)
            opened.append(pipe)
            pipe.open(channel)
            return pipe

        yield open_one
        for pipe in opened:
            pipe.close()

    @pytest.fixture
    def agent(self, open_pipe: OpenPipe) -> Pipe:
        """The open ACTIVE end."""
        return open_pipe(Mode.ACTIVE)

    @pytest.fixture
    def job(self, open_pipe: OpenPipe) -> Pipe:
        """The open PASSIVE end."""
        return open_pipe(Mode.PASSIVE)

    @pytest.fixture
    def make_handler(self) -> Iterator[MakeHandler]:
        """make_handler(pipe, **arguments) gives a started handler, stopped after the test."""
        started: list[PipeHandler] = []

        def start(pipe: Pipe, **arguments: Any) -> PipeHandler:
            handler = PipeHandler(pipe, **{"resend_interval": SHORT, **arguments})
            started.append(handler)
            handler.start()
            return handler

        yield start
        for handler in started:
            handler.stop()

    @pytest.fixture
    def peer_process(self, make_pipe: MakePipe) -> Iterator[StartPeer]:
        """peer_process(mode=Mode.ACTIVE) gives a process that holds an open end of that mode."""
        if not self.crosses_processes:
            pytest.skip("both ends of this pipe are in one process")
        peers: list[PeerProcess] = []

        def start(mode: Mode = Mode.ACTIVE) -> PeerProcess:
            peer = PeerProcess(make_pipe(mode.opposite), TASK)
            peers.append(peer)
            return peer

        yield start
        for peer in peers:
            peer.end()
