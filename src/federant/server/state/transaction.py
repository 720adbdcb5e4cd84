"""One transaction on the state's database: its connection, its time, whom to wake afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

_BUSY_SECONDS: Final = 30.0


class Durability(StrEnum):
    """What a commit survives."""

    PROCESS = "process"
    """SIGKILL of every process."""
    POWER = "power"
    """Loss of power: synced to the disk before the commit returns."""


@dataclass(slots=True)
class Transaction:
    """``now`` is one point in time for the whole transaction (seconds since the epoch)."""

    conn: Connection
    now: float
    topics: dict[str, None] = field(default_factory=dict)

    def wake(self, *topics: str) -> None:
        """Notify these once the transaction is committed."""
        self.topics.update(dict.fromkeys(topics))


class Database:
    """The engine, and how to begin a transaction on it.  Thread-safe."""

    def __init__(
        self,
        url: str,
        *,
        durability: Durability,
        clock: Callable[[], float],
        notify: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._notify = notify
        # SQLite has one writer, and those who find it busy sleep and try again: a lock of our own
        # lets them queue instead.
        self._writer = threading.Lock()
        self.engine = _sqlite(url, durability) if url.startswith("sqlite") else create_engine(url)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """All or nothing; topics are notified after the commit, none after a failure."""
        with self._writer, self.engine.connect() as conn:
            conn = conn.execution_options(federant_begin="BEGIN IMMEDIATE")
            with conn.begin():
                tx = Transaction(conn, self._clock())
                yield tx
        for topic in tx.topics:
            self._notify(topic)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """One consistent view; nothing written in it is kept."""
        with self.engine.connect() as conn:
            yield Transaction(conn, self._clock())

    def close(self) -> None:
        self.engine.dispose()


def _sqlite(url: str, durability: Durability) -> Engine:
    engine = create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": _BUSY_SECONDS},
        pool_size=8,
        max_overflow=56,
    )
    synchronous = "FULL" if durability is Durability.POWER else "NORMAL"

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # Transactions begin where we say, not where the driver guesses.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        # Straight to the driver: as a statement of its own it would cost as much as the rest.
        options: dict[str, Any] = dict(conn.get_execution_options())
        driver: Any = conn.connection.driver_connection
        driver.execute(options.get("federant_begin", "BEGIN"))

    return engine
