"""New certificates for old ones, and another authority, without locking anybody out meanwhile."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from federant.link.certificate import read_certificate
from federant.link.identity import Identity, Role
from federant.link.kit import load_kit
from federant.provision import (
    FederationKits,
    Party,
    ProvisionError,
    make_federation,
    open_federation,
)

from .conftest import Handshake

SITE = Identity("hospitals", Role.SITE, "site-1")
SERVER = Identity("hospitals", Role.SERVER)


def serial(folder: Path) -> str:
    return read_certificate(folder / "certificate.pem").serial


def test_a_renewed_kit_has_a_new_certificate_and_key_and_the_old_ones_stay_good(
    kits: FederationKits, shake_hands: Handshake
) -> None:
    before = (serial(kits.sites["site-1"].folder), kits.sites["site-1"].key.read_bytes())
    with open_federation(kits.folder) as federation:
        renewed = federation.renew(SITE)
    assert renewed.kept is not None
    old, new = load_kit(renewed.kept), load_kit(renewed.folder)
    assert (serial(old.folder), old.key.read_bytes()) == before
    assert serial(new.folder) != before[0]
    assert new.key.read_bytes() != before[1]
    for kit in (old, new):
        assert shake_hands(kits.server, kit)[1] == [str(SITE)]


def test_what_else_lies_in_a_kit_stays_as_it_is(kits: FederationKits) -> None:
    folder = kits.sites["site-2"].folder
    (folder / "site.toml").write_text("# mine\n")
    (folder / "work").mkdir()
    with open_federation(kits.folder) as federation:
        federation.renew(kits.sites["site-2"].identity)
    assert (folder / "site.toml").read_text() == "# mine\n"
    assert (folder / "work").is_dir()


def test_a_renewed_certificate_is_for_the_same_hosts_unless_told_others(
    kits: FederationKits, shake_hands: Handshake
) -> None:
    client = kits.sites["site-1"]
    with open_federation(kits.folder) as federation:
        federation.renew(SERVER)
    assert shake_hands(kits.server, client, "fed.example.org")
    with open_federation(kits.folder) as federation:
        federation.renew(SERVER, hosts=("new.example.org",))
    assert shake_hands(kits.server, client, "new.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(kits.server, client, "fed.example.org")


def test_a_kit_that_was_taken_away_is_made_anew_by_renewing(kits: FederationKits) -> None:
    kits.sites["site-1"].folder.rename(kits.folder.parent / "site-1")
    with open_federation(kits.folder) as federation:
        renewed = federation.renew(SITE)
    assert renewed.kept is None
    assert load_kit(renewed.folder).identity == SITE


def test_what_an_agent_dials_outlives_every_renewal(tmp_path: Path) -> None:
    relay = "https://gate.example:8760"
    made = make_federation(
        tmp_path / "kits",
        sites=["site-1"],
        agents=[("site-1", "gpu-7")],
        relays={"site-1": relay},
    )
    agent = made.agents["site-1.gpu-7"]
    assert agent.relay == relay
    with open_federation(made.folder) as federation:
        federation.rotate()
        renewed = federation.renew(agent.identity)
        federation.retire(force=True)
    assert renewed.kept is not None
    assert load_kit(renewed.folder).relay == load_kit(renewed.kept).relay == relay
    agent.folder.rename(tmp_path / "taken-away")
    with open_federation(made.folder) as federation:
        assert load_kit(federation.renew(agent.identity).folder).relay == relay


def test_who_makes_an_agents_kit_again_for_its_relay_is_told_where_the_relay_is_said(
    kits: FederationKits,
) -> None:
    agent = kits.agents["site-1.gpu-7"]
    relay = "https://gate.example:8760"
    with (
        open_federation(kits.folder) as federation,
        pytest.raises(
            ProvisionError, match="is the kit of agent gpu-7 of site site-1 already"
        ) as it,
    ):
        federation.add(Party(agent.identity, relay=relay))
    line = (
        f'put the line relay = "{relay}" into {agent.folder / "kit.toml"} and into that of its copy'
    )
    assert line in str(it.value)
    assert 'run "federant provision renew agents/site-1.gpu-7"' in str(it.value)


def test_a_relay_that_was_put_into_a_kit_by_hand_stays_there(kits: FederationKits) -> None:
    agent = kits.agents["site-1.gpu-7"]
    relay = "https://gate.example:8760"
    (agent.folder / "kit.toml").write_text(replace(agent, relay=relay).toml())
    with open_federation(kits.folder) as federation:
        federation.renew(agent.identity)
    assert load_kit(agent.folder).relay == relay


def test_only_who_has_a_kit_can_be_renewed(kits: FederationKits) -> None:
    with (
        open_federation(kits.folder) as federation,
        pytest.raises(ProvisionError, match="site site-9 has no kit"),
    ):
        federation.renew(Identity("hospitals", Role.SITE, "site-9"))


def test_a_kit_is_not_made_over_another_one(kits: FederationKits) -> None:
    key = kits.sites["site-1"].key.read_bytes()
    with (
        open_federation(kits.folder) as federation,
        pytest.raises(ProvisionError, match=r"already; .*federant provision renew sites/site-1"),
    ):
        federation.add(Party(SITE))
    assert kits.sites["site-1"].key.read_bytes() == key


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_what_lies_where_a_kit_is_to_be_is_not_touched(
    kits: FederationKits, tmp_path: Path, what: str
) -> None:
    place = kits.folder / "sites" / "site-3"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    match what:
        case "folder":
            place.mkdir()
            (place / "key.pem").write_text("mine")
        case "file":
            place.write_text("mine")
        case _:
            place.symlink_to(elsewhere)
    with (
        open_federation(kits.folder) as federation,
        pytest.raises(ProvisionError, match=r"is there already.*nothing in it was touched; move"),
    ):
        federation.add(Party(Identity("hospitals", Role.SITE, "site-3")))
    if what != "link":
        assert "mine" in (place / "key.pem" if what == "folder" else place).read_text()
    assert list(elsewhere.iterdir()) == []
    assert list(place.parent.glob(".*")) == []


def test_every_certificate_is_on_record_with_its_serial_number(kits: FederationKits) -> None:
    first = serial(kits.sites["site-1"].folder)
    with open_federation(kits.folder) as federation:
        federation.renew(SITE)
        issued = federation.authority.issued()
    second = serial(kits.sites["site-1"].folder)
    assert [each.serial for each in issued if each.identity == SITE] == [first, second]
    facts = read_certificate(kits.sites["site-1"].certificate)
    assert (issued[-1].not_before, issued[-1].not_after) == (facts.not_before, facts.not_after)


def test_both_authorities_are_trusted_until_the_old_one_is_retired(
    kits: FederationKits, shake_hands: Handshake
) -> None:
    site_1, site_2 = kits.sites["site-1"], kits.sites["site-2"]
    with open_federation(kits.folder) as federation:
        federation.rotate()
        federation.renew(SITE)
    for client in (site_1, site_2):  # one of the new authority, one of the old
        assert shake_hands(kits.server, client)
    with open_federation(kits.folder) as federation:
        old = federation.renew(SERVER).kept
        assert old is not None
        for client in (site_1, site_2):
            assert shake_hands(kits.server, client)
        for identity in federation.parties():
            federation.renew(identity)
        assert federation.retire() == [1]
    for client in (site_1, site_2):
        assert shake_hands(kits.server, client)
        with pytest.raises(ssl.SSLError):
            shake_hands(load_kit(old), client)


def test_an_authority_is_not_retired_while_somebody_needs_it(kits: FederationKits) -> None:
    with open_federation(kits.folder) as federation:
        federation.rotate()
        for identity in list(federation.parties())[:-1]:
            federation.renew(identity)
        with pytest.raises(ProvisionError, match=r"of agents/site-1\.job-7\.gpu-7, whom nobody"):
            federation.retire()
        assert federation.authority.numbers == [1, 2]
        assert federation.retire(force=True) == [1]
        assert federation.authority.numbers == [2]


def test_who_has_expired_does_not_hold_an_authority_up(kits: FederationKits) -> None:
    later = datetime.now(UTC) + timedelta(days=400)
    with open_federation(kits.folder, now=later) as federation:
        federation.rotate()
        assert federation.retire() == [1]


def test_a_second_rotation_waits_for_the_first_to_end(kits: FederationKits) -> None:
    with open_federation(kits.folder) as federation:
        federation.rotate()
        with pytest.raises(ProvisionError, match="has been begun already; renew every kit"):
            federation.rotate()


def test_there_is_always_one_authority(kits: FederationKits) -> None:
    with (
        open_federation(kits.folder) as federation,
        pytest.raises(ProvisionError, match="there is one authority only"),
    ):
        federation.retire()


def test_a_number_is_not_given_to_an_authority_twice(kits: FederationKits) -> None:
    with open_federation(kits.folder) as federation:
        for number in (2, 3):
            federation.rotate()
            federation.retire(force=True)
            assert federation.authority.numbers == [number]


@pytest.mark.parametrize(
    "word", ["site-1", "sites/site-1", "sites/site-1/", "spiffe://hospitals/site/site-1"]
)
def test_a_party_is_found_by_its_name_or_its_place(kits: FederationKits, word: str) -> None:
    with open_federation(kits.folder) as federation:
        assert federation.find(word) == SITE
        assert federation.find(str(kits.sites["site-1"].folder)) == SITE


def test_a_name_that_several_have_must_be_said_with_its_folder(kits: FederationKits) -> None:
    with open_federation(kits.folder) as federation:
        operator = Identity("hospitals", Role.OPERATOR, "site-1")
        federation.add(Party(operator))
        with pytest.raises(ProvisionError, match=r"say which: sites/site-1 or operators/site-1"):
            federation.find("site-1")
        assert federation.find("operators/site-1") == operator


def test_an_unknown_name_is_answered_with_those_that_are_known(kits: FederationKits) -> None:
    with (
        open_federation(kits.folder) as federation,
        pytest.raises(ProvisionError, match=r"nobody here is called '\.\./x'; known are server, "),
    ):
        federation.find("../x")
