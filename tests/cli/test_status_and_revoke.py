"""`federant status`, `revoke` and `revocations`, as typed by an operator with a kit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import federant
from federant.cli.app import app
from federant.link import LinkClient
from federant.link.certificate import read_certificate
from federant.link.kit import Kit
from federant.provision import open_federation

Serving = Callable[..., AbstractContextManager[Any]]


def typed(secure: Any, *arguments: str, kit: str = "alice") -> Result:
    environment = {
        "COLUMNS": "200",
        "FEDERANT_SERVER": secure.url,
        "FEDERANT_KIT": str(secure.kits.operators[kit].folder),
    }
    return CliRunner().invoke(app, arguments, env=environment)


def serial_of(kit: Kit) -> str:
    return read_certificate(kit.certificate).serial


def say_hello(secure: Any) -> None:
    with LinkClient(secure.url, "site-1", kit=secure.kits.sites["site-1"]) as link:
        link.hello("place-1")


@pytest.fixture
def secure(serving_tls: Serving) -> Iterator[Any]:
    with serving_tls() as secure:
        yield secure


def test_the_status_shows_server_sites_and_whose_certificate_ends_when(secure: Any) -> None:
    say_hello(secure)
    result = typed(secure, "status")
    assert result.exit_code == 0, result.output
    kits = secure.kits
    assert re.search(rf"^ ?server +{secure.url}$", result.output, re.MULTILINE)
    assert re.search(rf"^ ?version +{re.escape(federant.__version__)}$", result.output, re.M)
    assert "none yet" in result.output
    for words, kit in (
        ("server's certificate", kits.server),
        ("this kit's certificate", kits.operators["alice"]),
        ("site-1 +here +now", kits.sites["site-1"]),
    ):
        day = f"{read_certificate(kit.certificate).not_after:%Y-%m-%d}"
        assert re.search(rf"{words} +{serial_of(kit)}, until {day}", result.output)


def test_what_ends_within_30_days_is_warned_of_by_the_exit_status_too(
    serving_tls: Serving,
) -> None:
    with serving_tls(days=20) as secure:
        say_hello(secure)
        result = typed(secure, "status")
    assert result.exit_code == 1
    for whose in ("the server's", "this kit's"):
        assert re.search(
            rf"warning {whose} certificate ends in 19 days, on [-0-9]+: renew it", result.output
        )
    assert re.search(r"warning the certificate of site site-1 ends in 19 days, on", result.output)


def test_a_disk_that_takes_nothing_more_is_warned_of(
    secure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    result = typed(secure, "status")
    assert result.exit_code == 1
    assert "disk" in result.output
    assert "the server's disk has 0.0 GiB free, of which 0.5 GiB are kept" in result.output


def test_the_status_as_json_is_for_programs(secure: Any) -> None:
    say_hello(secure)
    result = typed(secure, "status", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["version"] == federant.__version__
    (site,) = found["sites"]
    assert [each["serial"] for each in site["certificates"]] == [
        serial_of(secure.kits.sites["site-1"])
    ]


def test_without_tls_the_status_shows_no_certificates(server: Any) -> None:
    result = CliRunner().invoke(app, ["status"], env={"FEDERANT_SERVER": server.url})
    assert result.exit_code == 0
    assert "certificate" not in result.output


def test_a_certificate_is_revoked_by_its_number_and_listed(secure: Any) -> None:
    say_hello(secure)
    serial = serial_of(secure.kits.sites["site-1"])
    result = typed(secure, "revoke", serial, "--reason", "stolen")
    assert (result.exit_code, result.output) == (0, f"revoked {serial}, of site site-1\n")
    (row,) = typed(secure, "revocations").output.splitlines()[1:]
    assert re.fullmatch(rf" ?{serial} +site site-1 +[-0-9]+ [0-9:]+ +operator alice +stolen", row)
    assert re.search(rf"site-1 +revoked +now +{serial}, revoked", typed(secure, "status").output)
    assert re.search(r"site-1 +revoked +now", typed(secure, "sites").output)


def test_a_site_is_revoked_by_the_certificate_with_which_it_calls(secure: Any) -> None:
    say_hello(secure)
    result = typed(secure, "revoke", "--site", "site-1")
    serial = serial_of(secure.kits.sites["site-1"])
    assert result.output == f"revoked {serial}, of site site-1\n"
    again = typed(secure, "revoke", "--site", "site-1")
    assert (again.exit_code, "no certificate that could be revoked" in again.output) == (1, True)


def test_a_site_that_calls_with_two_certificates_must_be_named_by_one(secure: Any) -> None:
    say_hello(secure)
    first = serial_of(secure.kits.sites["site-1"])
    with open_federation(secure.kits.folder) as federation:
        federation.renew(federation.find("site-1"))
    say_hello(secure)
    second = serial_of(secure.kits.sites["site-1"])
    result = typed(secure, "revoke", "--site", "site-1")
    assert result.exit_code == 1
    assert f"has called with 2 certificates: {first}, {second}, the last one last" in result.output


def test_a_site_that_nobody_knows_cannot_be_revoked(secure: Any) -> None:
    result = typed(secure, "revoke", "--site", "site-9")
    assert result.exit_code == 1
    assert "the server knows no site 'site-9'; it knows: none" in result.output


def test_a_number_that_nobody_has_called_with_is_revoked_with_a_question(secure: Any) -> None:
    result = typed(secure, "revoke", "abc123")
    assert result.exit_code == 0
    assert (
        "an agent calls its site's relay, which is told; for anybody else, is the number right?"
        in (result.output)
    )


@pytest.mark.parametrize("arguments", [(), ("abc123", "--site", "site-1")])
def test_revoke_takes_a_number_or_a_site(secure: Any, arguments: tuple[str, ...]) -> None:
    result = typed(secure, "revoke", *arguments)
    assert result.exit_code == 2
    assert "serial number, or its site (--site)" in result.output


def test_an_operator_who_would_lock_itself_out_is_told_what_to_do(secure: Any) -> None:
    result = typed(secure, "revoke", serial_of(secure.kits.operators["alice"]))
    assert result.exit_code == 1
    assert "renew your kit first (federant provision renew)" in result.output


def test_a_revoked_operator_is_told_so(secure: Any) -> None:
    typed(secure, "revoke", serial_of(secure.kits.operators["bob"]))
    result = typed(secure, "sites", kit="bob")
    assert result.exit_code == 1
    assert "the certificate of operator bob, serial number" in result.output
    assert "was revoked; ask the federation's operator for another" in result.output
