"""What is said of a kit's certificate, with nobody else asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from federant.doctor import Finding, Level, examine, subject_of, worst
from federant.doctor.certificates import look_at_certificate
from federant.link.identity import Role
from federant.link.kit import Kit
from federant.provision import FederationKits
from federant.testing.certificates import Odd, odd_kit

Look = Callable[[Kit], list[Finding]]


def problems(kit: Kit) -> str:
    found = look_at_certificate(kit)
    return "\n".join(each.found for each in found if each.level is Level.PROBLEM)


@pytest.fixture
def copied(tmp_path: Path, kits: FederationKits) -> Kit:
    """The site's kit, to be spoilt."""
    folder = tmp_path / "kit"
    shutil.copytree(kits.sites["site-1"].folder, folder)
    return replace(kits.sites["site-1"], folder=folder)


@pytest.mark.parametrize("whose", ["server", "site", "operator", "agent"])
def test_a_good_kit_is_good(kits: FederationKits, whose: str) -> None:
    kit = {
        "server": kits.server,
        "site": kits.sites["site-1"],
        "operator": kits.operators["alice"],
        "agent": kits.agents["site-1.gpu-7"],
    }[whose]
    found = list(look_at_certificate(kit))
    assert worst(found) is Level.OK, found
    assert "signed by the authority in ca.pem, and the key fits" in {each.found for each in found}


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (Odd.EXPIRED, "it has expired on "),
        (Odd.NOT_YET_VALID, "it is not valid before "),
        (Odd.OTHER_AUTHORITY, "is not accepted: "),
        (Odd.OTHER_FEDERATION, "kit.toml says site site-1"),
        (Odd.NO_IDENTITY, "it names nobody in a federation"),
        (Odd.TWO_IDENTITIES, "it names nobody in a federation"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(
    tmp_path: Path, kits: FederationKits, odd: Odd, said: str
) -> None:
    identity = kits.sites["site-1"].identity
    assert said in problems(odd_kit(tmp_path / "odd", kits, identity, odd))


@pytest.mark.parametrize("whose", ["site", "operator"])
@pytest.mark.parametrize(
    "odd", [Odd.EXPIRED, Odd.NOT_YET_VALID, Odd.OTHER_AUTHORITY, Odd.NO_IDENTITY]
)
def test_a_bad_certificate_is_told_once_and_the_way_is_looked_at_all_the_same(
    tmp_path: Path, kits: FederationKits, whose: str, odd: Odd
) -> None:
    good = {"site": kits.sites["site-1"], "operator": kits.operators["alice"]}[whose]
    kit = odd_kit(tmp_path / "odd", kits, good.identity, odd)
    for name in ("site.toml", "train.py"):
        if (good.folder / name).exists():
            shutil.copy(good.folder / name, kit.folder)
    found = list(examine(subject_of(kit=kit.folder)))
    (bad,) = (each for each in found if each.level is Level.PROBLEM)
    assert bad.check.startswith("certificate")
    assert found[-1].check == "port"


def test_a_servers_certificate_must_be_for_the_name_that_everybody_dials(
    tmp_path: Path, kits: FederationKits
) -> None:
    kit = odd_kit(tmp_path / "odd", kits, kits.server.identity, hosts=["elsewhere.example"])
    assert "is not accepted: Hostname mismatch" in problems(kit)


@pytest.mark.parametrize(("days", "level"), [(31, Level.OK), (29, Level.WARNING)])
def test_a_certificate_that_ends_soon_is_a_warning(
    kits: FederationKits, days: int, level: Level
) -> None:
    kit = kits.sites["site-1"]
    (end,) = {
        each.found.split()[2].rstrip(",")
        for each in look_at_certificate(kit)
        if each.found.startswith("valid until ")
    }
    now = datetime.fromisoformat(end).replace(tzinfo=UTC) - timedelta(days=days - 1)
    assert worst(look_at_certificate(kit, now)) is level


def test_a_key_of_another_is_told(copied: Kit, kits: FederationKits) -> None:
    shutil.copy(kits.operators["alice"].key, copied.key)
    assert "cannot be used for TLS" in problems(copied)


def test_a_certificate_that_is_none_is_told(copied: Kit) -> None:
    copied.certificate.write_text("x")
    assert "cannot be read as a certificate" in problems(copied)


def test_a_key_that_others_can_read_is_told_with_what_to_type(copied: Kit) -> None:
    copied.key.chmod(0o644)
    found = list(examine(subject_of(kit=copied.folder)))
    assert (found[0].check, found[0].level) == ("kit", Level.PROBLEM)
    assert f"run: chmod 600 {copied.key}" in found[0].found


def test_a_sites_kit_without_its_file_is_a_problem(copied: Kit) -> None:
    (copied.folder / "site.toml").unlink()
    (found,) = (each for each in subject_of(kit=copied.folder).findings if each.advice)
    assert (found.check, found.level) == ("file", Level.PROBLEM)
    assert "site.toml is not there, without which the site does not run" in found.found


def test_a_kit_that_others_can_change_is_a_warning(copied: Kit) -> None:
    copied.folder.chmod(0o777)
    (found,) = (each for each in look_at_certificate(copied) if each.level is Level.WARNING)
    assert found.advice == f"chmod go-w {copied.folder}"


def test_whose_kit_it_is_is_told(kits: FederationKits) -> None:
    subject = subject_of(kit=kits.operators["alice"].folder)
    assert subject.role is Role.OPERATOR
    assert subject.findings[0].found.endswith(", of operator alice")


def test_a_kit_of_another_user_is_warned_of(copied: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(copied.key, 4242, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 4243)
    found = [each for each in look_at_certificate(copied) if each.level is Level.WARNING]
    assert [each.check for each in found] == ["kit"]
    assert "who may change it, and not to this one" in found[0].found
    assert found[0].advice == f"chown -R 4243 {copied.folder}"
