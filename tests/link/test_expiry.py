"""Whoever has a certificate that ends soon says so in its log, once a day."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from federant.link.expiry import ExpiryWatch
from federant.link.kit import Kit
from federant.provision import make_federation

DAY = 24 * 3600.0


@pytest.fixture
def kit_that_ends_in(tmp_path: Path) -> Callable[[float], Kit]:
    """A site's kit whose certificate is good for so many days from now; negative: no more."""

    def make(days: float) -> Kit:
        begin = datetime.now(UTC) - timedelta(days=100 - days)
        made = make_federation(tmp_path / "kits", sites=["site-1"], days=100, now=begin)
        return made.sites["site-1"]

    return make


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, "federant.link")
    return lambda: [record.message for record in caplog.records]


def test_one_that_ends_within_30_days_is_warned_of_at_once_and_once_a_day(
    kit_that_ends_in: Callable[[float], Kit], warnings: Callable[[], list[str]]
) -> None:
    now = 5.0
    kit = kit_that_ends_in(12.5)
    watch = ExpiryWatch(kit, clock=lambda: now)
    watch.look()
    (line,) = warnings()
    assert line.startswith(
        f"the certificate of site site-1 ends in 12 days: serial={watch.facts().serial} until="
    )
    assert f"kit={kit.folder}; renew it (federant provision renew)" in line
    now += DAY - 1
    watch.look()
    assert len(warnings()) == 1
    now += 1
    watch.look()
    assert len(warnings()) == 2


def test_one_that_is_good_for_longer_is_not_warned_of(
    kit_that_ends_in: Callable[[float], Kit], warnings: Callable[[], list[str]]
) -> None:
    ExpiryWatch(kit_that_ends_in(31.0)).look()
    assert warnings() == []


def test_one_that_has_ended_is_said_to_have(
    kit_that_ends_in: Callable[[float], Kit], warnings: Callable[[], list[str]]
) -> None:
    ExpiryWatch(kit_that_ends_in(-1.0)).look()
    (line,) = warnings()
    assert line.startswith("the certificate of site site-1 has expired: serial=")
