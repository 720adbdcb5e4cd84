"""What the server's log tells of the calls that it answers."""

import logging
from collections.abc import Callable

import pytest

from federant.link import HttpCaller, LinkClient, LinkRefused
from federant.link.operator_messages import JobView


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "call_log" in record.name]


def test_each_call_is_a_line_with_who_and_what_and_the_outcome(
    link: Callable[[str], LinkClient], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "federant.server"):
        link("site-1").hello("place-1")
    (line,) = lines(caplog)
    assert line.startswith("answered who='site-1' call=POST '/link/v1/hello' status=200 seconds=0.")


def test_an_operators_call_that_is_refused_is_a_line_without_its_query(
    server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caller = HttpCaller(server_url)
    with caplog.at_level(logging.DEBUG, "federant.server"), pytest.raises(LinkRefused):
        caller.call("GET", "/api/v1/jobs/gone?word=hidden", JobView)
    caller.close()
    (line,) = lines(caplog)
    assert "who='(operator)' call=GET '/api/v1/jobs/gone' status=404" in line
    assert "hidden" not in line


def test_calls_are_no_lines_of_a_log_that_tells_only_what_happens(
    link: Callable[[str], LinkClient], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "federant.server"):
        link("site-1").hello("place-1")
    assert lines(caplog) == []
