"""What cannot travel is refused at the sender, by its path."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from federant.codec import FrameError, JaxArray, Limits, TorchArray, decode, encode
from federant.exchange import DXO, DataKind, Shareable


class Colour(Enum):
    RED = 1


class Point(NamedTuple):
    x: int


@dataclass(frozen=True)
class Own:
    x: int = 1


class Ruled(tzinfo):
    pass


class OwnDict(dict[str, Any]):
    pass


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (range(3), "it is a range"),
        ({(1, Own())}, r"it is a [\w.]*test_refusals\.Own"),
        (Own(), r"it is a [\w.]*test_refusals\.Own"),
        (OwnDict(), r"it is a [\w.]*test_refusals\.OwnDict"),
        (Point(1), r"it is a [\w.]*test_refusals\.Point"),
        (Colour.RED, r"it is a [\w.]*test_refusals\.Colour"),
        (lambda: None, "it is a function"),
        (
            datetime(2020, 1, 1, tzinfo=Ruled()),
            r"its time zone is a [\w.]*Ruled, and",
        ),
        (time(tzinfo=timezone(timedelta(hours=1), "\ud800")), "its time zone's name is no text"),
        (np.array([object()]), "an array of dtype object; of these dtypes arrays travel: bool"),
        (np.ones(1, ml_dtypes.int4), "an array of dtype int4; of these dtypes arrays travel"),
        (np.ma.masked_array([1], [True]), r"it is a numpy\.ma\.(core\.)?MaskedArray"),
        (
            np.ones(1, "M8[s]").view(TorchArray),
            r"a TorchArray of dtype datetime64\[s\]",
        ),
        (np.ones(1, "U3").view(JaxArray), r"an array of jax of dtype <U3; of jax, the dtypes bool"),
        (np.str_("\ud800"), "character 0 is half of a surrogate pair"),
        ("\ud800", "character 0 is half of a surrogate pair"),
        ({"\ud800": 1}, "character 0 is half of a surrogate pair"),
    ],
)
def test_a_value_that_cannot_travel_is_named_with_its_path(value: object, reason: str) -> None:
    dxo = DXO(DataKind.WEIGHTS, {"layer1": [0, 1, 2, value]})
    path = r"^data\['layer1'\]\[3\].* cannot travel: .*"
    for body in (dxo, dxo.to_shareable()):
        with pytest.raises(TypeError, match=path + reason):
            encode(body)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (range(1), "the body"),
        ({"a": range(1)}, "body['a']"),
        ([(range(1),)], "body[0][0]"),
        ({"c": DXO("WEIGHTS", {"w": range(1)})}, "body['c'].data['w']"),
        (DXO("WEIGHTS", {}, {"m": range(1)}), "meta['m']"),
        (Shareable({"x": range(1)}), "body['x']"),
        ({(1, Own()): 1}, None),
    ],
)
def test_the_path_reads_as_one_would_write_it(body: object, path: str | None) -> None:
    with pytest.raises(TypeError) as caught:
        encode(body)
    if path is not None:
        assert str(caught.value).startswith(f"{path} cannot travel: it is a range; what travels is")


def test_a_header_that_cannot_travel_is_named() -> None:
    shareable = Shareable()
    shareable.set_header("h", range(1))
    with pytest.raises(TypeError, match=r"^headers\['h'\] cannot travel: it is a range"):
        encode(shareable)


def test_headers_that_are_no_dict_are_refused() -> None:
    shareable = Shareable()
    shareable["__headers__"] = [1]
    with pytest.raises(TypeError, match="headers must be a dict, they are list"):
        encode(shareable)


def test_a_dxo_that_became_invalid_is_refused() -> None:
    dxo = DXO(DataKind.WEIGHTS, {})
    dxo.data = [1]
    with pytest.raises(TypeError, match="invalid DXO: data must be a dict for kind WEIGHTS"):
        encode({"a": dxo})


def test_a_shareable_key_that_is_no_string_is_refused() -> None:
    shareable = Shareable({(1, 2): 3})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"keys are strings, one is \(1, 2\)"):
        encode(shareable)


def test_an_array_in_the_envelope_is_refused() -> None:
    with pytest.raises(TypeError, match="arrays cannot travel in a frame's envelope"):
        encode(None, envelope={"a": np.ones(1)})


def test_a_body_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="nests deeper than 64 levels; does it contain itself"):
        encode({"a": loop})


def test_more_than_the_limits_allow_is_refused_at_the_sender() -> None:
    with pytest.raises(TypeError, match="more than 6 values; put large collections of numbers"):
        encode([1, 2, 3], limits=Limits(items=6))
    with pytest.raises(TypeError, match="at most 1 arrays"):
        encode([np.ones(1), np.ones(1)], limits=Limits(tensors=1))
    with pytest.raises(TypeError, match="at most 1000 are taken; put large collections"):
        encode(list(range(10_000)), limits=Limits(header_bytes=1000))


def test_an_array_with_more_dimensions_than_every_numpy_takes_is_refused() -> None:
    many = np.ones(1).reshape((1,) * 32)
    assert encode(many).tensors[0].shape == (1,) * 32
    if int(np.__version__.split(".")[0]) >= 2:
        with pytest.raises(TypeError, match="it has 33 dimensions, at most 32 travel"):
            encode(many[None])
    with pytest.raises(TypeError, match="it has 32 dimensions, at most 31 travel"):
        encode(many.astype("c16"))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: [inner],
        lambda inner: (inner,),
        lambda inner: {"k": inner},
        lambda inner: {1: inner},
        lambda inner: Shareable({"k": inner}),
        lambda inner: DXO(DataKind.APP_DEFINED, inner),
        lambda inner: DXO(DataKind.COLLECTION, {"k": inner}).to_shareable(),
    ],
    ids=["list", "tuple", "dict", "pairs", "shareable", "dxo", "shareable of dxo"],
)
def test_what_the_sender_lets_pass_in_depth_the_reader_takes(wrap: Any) -> None:
    body, refusal = np.ones(1), ""
    while not refusal:
        try:
            frame = encode(body).to_bytes()
        except TypeError as error:
            refusal = str(error)
        else:
            decode(frame)
            body = wrap(body)
    assert "nests deeper than 64 levels" in refusal


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (None, 4),
        ([1, "a", b"b", 2.5], 8),
        ({"a": 1, "b": {}}, 8),
        ((1, (2,)), 9),
        ({(1, 2): 2**70}, 10),
        ({1, (2, "x")}, 10),
        (frozenset({frozenset()}), 7),
        ({"a": [np.ones(1), np.float32(1)]}, 8),
        (["x" * 5000, bytearray(2)], 6),
        (Shareable({"x": 1}), 10),
        (DXO(DataKind.WEIGHTS, {"w": np.ones(1)}, {"m": 1}), 12),
        (DXO(DataKind.WEIGHTS, {"w": np.ones(1)}, {"m": 1}).to_shareable(), 22),
        ([Shareable() for _ in range(1000)], 5004),
    ],
)
def test_what_the_sender_lets_pass_in_number_the_reader_takes(body: Any, values: int) -> None:
    enough, too_few = Limits(items=values), Limits(items=values - 1)
    frame = encode(body, limits=enough).to_bytes()
    decode(frame, limits=enough)
    with pytest.raises(FrameError, match=f"more than {values - 1} values"):
        decode(frame, limits=too_few)
    if values > 4:
        with pytest.raises(TypeError, match=f"more than {values - 1} values"):
            encode(body, limits=too_few)


def test_names_and_shapes_that_no_reader_takes_are_refused_at_the_sender() -> None:
    decode(encode({'",[{' * 1000: np.ones(1)}).to_bytes())
    with pytest.raises(TypeError, match=r"more parts than .* names without punctuation"):
        encode({f"{number}{',' * 100}": np.ones(1) for number in range(2000)})


def test_a_key_of_more_digits_than_python_writes_is_refused_where_it_would_be_a_name() -> None:
    huge = 10**5000
    for key, shown in [(huge, "int"), ((huge,), "tuple")]:
        path = rf"^data\[{shown} of very many digits\] cannot travel: "
        with pytest.raises(TypeError, match=path + "a key on its path has more digits than Pyth"):
            encode(DXO(DataKind.WEIGHTS, {key: np.ones(1)}))
        with pytest.raises(TypeError, match=path + "it is a range"):
            encode(DXO(DataKind.WEIGHTS, {key: range(3)}))
        with pytest.raises(TypeError, match=f"one is {shown} of very many digits"):
            encode(Shareable({key: 1}))  # type: ignore[dict-item]
        assert decode(encode({key: 1}).to_bytes()).body == {key: 1}
