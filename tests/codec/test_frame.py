"""A frame is a safetensors file; its bytes are where the layout says, and are copied once."""

from __future__ import annotations

import gc
import json
import mmap
import weakref
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federant.codec import FrameError, decode, encode, read_layout, read_tensors
from federant.exchange import DXO, DataKind, Shareable

DTYPES = [np.dtype(code) for code in "?bBhHiIlLefdF"]
models = st.dictionaries(
    st.text(max_size=10),
    hnp.arrays(
        dtype=st.sampled_from(DTYPES), shape=hnp.array_shapes(min_dims=1, max_dims=3, min_side=0)
    ),
    max_size=6,
)


@pytest.fixture
def model() -> dict[str, Any]:
    return {
        "bytes": np.arange(3, dtype="u1"),
        "aligned": np.ones((4, 4), "f4"),
        "doubles": np.arange(3.0),
        "nested": {"halves": np.ones(5, "f2"), "list": [np.zeros(2, "f4")]},
        "empty": np.zeros((0, 7), "i4"),
    }


@given(models)
def test_the_safetensors_library_reads_what_we_write(model: dict[str, Any]) -> None:
    found = safetensors.numpy.load(encode(model).to_bytes())
    names = [name or "value" for name in model]
    if "__metadata__" not in names and len(set(names)) == len(names):
        assert sorted(found) == sorted(names)
    assert sorted(a.tobytes() for a in found.values()) == sorted(
        a.tobytes() for a in model.values()
    )


@given(models)
def test_we_read_what_the_safetensors_library_writes_again(model: dict[str, Any]) -> None:
    ours = encode(model).to_bytes()
    metadata = json.loads(ours[8 : 8 + int.from_bytes(ours[:8], "little")])["__metadata__"]
    theirs = safetensors.numpy.save(safetensors.numpy.load(ours), metadata)
    for name, array in decode(theirs).body.items():
        np.testing.assert_array_equal(array, model[name])


@given(models)
def test_tensors_of_a_foreign_safetensors_file_are_read_by_name(model: dict[str, Any]) -> None:
    model.pop("__metadata__", None)
    found = read_tensors(safetensors.numpy.save(model))
    assert found.keys() == model.keys()
    for name, array in model.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_file_that_the_safetensors_library_opens_has_the_models_own_names(
    model: dict[str, Any], tmp_path: Any
) -> None:
    path = tmp_path / "model.safetensors"
    for body in (DXO(DataKind.WEIGHTS, model), DXO(DataKind.WEIGHTS, model).to_shareable(), model):
        path.write_bytes(encode(body).to_bytes())
        with safetensors.safe_open(path, "np") as opened:
            assert sorted(opened.keys()) == [
                "aligned",
                "bytes",
                "doubles",
                "empty",
                "nested.halves",
                "nested.list.0",
            ]
            np.testing.assert_array_equal(opened.get_tensor("aligned"), model["aligned"])


def test_tensors_outside_the_data_are_named_by_their_path() -> None:
    dxo = DXO(DataKind.WEIGHTS, {"w": np.ones(1)}, {"control": np.zeros(1)})
    shareable = dxo.to_shareable()
    shareable.set_header("h", np.ones(2))
    shareable["other"] = np.ones(3)
    assert {t.name for t in encode(shareable).tensors} == {
        "w",
        "DXO.meta.control",
        "headers.h",
        "other",
    }
    assert {t.name for t in encode(dxo).tensors} == {"w", "meta.control"}
    assert encode(np.ones(1)).tensors[0].name == "value"


def test_names_that_collide_are_numbered() -> None:
    body = {"a.b": np.full(1, 1), "a": {"b": np.full(1, 2)}, "a.b#2": np.full(1, 3)}
    body["__metadata__"] = np.full(1, 4)
    frame = encode(body)
    assert [t.name for t in frame.tensors] == ["a.b", "a.b#2", "a.b#2#2", "__metadata__#2"]
    back = decode(frame.to_bytes()).body
    assert back["a.b"] == 1
    assert back["a"]["b"] == 2
    assert back["a.b#2"] == 3


