"""What is said of the way to an agent's relay, and of what answers there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import federant
from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.doctor import Finding, Level, examine, subject_of
from federant.doctor.relay import look_at_own_relay, look_at_relay
from federant.link.certificate import read_certificate
from federant.link.identity import Identity, Role
from federant.link.kit import KIT_FILE, Kit
from federant.pipe import CellPipe, Mode
from federant.provision import FederationKits
from federant.site.config import RelayConfig
from federant.testing import ConnectProxy
from federant.testing.certificates import Odd, odd_kit
from federant.testing.two_ends import TASK

from .conftest import HOST

Dialling = Callable[..., Kit]
Relaying = Callable[..., str]


def found_by(kit: Kit) -> dict[str, Finding]:
    return {each.check: each for each in look_at_relay(kit)}


def problem_of(kit: Kit) -> Finding:
    """The only one, which is the last finding."""
    found = list(look_at_relay(kit))
    assert [each for each in found if each.level is Level.PROBLEM] == found[-1:], found
    return found[-1]


def dials(kit: Kit, relay: str) -> Kit:
    """The kit, whose file says so from now on."""
    kit = replace(kit, relay=relay)
    (kit.folder / KIT_FILE).write_text(kit.toml())
    return kit


@pytest.fixture
def dialling(tmp_path: Path, kits: FederationKits) -> Dialling:
    """``dialling("https://...", agent="gpu-7")``: a copy of its kit, which names that relay."""

    def make(relay: str, agent: str = "gpu-7") -> Kit:
        folder = tmp_path / agent
        shutil.copytree(kits.agents[f"site-1.{agent}"].folder, folder)
        return dials(replace(kits.agents[f"site-1.{agent}"], folder=folder), relay)

    return make


@pytest.fixture
def relaying(kits: FederationKits) -> Iterator[Relaying]:
    """``relaying("site-1", revoked={...})``: the address of that site's relay, which runs."""
    running: list[RelayThread] = []

    def start(site: str = "site-1", revoked: frozenset[str] = frozenset()) -> str:
        admission = Admission(site, kits.sites[site], revoked.__contains__)
        relay = RelayThread(site, "127.0.0.1", 0, admission, admission.context())
        running.append(relay)
        return f"https://127.0.0.1:{relay.port}"

    yield start
    for relay in running:
        relay.stop()


# -- one that is well --------------------------------------------------------------------------


