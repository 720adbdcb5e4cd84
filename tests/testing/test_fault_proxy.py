"""What each fault of the proxy does to a connection; time is only ever waited for, never judged."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from federant.testing import FaultProxy, Way

SECONDS = 60.0


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A port that sends back what it gets, in capitals, and closes when the other side is done."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(65536):
                        connection.sendall(data.upper())
                except OSError:
                    pass

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(SECONDS)


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[FaultProxy]:
    with FaultProxy(*echo) as proxy:
        yield proxy


@pytest.fixture
def dial(proxy: FaultProxy) -> Iterator[Callable[[], socket.socket]]:
    dialled: list[socket.socket] = []

    def one() -> socket.socket:
        dialled.append(socket.create_connection(("127.0.0.1", proxy.port), SECONDS))
        return dialled[-1]

    yield one
    for connection in dialled:
        connection.close()


Dial = Callable[[], socket.socket]


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := connection.recv(size - len(data))):
        data += chunk
    return data


def ends(connection: socket.socket) -> bool:
    """Whether the other side has ended it, in whatever way, with no more bytes."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def is_refused(dial: Dial) -> bool:
    """Whether a new connection ends, be it while it is being made."""
    try:
        return ends(dial())
    except ConnectionError:
        return True


def test_without_a_fault_everything_passes_and_is_counted(proxy: FaultProxy, dial: Dial) -> None:
    connection = dial()
    connection.sendall(b"hello")
    assert read(connection, 5) == b"HELLO"
    assert (proxy.accepted, proxy.passed(Way.UP), proxy.passed(Way.DOWN)) == (1, 5, 5)


def test_a_side_that_is_done_sending_still_gets_its_answer(dial: Dial) -> None:
    connection = dial()
    connection.sendall(b"x" * 1_000_000)
    connection.shutdown(socket.SHUT_WR)
    assert read(connection, 1_000_001) == b"X" * 1_000_000


def test_a_cut_lets_exactly_so_many_bytes_through(proxy: FaultProxy, dial: Dial) -> None:
    connection = dial()
    proxy.cut_after(70_000, Way.DOWN)
    connection.sendall(b"x" * 100_000)
    assert read(connection, 100_000) == b"X" * 70_000
    assert ends(connection)
    assert proxy.passed(Way.DOWN) == 70_000


def test_the_side_that_a_cut_lets_bytes_through_to_gets_all_of_them() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        FaultProxy(*listening.getsockname()) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), SECONDS) as connection,
    ):
        proxy.cut_after(70_000)
        connection.sendall(b"x" * 100_000)
        assert ends(connection)
        taken, _ = listening.accept()
        with taken:
            assert read(taken, 100_000) == b"x" * 70_000


def test_cuts_count_from_one_to_the_next_over_connections(proxy: FaultProxy, dial: Dial) -> None:
    proxy.cut_after(10)
    proxy.cut_after(20)
    for passed in (10, 30):
        dial().sendall(b"x" * 100)
        assert proxy.wait_until(
            lambda proxy, so_far=passed: proxy.passed(Way.UP) == so_far, SECONDS
        )
    connection = dial()
    connection.sendall(b"on")
    assert read(connection, 2) == b"ON"


def test_a_stalled_line_takes_connections_and_passes_nothing_until_it_is_resumed(
    proxy: FaultProxy, dial: Dial
) -> None:
    before = dial()
    before.sendall(b"a")
    assert read(before, 1) == b"A"
    proxy.stall()
    after = dial()
    before.sendall(b"b")
    after.sendall(b"c")
    assert proxy.wait_until(lambda proxy: proxy.accepted == 2, SECONDS)
    assert proxy.passed(Way.UP) == 1
    proxy.resume()
    assert (read(before, 1), read(after, 1)) == (b"B", b"C")


def test_a_reset_ends_every_connection_and_the_next_one_works(
    proxy: FaultProxy, dial: Dial
) -> None:
    connections = [dial(), dial()]
    for connection in connections:
        connection.sendall(b"a")
        assert read(connection, 1) == b"A"
    assert proxy.reset() == 2
    assert all(ends(connection) for connection in connections)
    connection = dial()
    connection.sendall(b"b")
    assert read(connection, 1) == b"B"


def test_a_refusing_proxy_resets_new_connections_only(proxy: FaultProxy, dial: Dial) -> None:
    before = dial()
    before.sendall(b"a")
    assert read(before, 1) == b"A"
    proxy.refuse()
    assert is_refused(dial)
    before.sendall(b"b")
    assert read(before, 1) == b"B"
    proxy.resume()
    after = dial()
    after.sendall(b"c")
    assert read(after, 1) == b"C"


def test_a_later_connection_overtakes_one_that_is_held(proxy: FaultProxy, dial: Dial) -> None:
    proxy.hold()
    first = dial()
    first.sendall(b"first")
    assert proxy.wait_until(lambda proxy: proxy.accepted == 1, SECONDS)
    second = dial()
    second.sendall(b"second")
    assert read(second, 6) == b"SECOND"
    assert proxy.passed(Way.UP) == 6
    proxy.release()
    assert read(first, 5) == b"FIRST"


def test_a_slow_and_late_line_loses_nothing(proxy: FaultProxy, dial: Dial) -> None:
    proxy.rate(1_000_000)
    proxy.delay(0.01)
    connection = dial()
    sender = threading.Thread(target=connection.sendall, args=(b"x" * 100_000,))
    sender.start()
    assert read(connection, 100_000) == b"X" * 100_000
    sender.join(SECONDS)
    proxy.rate(None)
    proxy.delay(0)
    connection.sendall(b"on")
    assert read(connection, 2) == b"ON"


def test_a_target_that_has_moved_gets_the_next_connection(proxy: FaultProxy, dial: Dial) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy.retarget(*listening.getsockname())
        dial().sendall(b"here")
        taken, _ = listening.accept()
        with taken:
            assert read(taken, 4) == b"here"


def test_a_target_where_nobody_listens_ends_the_connection(proxy: FaultProxy, dial: Dial) -> None:
    with socket.socket() as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        proxy.retarget(*not_listening.getsockname())
        assert is_refused(dial)


def test_connections_end_with_the_proxy(echo: tuple[str, int]) -> None:
    with FaultProxy(*echo) as proxy:
        connection = socket.create_connection(("127.0.0.1", proxy.port), SECONDS)
        connection.sendall(b"a")
        assert read(connection, 1) == b"A"
    with connection:
        assert ends(connection)
