"""`federant doctor`, as typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from federant.cli.app import app
from federant.provision import FederationKits


def doctor(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words], env={"COLUMNS": "300"})


def test_a_site_that_is_well_gets_a_line_a_check_and_status_0(kits: FederationKits) -> None:
    result = doctor("--kit", str(kits.sites["site-1"].folder))
    assert result.exit_code == 0, result.output
    lines = [re.split(r" {2,}", line)[:2] for line in result.output.splitlines()]
    assert {level for level, _ in lines} <= {"ok", "warning"}
    checks = [check for _, check in lines]
    assert checks[:5] == ["kit", "file", "certificate", "certificate chain", "trainer train"]
    assert checks[-1] == "admission"


def test_a_problem_gives_status_1_and_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        'name = "site-1"\nserver = "http://127.0.0.1:1"\nfolder = "work"\n'
        '[trainers.t]\ncommand = ["no-such-program"]\n'
    )
    result = doctor(str(file))
    assert result.exit_code == 1
    assert re.search(r"^problem +trainer t .*correct its command$", result.output, re.MULTILINE)


def test_it_can_be_had_as_json(kits: FederationKits) -> None:
    result = doctor("--kit", str(kits.operators["alice"].folder), "--json")
    told = json.loads(result.output)
    assert told["verdict"] in ("ok", "warning")
    assert {"check", "level", "found", "advice"} == set(told["findings"][0])
    assert "PRIVATE KEY" not in result.output


def test_who_names_nothing_is_told_of_the_machine() -> None:
    result = doctor()
    assert result.exit_code == 0
    assert "versions" in result.output


def test_a_kit_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = doctor("--kit", str(tmp_path / "gone"))
    assert result.exit_code == 1
    assert "is not there; name a startup kit (--kit DIR) or a file" in result.output


def test_it_explains_itself() -> None:
    assert "Example: federant doctor --kit site-1" in doctor("--help").output
