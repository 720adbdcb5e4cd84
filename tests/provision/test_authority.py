"""The authority's folder: what in it is damaged or open is refused by its name, never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federant.link.identity import Identity, Role
from federant.provision import FederationKits, Party, ProvisionError, make_federation
from federant.provision import open_federation as opened

NEW = Party(Identity("hospitals", Role.SITE, "site-9"))


def refusal(kits: FederationKits) -> str:
    with pytest.raises(ProvisionError) as caught, opened(kits.folder) as federation:
        federation.add(NEW)
    assert not (kits.folder / "sites" / "site-9").exists()
    return str(caught.value)


def test_a_folder_without_a_federation_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ProvisionError, match=r"holds no federation's kits.*or say with --dir"),
        opened(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_signing_key_that_others_can_use_is_refused(kits: FederationKits, mode: int) -> None:
    (kits.folder / "ca" / "1" / "key.pem").chmod(mode)
    assert "can be used by others" in refusal(kits)
    assert "run: chmod 600" in refusal(kits)


def test_a_signing_key_that_is_not_there_is_named(kits: FederationKits) -> None:
    (kits.folder / "ca" / "1" / "key.pem").unlink()
    assert "1/key.pem, the key that signs for the federation, cannot be read" in refusal(kits)


def test_a_signing_key_that_is_none_is_refused_and_not_quoted(kits: FederationKits) -> None:
    (kits.folder / "ca" / "1" / "key.pem").write_text("secret-secret")
    text = refusal(kits)
    assert "1/key.pem: is no private key in PEM" in text
    assert "secret" not in text


def test_a_signing_key_of_another_certificate_is_refused(
    kits: FederationKits, tmp_path: Path
) -> None:
    other = make_federation(tmp_path / "other")
    pem = (other.folder / "ca" / "1" / "key.pem").read_bytes()
    (kits.folder / "ca" / "1" / "key.pem").write_bytes(pem)
    assert "is not the key of the certificate beside it" in refusal(kits)


def test_an_authority_s_certificate_that_is_none_is_refused(kits: FederationKits) -> None:
    (kits.folder / "ca" / "1" / "certificate.pem").write_text("")
    assert "1/certificate.pem cannot be read as a certificate" in refusal(kits)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[",
        'name = "hospitals"',
        'name = "../x"\nserver = "https://h:1"\ndays = 3',
        'name = "f"\nserver = "http://h:1"\ndays = 3',
        'name = "f"\nserver = "https://h:1"\ndays = 0',
        'name = "f"\nserver = "https://h:1"\ndays = "x"',
    ],
)
def test_settings_that_are_damaged_are_refused_by_their_file(
    kits: FederationKits, text: str
) -> None:
    (kits.folder / "ca" / "federation.toml").write_text(text)
    assert "federation.toml" in refusal(kits)


@pytest.mark.parametrize("line", ["{}", "nonsense", '{"serial": "zz"}', "[]", "7"])
def test_a_record_that_is_damaged_is_refused_by_its_line(kits: FederationKits, line: str) -> None:
    path = kits.folder / "ca" / "issued.jsonl"
    path.write_text(f"{path.read_text()}{line}\n")
    with (
        pytest.raises(ProvisionError, match=r"issued\.jsonl:7: is no certificate's line"),
        opened(kits.folder) as federation,
    ):
        federation.parties()


def test_a_record_from_before_agents_kits_named_relays_is_read(kits: FederationKits) -> None:
    path = kits.folder / "ca" / "issued.jsonl"
    with opened(kits.folder) as federation:
        before = federation.authority.issued()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["relay"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with opened(kits.folder) as federation:
        assert federation.authority.issued() == before


def test_a_line_that_was_cut_off_is_of_a_certificate_that_nobody_got(
    kits: FederationKits,
) -> None:
    path = kits.folder / "ca" / "issued.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"serial": "12')
    with opened(kits.folder) as federation:
        assert len(federation.authority.issued()) == 6
        federation.add(NEW)
        assert len(federation.authority.issued()) == 7
    assert path.read_text().startswith(whole)


def test_a_record_that_is_a_link_is_not_followed(kits: FederationKits, tmp_path: Path) -> None:
    path = kits.folder / "ca" / "issued.jsonl"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(OSError, match="symbolic links"), opened(kits.folder) as federation:
        federation.add(NEW)
    assert (tmp_path / "elsewhere").read_bytes() == before
