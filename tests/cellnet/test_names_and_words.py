"""What cells are called, what they and relays say to each other, and addresses that may be used."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federant.cellnet import Fqcn
from federant.cellnet.errors import CellRefused
from federant.cellnet.names import End
from federant.cellnet.words import Alone, Holding, Join, Joined, Met, Refusal, from_text, to_text
from federant.pipe import CellPipe, Mode
from federant.pipe.cell.address import relay_url


@given(st.text(max_size=5000))
def test_whatever_others_say_an_error_is_one_line_and_not_longer_than_that(text: str) -> None:
    told = str(CellRefused(Refusal.FORBIDDEN, text))
    assert told.isprintable()
    assert len(told) <= 2000
    if text.isprintable() and len(text) <= 2000:
        assert told == text


def test_a_name_is_read_as_it_is_written() -> None:
    name = Fqcn("site-1", "gpu-7", End.AGENT)
    assert str(name) == "site-1.gpu-7.agent"
    assert Fqcn.parse("site-1.gpu-7.agent") == name
    assert str(name.opposite) == "site-1.gpu-7.job"


@pytest.mark.parametrize(
    "text",
    ["", "site-1", "site-1.gpu-7", "site-1.gpu-7.boss", "a.b.c.agent", "a.b.agent\n", "-.b.job"],
)
def test_other_texts_are_no_names(text: str) -> None:
    with pytest.raises(ValueError, match="no cell's name"):
        Fqcn.parse(text)


@pytest.mark.parametrize(
    "said",
    [
        Join("site-1.gpu-7.agent", "task", "x", "node-3", 7, 1.5, ""),
        Joined("site-1"),
        Met("x", 9),
        Alone(),
        Holding(alive=False),
    ],
    ids=lambda said: said.KIND,
)
def test_words_are_read_as_they_are_written(said: object) -> None:
    assert from_text(to_text(said)) == said  # type: ignore[arg-type]


@given(st.text(max_size=100))
def test_hostile_words_are_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        from_text(text)


@pytest.mark.parametrize(
    "text",
    ['{"kind": "joined"}', '{"kind": "met", "instance": "x", "meeting": true}', "[]", "[" * 4000],
)
def test_words_with_other_fields_are_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_text(text)


@pytest.mark.parametrize(
    ("root_url", "secure", "address"),
    [
        ("https://site-1.example:8760", True, "wss://site-1.example:8760/cell"),
        ("wss://site-1.example", True, "wss://site-1.example:443/cell"),
        ("grpc://server:8002", True, "wss://server:8002/cell"),
        ("tcp://server:8002/", True, "wss://server:8002/cell"),
        ("http://127.0.0.1:8760", False, "ws://127.0.0.1:8760/cell"),
        ("grpc://localhost:8002", False, "ws://localhost:8002/cell"),
        ("http://[::1]:8760", False, "ws://[::1]:8760/cell"),
    ],
)
def test_a_relay_has_several_schemes(root_url: str, secure: bool, address: str) -> None:
    assert relay_url(root_url, secure=secure) == address


@pytest.mark.parametrize(
    ("root_url", "secure", "why"),
    [
        ("http://127.0.0.1:8760", True, "cannot be used with secure_mode=True"),
        ("https://127.0.0.1:8760", False, "cannot be used with secure_mode=False"),
        ("http://site-1.example:8760", False, "is on another machine"),
        ("site-1.example:8760", True, "a scheme, a host and a port"),
        ("https://site-1.example:port", True, "has no valid port"),
        ("https://site-1.example/somewhere", True, "a scheme, a host and a port"),
    ],
)
def test_an_address_that_must_not_be_used_is_refused(root_url: str, secure: bool, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        relay_url(root_url, secure=secure)


def test_without_a_kit_there_is_no_secure_mode(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no startup kit \(kit.toml\)"):
        CellPipe(
            Mode.ACTIVE, "site-1", "gpu-7", "https://site-1.example", workspace_dir=str(tmp_path)
        )


@pytest.mark.parametrize("mode", ["active", None, 1])
def test_a_mode_is_the_enum_or_its_text(mode: object) -> None:
    with pytest.raises(ValueError, match="mode must be 'ACTIVE' or 'PASSIVE'"):
        CellPipe(mode, "site-1", "gpu-7", "http://127.0.0.1:1", secure_mode=False)  # type: ignore[arg-type]
    pipe = CellPipe("ACTIVE", "site-1", "gpu-7", "http://127.0.0.1:1", secure_mode=False)  # type: ignore[arg-type]
    assert pipe.mode is Mode.ACTIVE
