"""Which certificates were revoked, by whom and why; SQL inside a transaction."""

from __future__ import annotations

from sqlalchemy import insert, select

from federant.server.wakeups import site_topic

from .rows import RevocationRow
from .tables import revocations, sites
from .transaction import Transaction


def add(tx: Transaction, serial: str, identity: str, reason: str, by: str) -> RevocationRow:
    """Revoke a certificate; one that was revoked before stays as it is."""
    found = select(revocations).where(revocations.c.serial == serial)
    known = tx.conn.execute(found).mappings().first()
    if known is not None:
        return RevocationRow(**known)
    row = RevocationRow(serial=serial, identity=identity, reason=reason, by=by, time=tx.now)
    values = {"serial": serial, "identity": identity, "reason": reason, "by": by, "time": tx.now}
    tx.conn.execute(insert(revocations).values(values))
    tx.wake(*(site_topic(name) for name in tx.conn.execute(select(sites.c.name)).scalars()))
    return row


def serials(tx: Transaction) -> list[str]:
    found = select(revocations.c.serial).order_by(revocations.c.serial)
    return list(tx.conn.execute(found).scalars())


def every(tx: Transaction) -> list[RevocationRow]:
    rows = tx.conn.execute(select(revocations).order_by(revocations.c.time, revocations.c.serial))
    return [RevocationRow(**row) for row in rows.mappings()]
