"""A startup kit is taken whole and private, or refused by the name of what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from federant.link import LinkConfigError
from federant.link.identity import Identity, Role
from federant.link.kit import Kit, load_kit


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    made = Kit(tmp_path, Identity("f", Role.SITE, "site-1"), "https://localhost:8750")
    (tmp_path / "kit.toml").write_text(made.toml())
    for path in (made.authority, made.certificate, made.key):
        path.touch(0o600)
    return made


def test_a_kit_is_read_as_it_was_written(kit: Kit) -> None:
    assert load_kit(kit.folder) == kit


def test_an_agent_s_kit_may_name_the_relay_that_it_dials(kit: Kit) -> None:
    agent = Identity("f", Role.AGENT, "gpu-7", "site-1")
    for relay in ("https://site-1.example:8760", ""):
        made = Kit(kit.folder, agent, kit.server, relay)
        (kit.folder / "kit.toml").write_text(made.toml())
        assert load_kit(kit.folder) == made


def test_a_folder_without_a_kit_is_no_kit(tmp_path: Path) -> None:
    with pytest.raises(LinkConfigError, match=r"holds no startup kit \(kit\.toml\)"):
        load_kit(tmp_path)


@pytest.mark.parametrize("name", ["ca.pem", "certificate.pem", "key.pem"])
def test_what_is_missing_is_named(kit: Kit, name: str) -> None:
    (kit.folder / name).unlink()
    with pytest.raises(LinkConfigError, match=f"{name} is missing.*of site site-1"):
        load_kit(kit.folder)


@pytest.mark.parametrize("mode", [0o604, 0o660, 0o602, 0o777])
def test_a_key_that_others_can_use_is_refused(kit: Kit, mode: int) -> None:
    kit.key.chmod(mode)
    with pytest.raises(LinkConfigError, match="run: chmod 600"):
        load_kit(kit.folder)


@pytest.mark.parametrize("name", ["", "kit.toml", "ca.pem", "certificate.pem"])
def test_a_kit_that_everybody_may_change_is_refused(kit: Kit, name: str) -> None:
    path = kit.folder / name
    path.chmod(path.stat().st_mode | 0o002)
    with pytest.raises(LinkConfigError, match=r"can be changed by others.*run: chmod o-w"):
        load_kit(kit.folder)


def test_a_kit_may_lie_where_everybody_may_add_files_of_his_own(kit: Kit) -> None:
    kit.folder.chmod(0o1777)
    assert load_kit(kit.folder) == kit


def test_the_group_may_read_the_key(kit: Kit) -> None:
    kit.key.chmod(0o440)
    assert load_kit(kit.folder) == kit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "identity = 3",
        "[[",
        'identity = "spiffe://f/site/site-1"\nserver = 1',
        'identity = "site-1"\nserver = "https://localhost"',
        'identity = "spiffe://f/site/s"\nserver = "https://localhost"\nmore = ""',
        'identity = "spiffe://f/site/s"\nserver = "https://localhost"\nrelay = "https://h:1"',
        'identity = "spiffe://f/site/s/agent/a"\nserver = "https://localhost"\nrelay = 1',
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_no_kits_is_refused_by_its_name(kit: Kit, text: str | bytes) -> None:
    place = kit.folder / "kit.toml"
    place.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LinkConfigError, match=r"kit\.toml"):
        load_kit(kit.folder)
