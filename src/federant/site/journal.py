"""What a client job must not forget: tasks in hand, accepted results, and its token. SQLite.

A row written here survives SIGKILL of every process (not a loss of power). What a result's frame
holds is not stored twice: the row points to the spool's file, which is the durable result.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from federant.site.errors import JournalError
from federant.site.private_file import make_private

_VERSION = 1
_CHECKPOINT_PAGES = 8000
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY,
    lease INTEGER NOT NULL,
    name TEXT NOT NULL,
    attempt INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE results (
    seq INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE,
    lease INTEGER NOT NULL,
    rc TEXT NOT NULL,
    headers TEXT NOT NULL,
    path TEXT,
    inline BLOB,
    size INTEGER NOT NULL
);
CREATE TABLE accepted (msg_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that the trainer has, or shall have, and that has no result yet."""

    task_id: str
    lease: int
    """The server's count of the times it gave the task out; a commit must name it."""
    name: str
    attempt: int
    """This site's count of the trainers that were given the task, from 1."""

    @property
    def msg_id(self) -> str:
        """The id of the message that carries this attempt to the trainer.

        The same for every lease: a trainer that has the task in hand shall know it again.
        """
        return f"{self.task_id}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class StoredResult:
    """An accepted result that the server has not confirmed yet."""

    task_id: str
    lease: int
    rc: str
    headers: Mapping[str, Any]
    """Values that JSON has; also the error's text, if there is one."""
    path: Path | None = None
    """The frame, as a file in the spool."""
    inline: bytes | None = field(default=None, repr=False)
    """The frame itself, if it is small. Neither: a result that is only a return code."""
    size: int = 0
    """Bytes of the frame; the file may be longer."""


class Journal:
    """One job's journal; thread-safe. Its calls return once the row would survive a SIGKILL."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises JournalError if it is not of this version."""
        self._lock = threading.Lock()
        make_private(path)  # SQLite gives its other files the same rights
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            # The job's folder has one client job, under a lock: no other lock has to be taken.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            # Synced only where the log goes into the database, and that seldom: a commit is a
            # write to the page cache, which outlives every process.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise JournalError(
                f"{path}: {error}; move the job's folder away to start anew"
            ) from error
        if version not in (0, _VERSION):
            self._db.close()
            raise JournalError(
                f"{path}: written by a journal of version {version}, this is version {_VERSION}; "
                "end the job with the federant that began it"
            )

    def token(self) -> str:
        """The secret that a trainer of this job must show; made on the first call."""
        with self._lock:
            self._db.execute(
                "INSERT OR IGNORE INTO facts VALUES ('token', ?)", (secrets.token_urlsafe(32),)
            )
            (token,) = self._db.execute("SELECT value FROM facts WHERE name='token'").fetchone()
        return str(token)

    def count_restart(self) -> int:
        """Add one to the number of times that a dead trainer was started again; returns it."""
        with self._lock:
            ((count,),) = self._db.execute(
                "INSERT INTO facts VALUES ('restarts', '1') ON CONFLICT (name)"
                " DO UPDATE SET value = CAST(value AS INTEGER) + 1 RETURNING value"
            ).fetchall()
        return int(count)

    def open_task(self, task_id: str, lease: int, name: str) -> OpenTask:
        """Note that the task is in hand, under this lease. One that is there keeps its attempt."""
        with self._lock:
            # All rows are fetched: a statement that has RETURNING commits when it is through.
            (row,) = self._db.execute(
                "INSERT INTO tasks VALUES (?, ?, ?, 1) ON CONFLICT (task_id)"
                " DO UPDATE SET lease = excluded.lease RETURNING task_id, lease, name, attempt",
                (task_id, lease, name),
            ).fetchall()
        return OpenTask(*row)

    def next_attempt(self, task_id: str) -> OpenTask:
        """Note that the task now goes to another trainer than the one that had it."""
        with self._lock:
            rows = self._db.execute(
                "UPDATE tasks SET attempt=attempt+1 WHERE task_id=?"
                " RETURNING task_id, lease, name, attempt",
                (task_id,),
            ).fetchall()
        if not rows:
            raise JournalError(f"task {task_id} is not open in this journal")
        return OpenTask(*rows[0])

    def open_tasks(self) -> list[OpenTask]:
        with self._lock:
            rows = self._db.execute("SELECT task_id, lease, name, attempt FROM tasks").fetchall()
        return [OpenTask(*row) for row in rows]

    def close_task(self, task_id: str) -> None:
        """Forget a task that is void and has no result."""
        with self._lock:
            self._db.execute("DELETE FROM tasks WHERE task_id=?", (task_id,))

    def add_result(self, result: StoredResult, accepted: str | None = None) -> bool:
        """Note the result and that its task is no longer open, in one transaction.

        `accepted` is the id of the message that the result answers, if it came from a trainer.
        False: there is a result for the same task already, which stands.
        """
        path = None if result.path is None else str(result.path)
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            added = self._db.execute(
                "INSERT OR IGNORE INTO results (task_id, lease, rc, headers, path, inline, size)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(result.task_id, result.lease, result.rc),
                    *(json.dumps(dict(result.headers)), path, result.inline, result.size),
                ),
            )
            if accepted is not None:
                self._db.execute("INSERT OR IGNORE INTO accepted VALUES (?)", (accepted,))
            self._db.execute("DELETE FROM tasks WHERE task_id=?", (result.task_id,))
        return added.rowcount == 1

    def results(self) -> list[StoredResult]:
        """Every accepted result that is not confirmed, in the order of acceptance."""
        with self._lock:
            rows = self._db.execute(
                "SELECT task_id, lease, rc, headers, path, inline, size FROM results ORDER BY seq"
            ).fetchall()
        return [
            StoredResult(
                *(task_id, lease, rc, json.loads(headers)),
                path=None if path is None else Path(path),
                inline=inline,
                size=size,
            )
            for task_id, lease, rc, headers, path, inline, size in rows
        ]

    def was_accepted(self, msg_id: str) -> bool:
        """Whether the message of that id was answered by a result that was accepted."""
        with self._lock:
            found = self._db.execute("SELECT 1 FROM accepted WHERE msg_id=?", (msg_id,)).fetchone()
        return found is not None

    def confirmed(self, result: StoredResult) -> None:
        """Forget a result that the server has."""
        with self._lock:
            self._db.execute("DELETE FROM results WHERE task_id=?", (result.task_id,))

    def close(self) -> None:
        with self._lock:
            self._db.close()