def test_every_tensor_lies_aligned_and_without_gaps(model: dict[str, Any]) -> None:
    frame = encode(model)
    assert len(frame.header) % 64 == 0
    stop = len(frame.header)
    for span in frame.tensors:
        assert span.start == stop
        assert span.start % span.numpy_dtype.itemsize == 0
        assert span.nbytes == span.stop - span.start
        stop = span.stop
    assert stop == frame.size
    assert [t.name for t in frame.tensors][:2] == ["aligned", "empty"]
    for array in read_tensors(bytearray(frame.to_bytes())).values():
        assert array.flags.aligned


@pytest.mark.parametrize("names", [1, 300])
def test_large_tensors_of_whole_pages_begin_in_the_middle_of_one(names: int) -> None:
    body = {f"bias {number}": np.ones(10, "f4") for number in range(names)}
    body |= {f"w{number}": np.ones(1 << 16, "f4") for number in range(3)}
    large = [span for span in encode(body).tensors if span.name.startswith("w")]
    assert [span.start % 4096 for span in large] == [2048] * 3


def test_a_small_frame_is_not_filled_up_to_a_page() -> None:
    assert encode(np.ones(10)).size < 512


def test_chunks_are_views_of_contiguous_arrays() -> None:
    array = np.arange(1000, dtype="f4")
    header, chunk = encode({"a": array}).chunks()
    assert np.shares_memory(np.frombuffer(chunk, "f4"), array)
    assert header.nbytes + chunk.nbytes == encode({"a": array}).size


def test_a_read_only_array_travels() -> None:
    array = np.arange(4)
    array.flags.writeable = False
    frame = encode([array])
    assert decode(frame.to_bytes()).body[0].tolist() == [0, 1, 2, 3]


def test_write_into_takes_exactly_the_frames_size() -> None:
    frame = encode({"a": np.ones(3)})
    with pytest.raises(ValueError, match=f"takes {frame.size} bytes, the target has 5"):
        frame.write_into(memoryview(bytearray(5)))
    with pytest.raises(ValueError, match="read-only"):
        frame.write_into(memoryview(bytes(frame.size)))


def test_decoded_arrays_are_views_and_writable_if_the_buffer_is() -> None:
    data = encode({"a": np.zeros(3)}).to_bytes()
    fixed = decode(data).body["a"]
    assert not fixed.flags.writeable
    buffer = bytearray(data)
    view = decode(buffer).body["a"]
    view[:] = 7
    assert decode(bytes(buffer)).body["a"].tolist() == [7, 7, 7]


def test_a_mapping_lives_exactly_as_long_as_the_last_view_of_it() -> None:
    frame = encode({"a": np.arange(6.0), "b": "x" * 5000})
    mapping = mmap.mmap(-1, frame.size)
    frame.write_into(memoryview(mapping))
    closed: list[bool] = []
    weakref.finalize(mapping, closed.append, True)
    body = decode(mapping).body
    with pytest.raises(BufferError):
        mapping.close()
    del mapping
    view = body["a"].reshape(2, 3).T[1:]
    del body
    gc.collect()
    assert not closed
    assert view.tolist() == [[1, 4], [2, 5]]
    del view
    gc.collect()
    assert closed


def test_the_envelope_comes_back_beside_the_body() -> None:
    envelope = {"topic": "train", "ids": ("a", None), "text": "x" * 10_000}
    decoded = decode(encode([1], envelope=envelope).to_bytes())
    assert decoded.envelope == envelope
    assert decoded.body == [1]


def test_the_layout_needs_only_the_header() -> None:
    dxo = DXO(DataKind.WEIGHTS, {"w": np.ones((2, 3), "f4"), "text": "x" * 5000}, {"n": 3})
    shareable = dxo.to_shareable()
    shareable.set_return_code("OK")
    frame = encode(shareable, envelope={"topic": "train"})
    layout = read_layout(frame.header, frame.size)
    assert layout.header_size == len(frame.header)
    assert layout.size == frame.size
    assert layout.tensors == frame.tensors
    assert layout.envelope == {"topic": "train"}
    body = layout.body()
    assert isinstance(body, Shareable)
    assert body.get_return_code() == "OK"
    assert body["DXO"]["meta"] == {"n": 3}
    assert body["DXO"]["data"] == {span.name: span for span in frame.tensors}
    assert layout.body(lambda span: span.shape)["DXO"]["data"]["w"] == (2, 3)


def test_a_safetensors_file_that_is_no_frame_is_named() -> None:
    foreign = safetensors.numpy.save({"a": np.ones(1)})
    with pytest.raises(FrameError, match="metadata has no entry 'federant'"):
        decode(foreign)
