"""The client job's journal: what it knows after a close, a reopening, and a SIGKILL."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from federant.site.errors import JournalError
from federant.site.journal import Journal, OpenTask, StoredResult


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def test_the_token_stays_the_same_for_a_job(path: Path):
    first = Journal(path)
    token = first.token()
    assert first.token() == token
    first.close()
    second = Journal(path)
    assert second.token() == token
    second.close()


def test_a_task_opened_again_keeps_its_attempt_so_that_a_resend_is_a_duplicate(journal: Journal):
    assert journal.open_task("t1", 1, "train") == OpenTask("t1", 1, "train", attempt=1)
    assert journal.next_attempt("t1").attempt == 2
    again = journal.open_task("t1", 1, "train")
    assert again == OpenTask("t1", 1, "train", attempt=2)
    assert again.msg_id == "t1-2"


def test_a_task_given_under_a_new_lease_is_the_same_message(journal: Journal):
    first = journal.open_task("t1", 1, "train")
    again = journal.open_task("t1", 2, "train")
    assert again == OpenTask("t1", 2, "train", attempt=1)
    assert again.msg_id == first.msg_id


def test_the_first_result_of_a_task_stands_and_closes_it(journal: Journal):
    journal.open_task("t1", 1, "train")
    first = StoredResult("t1", 1, "OK", {"current_round": 0}, inline=b"frame")
    assert journal.add_result(first)
    assert not journal.add_result(StoredResult("t1", 1, "TASK_TIMEOUT", {}))
    assert journal.open_tasks() == []
    assert journal.results() == [first]
    journal.confirmed(first)
    assert journal.results() == []


def test_results_come_back_in_order_of_acceptance(journal: Journal, tmp_path: Path):
    kept = [
        StoredResult("b", 1, "OK", {}, path=tmp_path / "spool" / "7"),
        StoredResult("a", 1, "TRAINER_DIED", {"__error__": "exit status 1"}),
    ]
    for result in kept:
        journal.add_result(result)
    assert journal.results() == kept


def test_an_attempt_of_a_task_that_is_not_open_is_refused(journal: Journal):
    with pytest.raises(JournalError, match="task t9 is not open"):
        journal.next_attempt("t9")


def test_restarts_are_counted_over_the_job(journal: Journal):
    assert [journal.count_restart() for _ in range(3)] == [1, 2, 3]


def test_what_was_written_survives_sigkill(path: Path):
    code = """
import os, signal, sys
from pathlib import Path
from federant.site.journal import Journal, StoredResult
journal = Journal(Path(sys.argv[1]))
journal.open_task("t1", 1, "train")
journal.add_result(StoredResult("t1", 1, "OK", {}, inline=b"x" * 1000))
journal.open_task("t2", 1, "train")
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -9
    journal = Journal(path)
    assert [result.inline for result in journal.results()] == [b"x" * 1000]
    assert [task.task_id for task in journal.open_tasks()] == ["t2"]
    journal.close()


def test_every_file_of_a_journal_is_for_the_owners_eyes_only(journal: Journal, path: Path):
    journal.token()
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.glob(f"{path.name}*")}
    assert len(modes) > 1
    assert set(modes.values()) == {0o600}


def test_a_journal_of_another_version_is_refused_by_number(path: Path):
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=9")
    db.close()
    with pytest.raises(JournalError, match="version 9, this is version 1"):
        Journal(path)


def test_a_file_that_is_no_journal_is_refused(path: Path):
    path.write_bytes(b"not a database, but long enough to look like one" * 50)
    with pytest.raises(JournalError, match=r"not a database.*move the job's folder away"):
        Journal(path)
