"""LocalPipe's records, byte for byte: whoever changes one must give the protocol a new version."""

import pytest

from federant.pipe.local.wire import (
    VERSION,
    Bye,
    Free,
    Hello,
    Parcel,
    Read,
    Record,
    Refuse,
    Unpacker,
    Welcome,
    to_bytes,
)

GOLDEN: list[tuple[Record, str]] = [
    (
        Hello("federant.pipe", 1, ["spool"], "token", "task", 7, "task-active-0"),
        # 55 bytes follow: a list of 8, "hello", "federant.pipe", 1, ["spool"], "token", "task", 7,
        # "task-active-0"
        "37000000 98 a568656c6c6f ad6665646572616e742e70697065 01 91a573706f6f6c a5746f6b656e"
        "a47461736b 07 ad7461736b2d6163746976652d30",
    ),
    (
        Welcome(1, ["spool"], 7, "task-passive-0"),
        # "welcome", 1, ["spool"], 7, "task-passive-0"
        "21000000 95 a777656c636f6d65 01 91a573706f6f6c 07 ae7461736b2d706173736976652d30",
    ),
    (
        Refuse("busy", "process 7"),
        # "refuse", "busy", "process 7"
        "17000000 93 a6726566757365 a462757379 a970726f636573732037",
    ),
    (
        Parcel(1, "REQ", "train", "an-id", None, 1.5, b"\x01\x02", "", 2),
        # "msg", 1, "REQ", "train", "an-id", nil, 1.5, two bytes, "", 2
        "26000000 9a a36d7367 01 a3524551 a5747261696e a5616e2d6964 c0 cb3ff8000000000000 c4020102"
        "a0 02",
    ),
    (
        Parcel(2, "REP", "train", 7, "an-id", 1.5, b"", "frame-1", 100_000),
        # "msg", 2, "REP", "train", 7, "an-id", 1.5, no bytes, "frame-1", 100000
        "2f000000 9a a36d7367 02 a3524550 a5747261696e 07 a5616e2d6964 cb3ff8000000000000 c400"
        "a76672616d652d31 ce000186a0",
    ),
    (
        Read(1, read=True, error=""),
        # "read", 1, true, ""
        "09000000 94 a472656164 01 c3 a0",
    ),
    (
        Read(2, read=False, error="no memory"),
        # "read", 2, false, "no memory"
        "12000000 94 a472656164 02 c2 a96e6f206d656d6f7279",
    ),
    (
        Free("frame-1", recycle=True),
        # "free", "frame-1", true
        "0f000000 93 a466726565 a76672616d652d31 c3",
    ),
    (
        Bye("closed"),
        # "bye", "closed"
        "0c000000 92 a3627965 a6636c6f736564",
    ),
]


@pytest.mark.parametrize(("record", "golden"), GOLDEN, ids=lambda value: type(value).__name__)
def test_the_bytes_of_a_record_are_what_they_were_in_version_1(record: Record, golden: str) -> None:
    assert VERSION == 1
    assert to_bytes(record) == bytes.fromhex(golden)


def test_records_come_out_of_the_bytes_however_these_are_cut() -> None:
    content = b"".join(bytes.fromhex(golden) for _, golden in GOLDEN)
    for length in (1, 7, len(content)):
        unpacker, records = Unpacker(), []
        for start in range(0, len(content), length):
            unpacker.feed(content[start : start + length])
            records.extend(unpacker.records())
        assert records == [record for record, _ in GOLDEN]
