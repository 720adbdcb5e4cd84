"""What the log says of a server that is away: once that it is, once that it is back."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from federant.link import LinkProtocolError, LinkUnavailable
from federant.link.messages import NextJobsReply
from federant.site import SiteConfig
from federant.site.daemon import SiteDaemon
from federant.site.retries import Retries
from federant.testing import FakeClock

AWAY = LinkUnavailable("no server answers")
OLD = LinkProtocolError("it speaks another version")

log = logging.getLogger("federant.test")


@pytest.fixture(autouse=True)
def all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "federant")


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and first words of each line."""
    return [
        (each.levelname, each.getMessage().partition(" retry_seconds")[0])
        for each in caplog.records
    ]


def test_the_first_failure_is_a_warning_and_what_comes_after_it_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    retries = Retries(log, clock=clock)
    for _ in range(3):
        assert retries.failed(AWAY, "no answer task=%s", "t") > 0
        clock.advance(10)
    retries.worked()
    retries.worked()
    said = "no answer task=t"
    assert told(caplog) == [
        *[("WARNING", said), ("DEBUG", said), ("DEBUG", said)],
        ("INFO", "the server answers again away_seconds=30.0"),
    ]
    assert caplog.records[0].getMessage().endswith(f" error={AWAY}")


def test_a_failure_of_another_kind_and_one_after_all_was_well_are_warnings_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    retries = Retries(log)
    for error in (AWAY, AWAY, OLD):
        retries.failed(error, "failed")
    retries.worked()
    retries.failed(OLD, "failed")
    levels = [each.levelname for each in caplog.records]
    assert levels == ["WARNING", "DEBUG", "WARNING", "INFO", "WARNING"]


class LinkToAServerThatIsAway:
    """It answers after some tries; then there is no news."""

    url = "http://127.0.0.1:8750"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.answers = threading.Event()
        self.over = threading.Event()

    def hello(self, _instance: str) -> None:
        if self.failures:
            self.failures -= 1
            raise AWAY

    def next_news(self, *_: object) -> NextJobsReply:
        if self.answers.is_set():
            self.over.wait(60)
        self.answers.set()
        return NextJobsReply(jobs=())


def test_a_daemon_warns_once_of_a_server_that_is_away_and_says_for_how_long_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = LinkToAServerThatIsAway(failures=3)
    config = SiteConfig(name="site-1", server=link.url, folder=tmp_path)
    ended = threading.Event()
    daemon = SiteDaemon(config, link)  # type: ignore[arg-type]
    daemon.start(on_failure=ended.set)
    assert link.answers.wait(60)
    daemon.stop()
    link.over.set()
    for thread in threading.enumerate():
        if thread.name == "site-jobs":
            thread.join(60)
    lines = [line for line in told(caplog) if "no answer" in line[1] or "answers" in line[1]]
    assert [level for level, _ in lines] == ["WARNING", "DEBUG", "DEBUG", "INFO"]
    assert lines[-1][1].startswith("the server answers again away_seconds=")
    assert not ended.is_set()
