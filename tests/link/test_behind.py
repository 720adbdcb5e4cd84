"""What is done to the parts of a transfer while its next ones are received."""

import threading

import pytest

from federant.link.behind import Behind

CHUNKS = [memoryview(bytes([number])) for number in range(5)]
SAFETY_NET_SECONDS = 60


def test_everything_is_done_in_order_once_it_is_left() -> None:
    done: list[bytes] = []
    with Behind(lambda chunk: done.append(bytes(chunk))) as behind:
        for chunk in CHUNKS:
            behind.take(chunk)
    assert done == [bytes(chunk) for chunk in CHUNKS]


def test_a_chunk_is_seen_to_while_the_next_is_made_ready() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def act(_: memoryview) -> None:
        begun.set()
        assert may_end.wait(SAFETY_NET_SECONDS)

    with Behind(act) as behind:
        behind.take(CHUNKS[0])
        assert begun.wait(SAFETY_NET_SECONDS)
        may_end.set()


def test_what_was_taken_is_done_also_after_an_error() -> None:
    done: list[bytes] = []

    def cut() -> None:
        with Behind(lambda chunk: done.append(bytes(chunk))) as behind:
            behind.take(CHUNKS[0])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        cut()
    assert done == [bytes(CHUNKS[0])]


def test_nothing_is_done_after_a_chunk_that_failed() -> None:
    tried: list[bytes] = []

    def act(chunk: memoryview) -> None:
        tried.append(bytes(chunk))
        raise OSError("the disk is full")

    def take_all() -> None:
        with Behind(act) as behind:
            for chunk in CHUNKS:
                behind.take(chunk)

    with pytest.raises(OSError, match="the disk is full"):
        take_all()
    assert tried == [bytes(CHUNKS[0])]
