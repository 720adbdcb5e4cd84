"""What lies in deploy/: its commands are federant's, and its files agree with one another."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from federant.cli.app import app
from federant.provision import load_plan
from federant.server.config import DRAIN_SECONDS

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = ["federant-server.service", "federant-site@.service"]
ANALYZE = shutil.which("systemd-analyze")
PROGRAM = "/opt/federant/bin/federant"


def give(words: list[str]) -> None:
    """Give words to the command that they name, which checks them; nothing is run."""
    command: Any = typer.main.get_command(app)
    path = "federant"
    while hasattr(command, "commands"):
        words = getattr(command, "completed", list)(words)
        path += f" {words[0]}"
        command = command.commands[words[0]]
        words = words[1:]
    with suppress(typer.Exit):
        command.make_context(path, list(words))


def unit(name: str) -> configparser.RawConfigParser:
    # A key may stand twice in a unit; none of ours does.
    found = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",))
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read_string((DEPLOY / "systemd" / name).read_text())
    return found


def compose() -> dict[str, Any]:
    found = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    assert isinstance(found, dict)
    return found


def docker_words(instruction: str) -> list[str]:
    text = (DEPLOY / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    found = re.search(rf"^{instruction}\b[^\[\n]*(\[.*\])$", text, re.MULTILINE)
    assert found is not None
    words = json.loads(found[1])
    assert isinstance(words, list)
    return words


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_a_command_that_there_is(name: str) -> None:
    program, *words = shlex.split(unit(name)["Service"]["ExecStart"].replace("%i", "site-1"))
    assert program == PROGRAM
    give(words)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_hardened_and_lets_the_service_end_in_its_own_time(name: str) -> None:
    service = unit(name)["Service"]
    wanted = {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "CapabilityBoundingSet": "",
        "LimitCORE": "0",
        "Restart": "on-failure",
        "KillMode": "mixed",
    }
    assert {key: service[key] for key in wanted} == wanted
    assert float(service["TimeoutStopSec"]) > DRAIN_SECONDS


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    units = []
    for name in UNITS:
        file = tmp_path / name.replace("@.", "@site-1.")
        # What is there instead of the program, which is installed nowhere in a test.
        text = (DEPLOY / "systemd" / name).read_text().replace(PROGRAM, "/bin/sh")
        file.write_text(text)
        units.append(str(file))
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    # Of other units on this machine it may say something too.
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert said == []


def test_the_image_runs_commands_that_there_are() -> None:
    (program,) = docker_words("ENTRYPOINT")
    assert program == "federant"
    give(docker_words("CMD"))
    program, *words = docker_words("HEALTHCHECK")
    assert program == "federant"
    give(words)


def test_the_image_does_not_run_as_root() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]


def test_what_the_image_is_built_from_is_there_and_not_ignored() -> None:
    docker = DEPLOY / "docker"
    kept = re.findall(r"^!(.*)$", (docker / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    copied = [
        source
        for line in re.findall(
            r"^COPY (.*) \S+$", (docker / "Dockerfile").read_text(), re.MULTILINE
        )
        for source in line.split()
    ]
    assert sorted(copied) == sorted(kept)
    assert all((DEPLOY.parent / source).exists() for source in copied)


@pytest.mark.parametrize("service", ["server", "site-1", "site-2"])
def test_a_service_of_the_compose_file_is_whole(service: str) -> None:
    file = compose()
    found = file["services"][service]
    give(found["command"])
    kit, data = (volume.split(":") for volume in found["volumes"])
    place = "server" if service == "server" else f"sites/{service}"
    assert kit == [f"./kits/{place}", "/kit", "ro"]
    assert data == [service, "/var/lib/federant"]
    assert service in file["volumes"]
    assert (found["read_only"], found["cap_drop"]) == (True, ["ALL"])
    assert float(found["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS
    context = DEPLOY / "compose" / found["build"]["context"]
    assert (context / found["build"]["dockerfile"]).is_file()


def test_the_compose_file_runs_those_who_get_kits() -> None:
    plan = load_plan(DEPLOY / "compose" / "federation.yml")
    services = compose()["services"]
    names = {party.identity.name for party in plan.parties()}
    assert set(services) == names - {"alice"}
    port = int(plan.settings.server.rpartition(":")[2])
    assert services["server"]["ports"] == [f"{port}:{port}"]
    assert plan.settings.server == f"https://server:{port}"


def test_commands_in_the_readme_are_there() -> None:
    lines = (DEPLOY / "README.md").read_text().splitlines()
    commands = [line.split()[1:] for line in lines if line.startswith("    federant ")]
    assert len(commands) == 3
    for words in commands:
        give(words)


def test_the_readme_says_what_was_not_run() -> None:
    assert "**Untested:" in (DEPLOY / "README.md").read_text()
