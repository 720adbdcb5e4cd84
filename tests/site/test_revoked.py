"""What a site knows of revoked certificates: it only ever becomes more, and outlives the daemon."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from federant.link.messages import RevokedSerials
from federant.site.errors import SiteConfigError
from federant.site.revoked import RevokedCertificates


def told(version: str, *serials: str) -> RevokedSerials:
    return RevokedSerials(version=version, serials=serials)


def test_at_first_nothing_is_revoked(tmp_path: Path) -> None:
    known = RevokedCertificates(tmp_path / "revoked.json")
    assert known.version == ""
    assert not known.is_revoked("1f")


def test_what_was_learned_is_known_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "revoked.json"
    RevokedCertificates(file).learn(told("v1", "1f", "2a"))
    known = RevokedCertificates(file)
    assert known.version == "v1"
    assert known.is_revoked("1f")
    assert known.is_revoked("2a")
    assert not known.is_revoked("3")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_server_that_was_set_up_again_revokes_nothing_back(tmp_path: Path) -> None:
    file = tmp_path / "revoked.json"
    known = RevokedCertificates(file)
    known.learn(told("v1", "1f"))
    known.learn(told("w1", "2a"))
    for each in (known, RevokedCertificates(file)):
        assert each.version == "w1"
        assert each.is_revoked("1f")
        assert each.is_revoked("2a")


def test_only_those_that_are_new_are_cut_off(tmp_path: Path) -> None:
    known = RevokedCertificates(tmp_path / "revoked.json")
    cut: list[frozenset[str]] = []
    known.cut = cut.append
    known.learn(told("v1", "1f"))
    known.learn(told("v2", "1f", "2a"))
    known.learn(told("v2", "1f", "2a"))
    assert cut == [frozenset({"1f"}), frozenset({"2a"})]


def test_a_list_that_cannot_be_read_stops_the_site_rather_than_let_anybody_in(
    tmp_path: Path,
) -> None:
    file = tmp_path / "revoked.json"
    file.write_text('{"version": "v1"', encoding="utf-8")
    with pytest.raises(SiteConfigError, match="remove the file: the site then asks for the list"):
        RevokedCertificates(file)


def test_a_disk_that_is_full_leaves_them_refused_until_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = RevokedCertificates(tmp_path / "no such folder" / "revoked.json")
    known.learn(told("v1", "1f"))
    assert known.is_revoked("1f")
    assert "revoked certificates not kept file=" in caplog.text
