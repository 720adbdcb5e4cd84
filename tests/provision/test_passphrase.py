"""The key of the authority, locked with a passphrase that is no command's argument."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from federant.link.identity import Identity, Role
from federant.provision import ProvisionError, make_federation, open_federation

SITE = Identity("test", Role.SITE, "site-1")


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A federation's folder, made with a passphrase in the environment."""
    monkeypatch.setenv("FEDERANT_CA_PASSPHRASE", "a long one")
    make_federation(tmp_path / "kits", sites=["site-1"])
    return tmp_path / "kits"


def renew(folder: Path) -> None:
    with open_federation(folder) as federation:
        federation.renew(SITE)


def test_the_authoritys_key_is_locked_and_a_kits_is_not(locked: Path) -> None:
    assert "BEGIN ENCRYPTED PRIVATE KEY" in (locked / "ca" / "1" / "key.pem").read_text()
    assert "BEGIN PRIVATE KEY" in (locked / "sites" / "site-1" / "key.pem").read_text()
    renew(locked)


def test_the_passphrase_may_stand_in_a_file(
    locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDERANT_CA_PASSPHRASE")
    (tmp_path / "secret").write_text("a long one\n")
    (tmp_path / "secret").chmod(0o640)
    monkeypatch.setenv("FEDERANT_CA_PASSPHRASE_FILE", str(tmp_path / "secret"))
    renew(locked)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620])
def test_a_file_that_others_can_read_or_change_is_refused(
    locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a long one\n")
    secret.chmod(mode)
    monkeypatch.setenv("FEDERANT_CA_PASSPHRASE_FILE", str(secret))
    with pytest.raises(ProvisionError, match=f"permissions are {mode:o}.; run: chmod 600") as told:
        renew(locked)
    assert "a long one" not in str(told.value)


def test_the_passphrase_may_come_through_a_pipe(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDERANT_CA_PASSPHRASE")
    reading, writing = os.pipe()
    os.write(writing, b"a long one\n")
    os.close(writing)
    try:
        monkeypatch.setenv("FEDERANT_CA_PASSPHRASE_FILE", f"/dev/fd/{reading}")
        renew(locked)
    finally:
        os.close(reading)


@pytest.mark.parametrize("given", ["", "another one"])
def test_without_the_right_one_nothing_is_signed(
    locked: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("FEDERANT_CA_PASSPHRASE", given)
    with pytest.raises(ProvisionError, match="set FEDERANT_CA_PASSPHRASE") as caught:
        renew(locked)
    assert "another one" not in str(caught.value)


def test_a_key_that_is_not_locked_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_federation(tmp_path / "kits", sites=["site-1"])
    monkeypatch.setenv("FEDERANT_CA_PASSPHRASE", "a long one")
    renew(tmp_path / "kits")


def test_a_file_that_is_not_there_is_named(
    locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDERANT_CA_PASSPHRASE_FILE", str(tmp_path / "gone"))
    with pytest.raises(ProvisionError, match="gone, which FEDERANT_CA_PASSPHRASE_FILE names"):
        renew(locked)
