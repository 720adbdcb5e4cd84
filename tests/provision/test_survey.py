"""Certificates that are looked through: whose they are, how long they last, what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from federant.link.certificate import read_certificate
from federant.link.identity import Role
from federant.provision import (
    Condition,
    FederationKits,
    Party,
    ProvisionError,
    identity_of,
    make_federation,
    open_federation,
    survey,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def made(tmp_path: Path) -> FederationKits:
    return make_federation(tmp_path / "kits", sites=["site-1"], days=100, now=NOON)


def conditions(folder: Path, days: float) -> dict[str, Condition]:
    found = survey(folder, NOON + timedelta(days=days))
    return {str(seen.place): seen.condition for seen in found}


def test_all_certificates_are_found_with_holder_serial_and_end(made: FederationKits) -> None:
    found = survey(made.folder, NOON)
    assert [(str(seen.place), seen.title) for seen in found] == [
        ("ca/1", "test authority 1"),
        ("server", "server of test"),
        ("sites/site-1", "site site-1"),
    ]
    assert found[1].facts == read_certificate(made.server.certificate)
    assert found[1].remaining == timedelta(days=100)
    assert not any(seen.needs_care for seen in found)


def test_what_an_agent_dials_is_seen(made: FederationKits) -> None:
    with open_federation(made.folder) as federation:
        identity = identity_of("test", Role.AGENT, "gpu-9", site="site-1")
        federation.add(Party(identity, relay="https://gate.example:8760"))
    seen = {each.title: each.relay for each in survey(made.folder)}
    assert seen.pop("agent gpu-9 of site site-1") == "https://gate.example:8760"
    assert set(seen.values()) == {""}


def test_a_kit_that_cannot_be_read_is_named(made: FederationKits) -> None:
    (made.server.folder / "kit.toml").write_text("[[")
    with pytest.raises(ProvisionError, match=r"kit\.toml cannot be read as TOML"):
        survey(made.folder)


def test_a_single_kit_is_looked_at_where_it_is(made: FederationKits) -> None:
    assert [seen.title for seen in survey(made.sites["site-1"].folder, NOON)] == ["site site-1"]


@pytest.mark.parametrize(
    ("days", "condition"),
    [
        (70, Condition.GOOD),
        (70.01, Condition.EXPIRES),
        (99.99, Condition.EXPIRES),
        (100, Condition.EXPIRED),
        (-1, Condition.NOT_YET_VALID),
    ],
)
def test_thirty_days_ahead_it_is_told_to_be_renewed(
    made: FederationKits, days: float, condition: Condition
) -> None:
    found = survey(made.server.folder, NOON + timedelta(days=days))
    assert [seen.condition for seen in found] == [condition]
    assert found[0].needs_care is (condition is not Condition.GOOD)


def test_a_key_that_is_not_here_is_said_but_needs_no_care(made: FederationKits) -> None:
    made.sites["site-1"].key.unlink()
    found = survey(made.sites["site-1"].folder, NOON)
    assert [(seen.condition, seen.needs_care) for seen in found] == [(Condition.NO_KEY, False)]


@pytest.mark.parametrize("content", ["of the server", "none"])
def test_a_key_that_is_another_s_is_found_out(made: FederationKits, content: str) -> None:
    key = made.sites["site-1"].key
    key.write_bytes(made.server.key.read_bytes() if content == "of the server" else b"x")
    assert conditions(made.folder, 0)["sites/site-1"] is Condition.OTHER_KEY


def test_a_retired_authority_and_old_kits_are_not_shown(made: FederationKits) -> None:
    with open_federation(made.folder, now=NOON) as federation:
        federation.renew(made.server.identity)
        federation.rotate()
        federation.retire(force=True)
    assert list(conditions(made.folder, 0)) == ["ca/2", "server", "sites/site-1"]


def test_a_folder_without_certificates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="holds neither kits nor a kit"):
        survey(tmp_path)


def test_a_certificate_that_is_none_is_named(made: FederationKits) -> None:
    made.server.certificate.write_text("x")
    with pytest.raises(ProvisionError, match=r"server/certificate\.pem cannot be read"):
        survey(made.folder)
