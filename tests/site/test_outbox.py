"""Results on their way to a server that is away, says no, or has them already."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from federant.exchange import HeaderKey
from federant.link import LinkRefused, LinkUnavailable, blob_ref
from federant.link.messages import CommitOutcome, ResultReply
from federant.site.journal import Journal, StoredResult
from federant.site.outbox import Outbox


class ScriptedLink:
    """A server's answers, in turn; a successful commit without a script."""

    def __init__(self) -> None:
        self.script: list[Exception | ResultReply] = []
        self.put_script: list[Exception] = []
        self.blobs: dict[str, bytes] = {}
        self.commits: list[tuple[str, int, str, Any, Any]] = []

    def put_blob(self, blob: Any, chunks: Any) -> None:
        if self.put_script:
            raise self.put_script.pop(0)
        self.blobs[blob.digest] = b"".join(bytes(chunk) for chunk in chunks(0))

    def commit_result(
        self, task_id: str, attempt: int, rc: str, headers: Any = None, blob: Any = None
    ) -> ResultReply:
        self.commits.append((task_id, attempt, rc, dict(headers or {}), blob))
        answer = self.script.pop(0) if self.script else None
        if isinstance(answer, Exception):
            raise answer
        return answer or ResultReply(outcome=CommitOutcome.ACCEPTED, rc=rc)


