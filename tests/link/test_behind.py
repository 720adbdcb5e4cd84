"""Work on chunks while the next are received: order, errors, what is done on leaving, bounds."""

import threading

import pytest

from federant.link.behind import Behind

PATIENT_SECONDS = 60.0


def chunks(count: int) -> list[bytes]:
    return [bytes([number]) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_each_chunk_is_done_once_and_in_order(count: int) -> None:
    done: list[bytes] = []
    with Behind(done.append) as behind:
        for chunk in chunks(count):
            behind.take(chunk)
    assert done == chunks(count)


def test_one_chunk_alone_needs_no_other_thread() -> None:
    threads = []
    with Behind(lambda _: threads.append(threading.current_thread())) as behind:
        behind.take(b"one")
    assert threads == [threading.current_thread()]


def test_what_was_taken_before_an_error_of_the_receiver_is_done() -> None:
    done: list[bytes] = []

    def receive() -> None:
        with Behind(done.append) as behind:
            for chunk in chunks(3):
                behind.take(chunk)
            raise ConnectionError("cut")

    with pytest.raises(ConnectionError):
        receive()
    assert done == chunks(3)


def test_after_an_error_of_the_work_nothing_more_is_done() -> None:
    done: list[bytes] = []

    def act(chunk: bytes) -> None:
        if chunk == b"\x01":
            raise OSError("the disk is full")
        done.append(chunk)

    def receive() -> None:
        with Behind(act) as behind:
            for chunk in chunks(50):
                behind.take(chunk)

    with pytest.raises(OSError, match="the disk is full"):
        receive()
    assert done == [b"\x00"]


def test_whoever_receives_is_held_up_while_too_much_waits() -> None:
    may_go_on, taken = threading.Event(), threading.Semaphore(0)
    counts = []

    def act(_: bytes) -> None:
        assert may_go_on.wait(PATIENT_SECONDS)

    def receive() -> None:
        with Behind(act) as behind:
            for chunk in chunks(50):
                behind.take(chunk)
                counts.append(chunk)
                taken.release()

    receiver = threading.Thread(target=receive)
    receiver.start()
    # Those that wait, and the last, of which it is not known yet whether it is the only one.
    for _ in range(5):
        assert taken.acquire(timeout=PATIENT_SECONDS)
    assert not taken.acquire(timeout=0.2)
    may_go_on.set()
    receiver.join(PATIENT_SECONDS)
    assert counts == chunks(50)
