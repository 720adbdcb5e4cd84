"""`federant provision`, as typed: the whole way of a federation's certificates."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from federant.cli.app import app
from federant.link.certificate import read_certificate
from federant.link.kit import load_kit

FILE = """\
name: hospitals
server:
  host: fed.example.org
sites: [site-1, site-2]
operators: [alice]
agents:
  - {name: gpu-7, site: site-1}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "federation.yml").write_text(FILE)
    return tmp_path


def provision(*words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["provision", *words], env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result


def serial(kit: str) -> str:
    return read_certificate(Path("kits", kit, "certificate.pem")).serial


@pytest.mark.parametrize(
    "command",
    [
        "init",
        "add",
        "add-agent",
        "add-operator",
        "renew",
        "rotate-ca",
        "retire-ca",
        "request",
        "show",
        "serials",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    assert f"Example: federant provision {'' if command == 'init' else command}" in (
        provision(command, "--help").output
    )


def test_a_file_makes_every_kit_and_tells_where_each_belongs() -> None:
    lines = provision("federation.yml").output.splitlines()
    assert [re.split(r" {2,}", line.strip())[:3] for line in lines[1:6]] == [
        ["kits/server", "server of hospitals", "made"],
        ["kits/sites/site-1", "site site-1", "made"],
        ["kits/sites/site-2", "site site-2", "made"],
        ["kits/operators/alice", "operator alice", "made"],
        ["kits/agents/site-1.gpu-7", "agent gpu-7 of site site-1", "made"],
    ]
    assert "copy it to the server's machine" in lines[1]
    assert lines[-1].startswith("Who has kits/ca decides who takes part: keep it offline")
    assert load_kit(Path("kits/sites/site-1")).server == "https://fed.example.org:8750"


@pytest.mark.parametrize(
    "words",
    [
        ["federation.yml", "--out", "there"],
        ["init", "federation.yml", "--out", "there"],
        ["init", "--dir", "there", "federation.yml"],
    ],
)
def test_the_kits_go_where_they_are_asked_for(words: list[str]) -> None:
    provision(*words)
    assert load_kit(Path("there/server"))
    assert not Path("kits").exists()


def test_given_again_it_keeps_what_is_there() -> None:
    provision("federation.yml")
    before = serial("sites/site-1")
    Path("federation.yml").write_text(FILE.replace("site-2", "site-2, site-3"))
    output = provision("federation.yml").output
    assert re.search(r"sites/site-1 +site site-1 +kept +left as it is", output)
    assert re.search(r"sites/site-3 +site site-3 +made ", output)
    assert serial("sites/site-1") == before


def test_a_word_that_is_no_command_and_no_file_is_answered_as_such() -> None:
    assert "No such command 'nonsense'" in provision("nonsense", status=2).output
    assert "nowhere.yml: there is no such file" in provision("nowhere.yml", status=1).output


def test_a_mistake_in_the_file_is_told_by_its_place() -> None:
    Path("federation.yml").write_text(FILE.replace("sites:", "site:"))
    output = provision("federation.yml", status=1).output
    assert "federation.yml: site: is not a key here; did you mean sites?" in output
    assert not Path("kits").exists()


def test_who_comes_later_gets_a_kit() -> None:
    provision("federation.yml")
    output = provision("add", "site-4", "--hosts", "s4.example", "--hosts", "10.0.0.4").output
    assert output.startswith("made kits/sites/site-4, the kit of site site-4; copy it to its")
    provision("add-operator", "bob")
    told = provision("add-agent", "gpu-8", "--site", "site-4", "--job", "job-7").output
    assert 'what it dials must be put into its kit.toml: relay = "https://host:port"' in told
    identity = load_kit(Path("kits/agents/site-4.job-7.gpu-8")).identity
    assert str(identity) == "spiffe://hospitals/site/site-4/job/job-7/agent/gpu-8"
    assert "dials" not in provision("show").output.splitlines()[0]
    assert load_kit(Path("kits/operators/bob")).identity.title == "operator bob"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add", "site-1"], "is the kit of site site-1 already"),
        (["add", "../site-9"], "cannot be a name"),
        (["add", "server"], "is the server's name and nobody else's"),
        (["add", "site-9", "--hosts", "https://h"], "is no host; give a DNS name"),
        (["add", "site-9", "--csr", "nowhere.csr"], "nowhere.csr cannot be read"),
        (["add", "site-9", "--dir", "elsewhere"], "elsewhere holds no federation's kits"),
        (["add", "site-9", "--out", "elsewhere"], "elsewhere holds no federation's kits"),
        (["add-agent", "g", "--site", "site-9"], "there is no such site; known are site-1, site-2"),
        (["add-agent", "g", "--site", "site-1", "--job", "a/b"], "cannot be a name"),
        (["add-agent", "g", "--site", "site-1", "--relay", "h:8760"], "is no address of a relay"),
        (["renew", "site-9"], "nobody here is called 'site-9'; known are server"),
        (["serials", "site-9"], "nobody here is called 'site-9'"),
        (["show", "elsewhere"], "elsewhere holds neither kits nor a kit"),
        (["retire-ca"], "there is one authority only"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_made(words: list[str], told: str) -> None:
    provision("federation.yml")
    assert told in provision(*words, status=1).output
    assert not Path("kits/sites/site-9").exists()
    assert not Path("elsewhere").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--all", "site-1"],
        ["--all", "--hosts", "h"],
        ["site-1", "site-2", "--csr", "x.csr"],
    ],
)
def test_renew_is_told_whom_it_is_for(words: list[str]) -> None:
    provision("federation.yml")
    assert "give names of kits or --all" in provision("renew", *words, status=2).output


def test_a_renewed_kit_is_told_with_what_is_to_be_copied() -> None:
    provision("federation.yml")
    old = serial("sites/site-1")
    output = provision("renew", "site-1", "operators/alice").output
    assert "renewed site site-1: copy certificate.pem, ca.pem and key.pem from kits/sites" in output
    assert "renewed operator alice" in output
    listed = provision("serials", "site-1").output
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [old, serial("sites/site-1")]
    assert len(provision("serials").output.splitlines()) == 1 + 7


def test_another_authority_takes_over_step_by_step() -> None:
    provision("federation.yml")
    assert "federant provision renew --all" in provision("rotate-ca").output
    assert "whom nobody would let in any more" in provision("retire-ca", status=1).output
    assert provision("renew", "--all").output.count("renewed ") == 5
    assert "not trusted any more: kits/ca/1.retired" in provision("retire-ca").output
    assert re.search(r"^ ca/2 +hospitals authority 2 ", provision("show").output, re.MULTILINE)


def test_what_an_agent_dials_is_told_wherever_its_kit_is() -> None:
    relay = "https://gate.example:8760"
    line = f"  - {{name: gpu-9, site: site-1, relay: '{relay}'}}\n"
    Path("federation.yml").write_text(FILE + line)
    told = provision("federation.yml").output
    assert "copy it to gpu-7: its trainers dial the relay, once kit.toml names it" in told
    assert f"copy it to gpu-9: its trainers dial {relay}" in told
    provision("request", "gpu-8", "--out", "far")
    provision(
        *("add-agent", "gpu-8", "--site", "site-1", "--relay", relay),
        *("--csr", "far/gpu-8.csr"),
    )
    for file in Path("kits/agents/site-1.gpu-8").iterdir():
        shutil.copy(file, "far")
    assert load_kit(Path("far")).relay == relay
    shown = provision("show").output
    assert shown.splitlines()[0].split()[-1] == "dials"
    assert re.search(rf"agents/site-1\.gpu-8 .* {relay} +its key is not here", shown)


def test_a_key_made_elsewhere_never_comes_here() -> None:
    provision("federation.yml")
    asked = provision("request", "site-4", "--out", "at-the-site").output
    made = provision("add", "site-4", "--csr", "at-the-site/site-4.csr").output
    fingerprint = re.findall(r"fingerprint is ([0-9a-f]{32}): both machines must show", asked)
    assert fingerprint == re.findall(r"fingerprint is ([0-9a-f]{32}):", made)
    assert not Path("kits/sites/site-4/key.pem").exists()
    assert "its key is not here" in provision("show").output
    assert "not renewed: site site-4" in provision("renew", "--all").output
    for file in Path("kits/sites/site-4").iterdir():
        shutil.copy(file, "at-the-site")
    assert load_kit(Path("at-the-site")).identity.title == "site site-4"
    assert provision("show", "at-the-site").exit_code == 0
    provision("request", "site-4", "--out", "again")
    renewed = provision("renew", "site-4", "--csr", "again/site-4.csr").output
    assert "copy certificate.pem, ca.pem from kits/sites/site-4" in renewed


def test_what_ends_soon_is_told_by_the_exit_status_too() -> None:
    Path("federation.yml").write_text(FILE + "days: 29\n")
    provision("federation.yml")
    output = provision("show", status=1).output
    assert re.search(r"sites/site-1 +site site-1 +[0-9a-f]+ +\S+ +28 +ends soon: renew it", output)


def test_no_command_ever_prints_a_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    said = [
        provision(*words.split()).output
        for words in (
            "federation.yml",
            "federation.yml",
            "add site-4",
            "request site-5",
            "add site-5 --csr site-5/site-5.csr",
            "renew site-1",
            "rotate-ca",
            "renew --all",
            "show",
            "serials",
        )
    ]
    secrets = {
        line
        for key in Path().rglob("key.pem")
        for line in key.read_text().splitlines()
        if "-" not in line
    }
    assert len(secrets) > 20
    assert not [line for line in secrets if line in "".join([*said, caplog.text])]