class Frame:
    """Stands for a frame in the spool; knows whether it was given back."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def release(self) -> None:
        self.released.set()


@pytest.fixture
def link() -> ScriptedLink:
    return ScriptedLink()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.db")
    yield opened
    opened.close()


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def refusals() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def outbox(
    link: ScriptedLink, journal: Journal, problems: list[str], refusals: list[tuple[str, str]]
) -> Iterator[Outbox]:
    made = Outbox(
        *(link, journal),  # type: ignore[arg-type]
        on_problem=lambda _, text: problems.append(text),
        on_refused=lambda task_id, text: refusals.append((task_id, text)),
        on_failure=lambda error: problems.append(repr(error)),
    )
    made.start()
    yield made
    made.stop()


def stored(journal: Journal, **values: Any) -> StoredResult:
    result = StoredResult("t1", 2, "OK", {"current_round": 1}, **values)
    journal.add_result(result)
    return result


def test_a_frame_in_the_spool_is_sent_without_the_rest_of_its_file_and_given_back(
    outbox: Outbox, link: ScriptedLink, journal: Journal, tmp_path: Path
):
    path = tmp_path / "frame-1"
    path.write_bytes(b"frame" + b"\0" * 100)
    frame = Frame()
    outbox.add(stored(journal, path=path, size=5), frame)  # type: ignore[arg-type]
    assert outbox.flush(10)
    assert frame.released.is_set()
    blob = blob_ref([b"frame"])
    assert link.blobs == {blob.digest: b"frame"}
    assert link.commits == [("t1", 2, "OK", {"current_round": 1}, blob)]
    assert journal.results() == []
    assert path.exists()


def test_what_an_earlier_client_job_left_is_sent_and_its_file_removed(
    link: ScriptedLink, journal: Journal, tmp_path: Path
):
    folder = tmp_path / "dead-writer"
    folder.mkdir()
    (folder / "frame-1").write_bytes(b"frame")
    stored(journal, path=folder / "frame-1", size=5)
    nobody: Any = lambda *_: None  # noqa: E731 - a def would have to name its types
    outbox = Outbox(link, journal, nobody, nobody, nobody)  # type: ignore[arg-type]
    assert outbox.holding() == ["t1"]
    outbox.start()
    assert outbox.flush(10)
    outbox.stop()
    assert not folder.exists()
    assert len(link.commits) == 1


def test_a_server_that_is_away_is_tried_again(outbox: Outbox, link: ScriptedLink, journal: Journal):
    link.script = [LinkUnavailable("connection refused"), LinkUnavailable("connection refused")]
    outbox.add(stored(journal, inline=b"frame", size=5), None)
    assert outbox.flush(10)
    assert len(link.commits) == 3


def test_a_blob_that_the_server_has_lost_is_put_again(
    outbox: Outbox, link: ScriptedLink, journal: Journal
):
    link.script = [LinkRefused("blob_missing", "put it, then commit again")]
    outbox.add(stored(journal, inline=b"frame", size=5), None)
    assert outbox.flush(10)
    assert len(link.commits) == 2


def test_a_result_that_the_server_will_never_take_is_given_up_and_told(
    outbox: Outbox, link: ScriptedLink, journal: Journal, problems: list[str]
):
    link.script = [LinkRefused("not_found", "there is no task t1")]
    outbox.add(stored(journal), None)
    assert outbox.flush(10)
    assert journal.results() == []
    assert problems == ["nobody wants the result of t1: there is no task t1"]


@pytest.mark.parametrize(
    "obstacle",
    [
        LinkRefused("blob_superseded", "a newer transfer has taken over"),
        LinkRefused("blob_digest", "send it again"),
        OSError(24, "too many open files"),
    ],
)
def test_an_upload_that_fails_for_now_is_tried_again(
    outbox: Outbox, link: ScriptedLink, journal: Journal, obstacle: Exception
):
    link.put_script = [obstacle]
    outbox.add(stored(journal, inline=b"frame", size=5), None)
    assert outbox.flush(10)
    assert [commit[2] for commit in link.commits] == ["OK"]


@pytest.mark.parametrize(
    "obstacle", [ValueError("no such JSON"), LinkRefused("bad_request", "headers: too long")]
)
def test_a_result_that_can_never_be_sent_ends_its_task_with_the_reason(
    outbox: Outbox,
    link: ScriptedLink,
    journal: Journal,
    problems: list[str],
    obstacle: Exception,
):
    link.script = [obstacle]
    outbox.add(stored(journal), None)
    assert outbox.flush(10)
    _, _, rc, headers, _ = link.commits[-1]
    assert rc == "EXECUTION_RESULT_ERROR"
    assert str(obstacle) in headers[HeaderKey.ERROR]
    assert str(obstacle) in problems[0]
    assert journal.results() == []


def test_an_outbox_that_cannot_go_on_says_so(
    outbox: Outbox, link: ScriptedLink, journal: Journal, problems: list[str]
):
    link.script = [RuntimeError("a bug")]
    outbox.add(stored(journal), None)
    assert not outbox.flush(0.2)
    assert problems == ["RuntimeError('a bug')"]
    assert [result.task_id for result in journal.results()] == ["t1"]


@pytest.mark.parametrize(
    ("outcome", "rc", "told"),
    [
        (CommitOutcome.REFUSED, "RESULT_NOT_FINITE", "RESULT_NOT_FINITE: the reason"),
        (CommitOutcome.DUPLICATE, "TASK_TIMEOUT", "TASK_TIMEOUT: the reason"),
        (CommitOutcome.LATE, "OK", "it came too late: the reason"),
    ],
)
def test_a_result_that_is_not_taken_is_told_in_the_servers_words_to_people_and_trainer(
    outbox: Outbox,
    link: ScriptedLink,
    journal: Journal,
    problems: list[str],
    refusals: list[tuple[str, str]],
    outcome: CommitOutcome,
    rc: str,
    told: str,
):
    link.script = [ResultReply(outcome=outcome, rc=rc, error="the reason")]
    outbox.add(stored(journal), None)
    assert outbox.flush(10)
    assert problems == [told]
    assert refusals == [("t1", told)]


def test_a_failure_is_no_news_to_the_trainer(
    outbox: Outbox, link: ScriptedLink, journal: Journal, refusals: list[tuple[str, str]]
):
    link.script = [
        ResultReply(outcome=CommitOutcome.ACCEPTED, rc="TRAINER_DIED", error="killed by signal 9")
    ]
    failed = StoredResult("t1", 2, "TRAINER_DIED", {HeaderKey.ERROR: "killed by signal 9"})
    journal.add_result(failed)
    outbox.add(failed, None)
    assert outbox.flush(10)
    assert refusals == []


def test_a_result_whose_file_is_gone_is_reported_as_lost(
    outbox: Outbox, link: ScriptedLink, journal: Journal, tmp_path: Path
):
    outbox.add(stored(journal, path=tmp_path / "gone", size=5), None)
    assert outbox.flush(10)
    task_id, lease, rc, headers, blob = link.commits[0]
    assert (task_id, lease, rc, blob) == ("t1", 2, "EXECUTION_RESULT_ERROR", None)
    assert "the stored frame is gone" in headers[HeaderKey.ERROR]


def test_what_is_not_committed_when_the_outbox_stops_stays_in_the_journal(
    outbox: Outbox, link: ScriptedLink, journal: Journal
):
    link.script = [LinkUnavailable("connection refused")] * 100
    outbox.add(stored(journal), None)
    assert not outbox.flush(0.05)
    outbox.stop()
    assert [result.task_id for result in journal.results()] == ["t1"]
