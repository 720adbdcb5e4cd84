"""What is made for a whole federation: kits that load, are private, and shake hands."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from federant.link import LinkConfigError
from federant.link.certificate import read_certificate
from federant.link.identity import Identity, Role
from federant.link.kit import Kit, load_kit
from federant.provision import FederationKits, ProvisionError, make_federation
from federant.site.config import SiteConfig

from .conftest import Handshake

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def certificate_of(kit: Kit) -> x509.Certificate:
    return x509.load_pem_x509_certificate(kit.certificate.read_bytes())


def authority_of(kits: FederationKits) -> x509.Certificate:
    return x509.load_pem_x509_certificate(kits.server.authority.read_bytes())


def all_kits(kits: FederationKits) -> list[Kit]:
    return [
        kits.server,
        *kits.sites.values(),
        *kits.operators.values(),
        *kits.agents.values(),
    ]


def usages(kit: Kit) -> set[x509.ObjectIdentifier]:
    found = certificate_of(kit).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    return set(found.value)


def names(kit: Kit) -> x509.SubjectAlternativeName:
    found = certificate_of(kit).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value


def test_everybody_has_a_kit_under_a_name_of_their_own(kits: FederationKits) -> None:
    assert [str(kit.identity) for kit in all_kits(kits)] == [
        "spiffe://hospitals/server",
        "spiffe://hospitals/site/site-1",
        "spiffe://hospitals/site/site-2",
        "spiffe://hospitals/operator/alice",
        "spiffe://hospitals/site/site-1/agent/gpu-7",
        "spiffe://hospitals/site/site-1/job/job-7/agent/gpu-7",
    ]
    assert list(kits.agents) == ["site-1.gpu-7", "site-1.job-7.gpu-7"]
    assert all(kit == load_kit(kit.folder) for kit in all_kits(kits))


def test_a_certificate_names_its_holder_and_nobody_else(kits: FederationKits) -> None:
    for kit in all_kits(kits):
        assert read_certificate(kit.certificate).identity == kit.identity
        uris = names(kit).get_values_for_type(x509.UniformResourceIdentifier)
        assert uris == [str(kit.identity)]


def test_a_certificate_is_for_the_hosts_of_its_holder(kits: FederationKits) -> None:
    server, site = names(kits.server), names(kits.sites["site-2"])
    assert server.get_values_for_type(x509.DNSName) == ["localhost", "fed.example.org"]
    assert [str(each) for each in server.get_values_for_type(x509.IPAddress)] == [
        "127.0.0.1",
        "::1",
    ]
    assert site.get_values_for_type(x509.DNSName) == ["gate.site-2.example"]
    assert names(kits.operators["alice"]).get_values_for_type(x509.DNSName) == []


def test_a_certificate_may_be_used_as_its_holder_needs(kits: FederationKits) -> None:
    assert usages(kits.server) == usages(kits.sites["site-1"]) == {CLIENT, SERVER}
    assert usages(kits.operators["alice"]) == usages(kits.agents["site-1.gpu-7"]) == {CLIENT}


def test_the_authority_signs_for_parties_only(kits: FederationKits) -> None:
    authority = authority_of(kits)
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    for kit in all_kits(kits):
        certificate_of(kit).verify_directly_issued_by(authority)
        own = certificate_of(kit).extensions.get_extension_for_class(x509.BasicConstraints)
        assert own.value.ca is False


def test_keys_are_on_the_curve_p_256_and_all_of_them_and_all_serials_differ(
    kits: FederationKits,
) -> None:
    certificates = [authority_of(kits), *map(certificate_of, all_kits(kits))]
    keys = [certificate.public_key() for certificate in certificates]
    numbers = set()
    for key in keys:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        numbers.add(key.public_numbers())
    assert len(numbers) == len({each.serial_number for each in certificates}) == len(keys)


def test_a_certificate_is_good_a_little_before_now_and_for_as_many_days_as_asked(
    tmp_path: Path,
) -> None:
    made = make_federation(tmp_path / "kits", days=20, now=NOON)
    facts = read_certificate(made.server.certificate)
    assert facts.not_before == NOON - timedelta(minutes=5)
    assert facts.not_after == NOON + timedelta(days=20)
    assert facts.remaining(NOON) == timedelta(days=20)


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    make_federation(tmp_path / "kits", now=NOON)
    later = NOON + timedelta(days=3600)
    made = make_federation(tmp_path / "kits", sites=["site-1"], now=later)
    end = certificate_of(made.sites["site-1"]).not_valid_after_utc
    assert end == authority_of(made).not_valid_after_utc


def test_an_authority_that_has_expired_signs_nothing(tmp_path: Path) -> None:
    make_federation(tmp_path / "kits", now=NOON)
    with pytest.raises(ProvisionError, match=r"expired; begin another one with .*rotate-ca"):
        make_federation(tmp_path / "kits", sites=["site-1"], now=NOON + timedelta(days=4000))


def test_any_two_of_a_federation_shake_hands_and_know_each_other(
    kits: FederationKits, shake_hands: Handshake
) -> None:
    for client in all_kits(kits):
        for name in ("localhost", "127.0.0.1", "::1", "fed.example.org"):
            seen = shake_hands(kits.server, client, name)
            assert seen == (["spiffe://hospitals/server"], [str(client.identity)])
    agent, site = kits.agents["site-1.gpu-7"], kits.sites["site-2"]
    assert shake_hands(site, agent, "gate.site-2.example")[0] == [str(site.identity)]


def test_a_kit_of_another_federation_of_the_same_name_is_a_stranger(
    kits: FederationKits, tmp_path: Path, shake_hands: Handshake
) -> None:
    other = make_federation(tmp_path / "other", "hospitals", sites=["site-1"])
    with pytest.raises(ssl.SSLError):
        shake_hands(kits.server, other.sites["site-1"])


def test_nobody_can_be_dialled_who_is_not_meant_to_be(
    kits: FederationKits, shake_hands: Handshake
) -> None:
    with pytest.raises(ssl.SSLError):
        shake_hands(kits.agents["site-1.gpu-7"], kits.sites["site-1"])


def test_keys_are_private_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kits = make_federation(tmp_path / "kits", sites=["site-1"])
    finally:
        os.umask(before)
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "kits", *(tmp_path / "kits").rglob("*")]
    }
    assert {mode for path, mode in modes.items() if (tmp_path / path).is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.endswith("key.pem")} == {0o600}
    assert {mode for path, mode in modes.items() if path.startswith("kits/ca/")} <= {0o600, 0o700}
    assert not any(mode & 0o022 for mode in modes.values())
    assert modes["kits/sites/site-1/start.sh"] == 0o700
    assert load_kit(kits.server.folder) == kits.server


def test_a_site_s_file_is_one_but_for_what_the_kit_says(kits: FederationKits) -> None:
    kit = kits.sites["site-1"]
    found = tomllib.loads((kit.folder / "site.toml").read_text())
    assert not {"name", "server"} & set(found)
    config = SiteConfig.model_validate({**found, "name": kit.identity.name, "server": kit.server})
    assert config.trainers["train"].command == ("{python}", "train.py")


def test_a_server_s_file_says_where_it_listens(kits: FederationKits) -> None:
    found = tomllib.loads((kits.server.folder / "server.toml").read_text())
    assert found == {"host": "0.0.0.0", "port": 8750, "folder": "data"}


@pytest.mark.parametrize("role", ["server", "site"])
def test_the_start_script_gives_its_own_folder_as_the_kit(
    kits: FederationKits, tmp_path: Path, role: str
) -> None:
    folder = kits.server.folder if role == "server" else kits.sites["site-1"].folder
    programs = tmp_path / "programs"
    programs.mkdir()
    federant = programs / "federant"
    federant.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    federant.chmod(0o755)
    moved = folder.rename(tmp_path / "a folder with spaces")
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        [moved / "start.sh", "-v"], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [role, "--kit", str(moved), "-v"]


def test_made_again_a_federation_is_what_it_was(kits: FederationKits) -> None:
    files = [path for path in kits.folder.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    again = make_federation(
        kits.folder, "hospitals", sites=["site-1", "site-2"], operators=["alice"]
    )
    assert again.sites == kits.sites
    assert {path: path.read_bytes() for path in files} == before


def test_the_server_of_all_kits_can_be_told_once_it_listens(kits: FederationKits) -> None:
    moved = kits.at("https://localhost:40123")
    assert {kit.server for kit in all_kits(moved)} == {"https://localhost:40123"}
    assert [load_kit(kit.folder) for kit in all_kits(moved)] == all_kits(moved)


def test_what_is_no_certificate_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "certificate.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n")
    with pytest.raises(LinkConfigError, match=r"certificate\.pem cannot be read.*copy the whole"):
        read_certificate(tmp_path / "certificate.pem")


def test_a_list_of_hosts_that_is_one_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="must be a list of hosts"):
        make_federation(tmp_path / "kits", sites={"site-1": "gate.example"})


def test_an_agent_of_an_unknown_site_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match=r"no such site; known are site-1"):
        make_federation(tmp_path / "kits", sites=["site-1"], agents=[("site-2", "gpu-7")])
    identity = Identity("test", Role.AGENT, "gpu-7", "site-2")
    assert not (tmp_path / "kits" / "agents" / f"{identity.site}.gpu-7").exists()