def test_the_relay_of_a_site_that_runs_is_well(
    kits: FederationKits, tmp_path: Path, free_port: Callable[[], int], dialling: Dialling
) -> None:
    port = free_port()
    file = tmp_path / "site.toml"
    file.write_text(f'folder = "work"\n[relay]\nport = {port}\n')
    command = ["site", str(file), "--kit", str(kits.sites["site-1"].folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "federant", *command], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        try:
            assert "connected to" in process.stdout.readline()
            found = list(examine(subject_of(kit=dialling(f"https://localhost:{port}").folder)))
        finally:
            process.terminate()
    assert not [each for each in found if each.level is Level.PROBLEM], found
    told = {each.check: each.found for each in found}
    assert list(told)[-6:] == ["proxy", "DNS", "port", "TLS", "clock", "admission"]
    assert told["TLS"] == "the relay of site site-1 answers"
    assert told["clock"].startswith("as the relay's")
    assert told["admission"].startswith("the relay takes agent gpu-7 of site site-1, and speaks ")
    assert f"which dials https://localhost:{port}" in told["kit"]


def test_the_relay_of_a_server_that_runs_is_well(kits: FederationKits, dialling: Dialling) -> None:
    found = found_by(dialling(kits.server.server))
    assert {each.level for each in found.values()} == {Level.OK}, found
    assert found["TLS"].found.startswith("the relay in the server of test, which the trainer's")
    assert '(relay = "server"), answers' in found["TLS"].found
    assert found["admission"].found.startswith("the relay takes agent gpu-7 of site site-1")


def test_a_trainer_that_runs_is_not_disturbed(dialling: Dialling, relaying: Relaying) -> None:
    url = relaying()
    kit = dialling(url)
    agent = CellPipe(Mode.ACTIVE, "site-1", "gpu-7", url, workspace_dir=str(kit.folder))
    try:
        agent.open(TASK)
        assert agent.reach_relay(30.0) == ""
        assert found_by(kit)["admission"].level is Level.OK
    finally:
        agent.close()


def test_the_way_through_a_proxy_is_tried(
    dialling: Dialling, relaying: Relaying, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://{HOST}:{urlsplit(relaying()).port}"
    kit = dialling(url)
    with ConnectProxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        good = found_by(kit)
    assert {each.level for each in good.values()} == {Level.OK}, good
    assert good["proxy"].found == f"{url} is reached through {proxy.url} (https_proxy)"
    with ConnectProxy(refuse=403) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        bad = problem_of(kit)
    assert f"the proxy {proxy.url} (environment variable https_proxy) does not let" in bad.found


# -- a site's own ------------------------------------------------------------------------------


def test_a_port_that_is_free_or_the_sites_own_is_fine(
    kits: FederationKits, relaying: Relaying, free_port: Callable[[], int]
) -> None:
    kit = kits.sites["site-1"]
    (free,) = look_at_own_relay(RelayConfig(host="0.0.0.0", port=free_port()), kit)
    assert (free.level, "is free, so the site does not run" in free.found) == (Level.OK, True)
    (near,) = look_at_own_relay(RelayConfig(port=free_port()), kit)
    assert (near.level, 'host = "0.0.0.0"' in near.advice) == (Level.WARNING, True)
    port = urlsplit(relaying()).port
    assert port is not None
    (own,) = look_at_own_relay(RelayConfig(port=port), kit)
    assert (own.level, "is taken, as while the site runs" in own.found) == (Level.OK, True)
    (other,) = look_at_own_relay(RelayConfig(port=port), kits.sites["site-2"])
    assert other.level is Level.PROBLEM
    assert "is taken by somebody else than this site" in other.found


# -- what a kit says ---------------------------------------------------------------------------


def test_a_kit_that_names_no_relay_is_a_problem(kits: FederationKits) -> None:
    kit = kits.agents["site-1.gpu-7"]
    found = [each for each in examine(subject_of(kit=kit.folder)) if each.level is Level.PROBLEM]
    assert [each.check for each in found] == ["relay"]
    assert found[0].found.startswith(f"{kit.folder / KIT_FILE} does not say which relay")
    assert 'add the line relay = "https://host:port" to it' in found[0].advice
    assert "the port of [relay] in its site.toml" in found[0].advice


def test_what_is_no_address_of_a_relay_is_told(dialling: Dialling) -> None:
    found = problem_of(dialling("http://site-1.example:8760"))
    assert "is 'http://site-1.example:8760', which is no address of a relay" in found.found
    assert found.advice.startswith("write https://host:port, with the machine of site site-1")


def test_a_key_that_others_can_read_is_told(dialling: Dialling, relaying: Relaying) -> None:
    kit = dialling(relaying())
    kit.key.chmod(0o644)
    found = [each for each in examine(subject_of(kit=kit.folder)) if each.level is Level.PROBLEM]
    assert [each.check for each in found] == ["kit"]
    assert f"run: chmod 600 {kit.key}" in found[0].found


# -- who answers, and what is said of the kit --------------------------------------------------


def test_a_port_where_nobody_listens_is_told(kits: FederationKits, dialling: Dialling) -> None:
    with ConnectProxy() as gone:
        port = urlsplit(gone.url).port
    kit = dialling(f"https://127.0.0.1:{port}")
    found = problem_of(kit)
    assert found.check == "port"
    assert f"port {port} of 127.0.0.1 does not take connections" in found.found
    assert found.advice.startswith("is site site-1 running, with a table [relay] in its site.toml")
    assert f"an opening outward to TCP port {port} of 127.0.0.1" in found.advice
    as_server = problem_of(replace(kit, server=kit.relay))
    assert as_server.advice.startswith("is the federation's server running?")


def test_a_name_that_nobody_knows_is_told(dialling: Dialling) -> None:
    found = problem_of(dialling("https://nobody..nowhere:8760"))
    assert (found.check, "of the relay is not known here" in found.found) == ("DNS", True)


def test_the_relay_of_another_site_is_told(dialling: Dialling, relaying: Relaying) -> None:
    found = problem_of(dialling(relaying("site-2")))
    assert "what answers there is site site-2, not the relay of site site-1" in found.found
    assert "correct relay in " in found.advice


def test_a_relay_of_another_authority_is_told(
    tmp_path: Path, kits: FederationKits, relaying: Relaying
) -> None:
    other = federant.provision.make_federation(
        tmp_path / "other", sites=["site-1"], agents=[("site-1", "gpu-7")]
    )
    found = problem_of(dials(other.agents["site-1.gpu-7"], relaying()))
    assert found.check == "TLS"
    assert "server_certificate_of_another_authority: the relay's certificate was not" in found.found
    assert "is it the relay of this federation?" in found.found


def test_an_expired_kit_is_told_once_by_its_dates_and_else_by_the_relay(
    tmp_path: Path, kits: FederationKits, relaying: Relaying
) -> None:
    identity = Identity("test", Role.AGENT, "gpu-7", "site-1")
    kit = dials(odd_kit(tmp_path / "odd", kits, identity, Odd.EXPIRED), relaying())
    every = list(examine(subject_of(kit=kit.folder)))
    (found,) = (each for each in every if each.level is Level.PROBLEM)
    assert "it has expired on " in found.found
    assert every[-1].check == "port"
    told = problem_of(kit)
    assert told.check == "TLS"
    assert f"the relay at {kit.relay}: own_certificate_expired: " in told.found


def test_an_agent_that_the_site_knows_to_be_revoked_is_told(
    dialling: Dialling, relaying: Relaying, kits: FederationKits
) -> None:
    serial = read_certificate(kits.agents["site-1.gpu-7"].certificate).serial
    found = problem_of(dialling(relaying(revoked=frozenset([serial]))))
    assert found.check == "admission"
    assert f"serial number {serial}, was revoked; ask the federation's operator" in found.found


def test_an_agent_that_the_server_has_revoked_is_told(
    dialling: Dialling, kits: FederationKits
) -> None:
    serial = read_certificate(kits.agents["site-1.gpu-8"].certificate).serial
    with federant.connect(kit=kits.operators["alice"].folder) as federation:
        federation.revoke(serial, "lost")
    found = problem_of(dialling(kits.server.server, "gpu-8"))
    assert found.check == "admission"
    assert "certificate_revoked" in found.found


def test_a_kit_that_says_another_name_than_its_certificate_is_refused(
    dialling: Dialling, relaying: Relaying
) -> None:
    kit = dialling(relaying())
    found = problem_of(replace(kit, identity=replace(kit.identity, name="gpu-8")))
    assert "agent gpu-7 of site site-1 may not join as site-1.gpu-8.agent" in found.found


# -- what else may answer ----------------------------------------------------------------------


def test_a_port_that_speaks_no_tls_is_told(dialling: Dialling) -> None:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="somebody")
        thread.start()
        found = problem_of(dialling(f"https://127.0.0.1:{server.server_port}"))
        server.shutdown()
        thread.join()
    assert found.check == "TLS"
    assert "server_speaks_no_tls: what answers there does not speak TLS" in found.found
    assert "A relay without a kit is reached by http:// on its own machine" in found.found


def test_a_relay_without_tls_is_told(dialling: Dialling) -> None:
    # It waits for the rest of a request that is none; not for long, here.
    relay = RelayThread("site-1", "127.0.0.1", 0, Admission("site-1", None), None, 0.2)
    found = problem_of(dialling(f"https://127.0.0.1:{relay.port}"))
    relay.stop()
    assert found.check == "relay"
    assert "speak TLS" in found.found
