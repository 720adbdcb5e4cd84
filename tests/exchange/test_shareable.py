"""Shareable: headers, cookies, peers, replies, copies, bytes."""

from __future__ import annotations

import pytest

import federant.codec  # noqa: F401  it puts itself behind to_bytes and the like
from federant.exchange import DXO, HeaderKey, ReturnCode, Shareable, make_copy, make_reply


def test_body_is_copied_at_the_top_and_headers_start_empty() -> None:
    source = {"a": [1], "__headers__": {"lost": 1}}
    shareable = Shareable(source)
    assert shareable["a"] is source["a"]
    assert shareable.get_header("lost") is None
    assert source["__headers__"] == {"lost": 1}


def test_headers_are_set_and_read_with_a_default() -> None:
    shareable = Shareable()
    shareable.set_header(HeaderKey.TASK_NAME, "train")
    assert shareable.get_header("__task_name__") == "train"
    assert shareable.get_header("other", 3) == 3


def test_missing_headers_are_made_when_one_is_set() -> None:
    shareable = Shareable()
    shareable["__headers__"] = None
    assert shareable.get_header("a", 1) == 1
    shareable.set_header("a", 2)
    assert shareable.get_header("a") == 2


def test_headers_that_are_no_dict_are_named() -> None:
    shareable = Shareable({})
    shareable["__headers__"] = [1]
    with pytest.raises(ValueError, match="must be a dict, it is list"):
        shareable.get_header("a")
    with pytest.raises(TypeError, match="must be a dict, it is list"):
        shareable.set_header("a", 1)


def test_a_return_code_that_was_never_set_means_ok() -> None:
    shareable = Shareable()
    assert shareable.get_return_code() == "OK"
    assert shareable.get_return_code("none") == "none"
    shareable.set_return_code(ReturnCode.TASK_ABORTED)
    assert shareable.get_return_code() == "TASK_ABORTED"


def test_cookies_have_a_jar_that_is_made_on_first_use() -> None:
    shareable = Shareable()
    assert shareable.get_cookie_jar() is None
    assert shareable.get_cookie("a", 1) == 1
    shareable.add_cookie("a", 2)
    assert shareable.get_cookie_jar() == {"a": 2}
    shareable.set_cookie_jar({"b": 3})
    assert shareable.get_cookie("b") == 3
    assert shareable.get_cookie("a") is None


def test_peer_props_and_context_travel_as_headers() -> None:
    shareable = Shareable()
    assert shareable.get_peer_prop("a", 1) == 1
    shareable.set_peer_props({"a": 2})
    assert shareable.get_peer_prop("a", 1) == 2
    assert shareable.get_peer_props() == {"a": 2}
    shareable.set_peer_context("ctx")
    assert shareable.get_peer_context() == "ctx"
    assert shareable.get_header("__peer_ctx__") == "ctx"


def test_make_reply_has_a_return_code_and_only_dict_headers() -> None:
    reply = make_reply(ReturnCode.BAD_TASK_DATA, {"h": 1})
    assert reply == {"__headers__": {"h": 1, "__rc__": "BAD_TASK_DATA"}}
    assert make_reply("OK", ["h"]) == {"__headers__": {"__rc__": "OK"}}  # type: ignore[arg-type]


def test_make_copy_shares_the_body_and_not_the_headers() -> None:
    class Mine(Shareable):
        pass

    source = Mine({"body": [1]})
    source.set_header("keep", [1])
    source.set_header("drop", 2)
    copied = make_copy(source, ["drop"])
    assert type(copied) is Mine
    assert copied["body"] is source["body"]
    assert copied["__headers__"] == {"keep": [1]}
    assert copied.get_header("keep") is not source.get_header("keep")


def test_make_copy_of_something_else_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="source must be a Shareable, got dict"):
        make_copy({})  # type: ignore[type-var]


def test_bytes_give_an_equal_shareable() -> None:
    shareable = make_reply("OK", {"h": (1, 2)})
    shareable["body"] = {"x": b"y"}
    back = Shareable.from_bytes(shareable.to_bytes())
    assert type(back) is Shareable
    assert back == shareable


def test_bytes_of_another_class_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="hold a DXO, not a Shareable"):
        Shareable.from_bytes(DXO("METRICS", {}).to_bytes())
