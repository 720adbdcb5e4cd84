"""One frame, byte for byte: whoever changes the format must give it a new version."""

from __future__ import annotations

from typing import Any

import numpy as np

from federant.codec import decode, encode
from federant.exchange import DXO, DataKind, Shareable

GOLDEN = bytes.fromhex(
    """
    78020000000000007b225f5f6d657461646174615f5f223a7b226665646572616e74223a226b7747427058527663476c
    6a7058527959576c756b736341516f4b725831396f5a57466b5a584a7a58312b43734639665932397564475675644639
    306558426c58312b6a52466850725639666447467a613139755957316c58312b6c64484a686157366a52466850673652
    726157356b324346455958526853326c755a43355852556c485346525470475268644747587877424270577868655756
    7967715a335a576c6e614854484441467359586c6c636935335a576c6e6148536b596d6c686338634b41577868655756
    794c6d4a7059584f6b6257467a613959426257467a61774f5978774241774d502f78776b674141414141414141414141
    42797a2f3441414141414141416f734f70784145417047316c644747437430355654563954564556515531394456564a
    535255355558314a505655354578777769535459304f67634141414141414141417058426861584a7a6b386341515a50
    48414541424174516a65413d3d227d2c226c617965722e776569676874223a7b226474797065223a22463332222c2273
    68617065223a5b342c345d2c22646174615f6f666673657473223a5b302c36345d7d2c226c617965722e62696173223a
    7b226474797065223a22463634222c227368617065223a5b325d2c22646174615f6f666673657473223a5b36342c3830
    5d7d2c226d61736b223a7b226474797065223a22424f4f4c222c227368617065223a5b335d2c22646174615f6f666673
    657473223a5b38302c38335d7d7d20202020202020202020202020202020202020202020202020202020202020202020
    20202020202020202020202020202020000000000000803f0000004000004040000080400000a0400000c0400000e040
    0000004100001041000020410000304100004041000050410000604100007041000000000000f03f000000000000f03f
    010001
    """
)


def body() -> Shareable:
    shareable = DXO(
        DataKind.WEIGHTS,
        {
            "layer": {"weight": np.arange(16, dtype="f4").reshape(4, 4), "bias": np.ones(2, "f8")},
            "mask": np.array([True, False, True]),
            3: (None, True, -1, 2**64, 1.5, "é", b"\0"),
        },
        {"NUM_STEPS_CURRENT_ROUND": np.int64(7), "pairs": {(1, 2): bytearray(b"x")}},
    ).to_shareable()
    shareable.set_header("__task_name__", "train")
    return shareable


def test_the_golden_frame_is_written_as_ever() -> None:
    assert encode(body(), envelope={"topic": "train"}).to_bytes() == GOLDEN


def test_the_golden_frame_is_read_as_ever() -> None:
    decoded = decode(GOLDEN)
    assert decoded.envelope == {"topic": "train"}
    found, sent = decoded.body["DXO"], body()["DXO"]
    assert decoded.body["__headers__"] == body()["__headers__"]
    assert found["kind"] is DataKind.WEIGHTS
    assert found["meta"] == sent["meta"]
    assert found["data"][3] == sent["data"][3]
    np.testing.assert_array_equal(found["data"]["mask"], sent["data"]["mask"])
    for name, array in sent["data"]["layer"].items():
        np.testing.assert_array_equal(found["data"]["layer"][name], array)
        assert found["data"]["layer"][name].dtype == array.dtype


GOLDEN_RECORDS = bytes.fromhex(
    """
    78010000000000007b225f5f6d657461646174615f5f223a7b226665646572616e74223a226b774741673664795a574e
    76636d527a6b3863415270555177734b566f5745416b4b4e4a4d546168644a5368596753524171512b526a4d79787763
    42636d566a62334a6b633668795a574e68636e4a68655a504841456555416350436c4b4634414a436b516b3950544e63
    42636d566a59584a7959586d6d636d566a62334a6b6c4d6341534a514577734b556f5867416b4b4d3856544845424141
    4141414444227d2c227265636f726473223a7b226474797065223a225538222c227368617065223a5b322c31365d2c22
    646174615f6f666673657473223a5b302c33325d7d2c227265636172726179223a7b226474797065223a225538222c22
    7368617065223a5b312c315d2c22646174615f6f666673657473223a5b33322c33335d7d7d2020202020202020202020
    202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020
    010000003fc000003fc0000000000000020000003fc000003fc000000000000001
    """
)


def records() -> dict[str, Any]:
    parts = {"names": ["a", "b"], "formats": ["<i2", (">f4", (2,))], "titles": ["t", None]}
    array = np.zeros(2, np.dtype({**parts, "offsets": [0, 4], "itemsize": 16}))  # type: ignore[call-overload]
    array["a"], array["b"] = [1, 2], 1.5
    recarray = np.ones(1, [("x", "?")]).view(np.recarray)
    return {"records": array, "recarray": recarray, "record": np.zeros(1, [("x", "<U1")])[0]}


def test_the_golden_frame_of_records_is_written_as_ever() -> None:
    assert encode(records()).to_bytes() == GOLDEN_RECORDS


def test_the_golden_frame_of_records_is_read_as_ever() -> None:
    found = decode(GOLDEN_RECORDS).body
    for name, sent in records().items():
        assert type(found[name]) is type(sent)
        assert found[name].dtype == sent.dtype
        assert found[name].tobytes() == sent.tobytes()
    assert found["records"]["t"].tolist() == [1, 2]
    assert found["records"]["b"].tolist() == [[1.5, 1.5]] * 2
