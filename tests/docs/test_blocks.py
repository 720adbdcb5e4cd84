"""What a page shows is right: Python, the site's file, commands, and changes to a script."""

from __future__ import annotations

import ast
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import griffe
import pytest
import typer

from federant.cli.app import app
from federant.provision import make_federation
from federant.server.tracking.settings import load_settings
from federant.site.config import load_config

if TYPE_CHECKING:
    from .conftest import Block

ROOT = Path(__file__).resolve().parents[2]
OTHER_NAMES = {"federant.workflows"}
"""That of the entry points is no module."""
HEAD = 'name = "site-1"\nserver = "http://127.0.0.1:8750"\nfolder = "work"\n'


@pytest.fixture(scope="session")
def package() -> griffe.Module:
    """federant as its sources have it: no framework is imported to look a name up."""
    loader = griffe.GriffeLoader(search_paths=[ROOT / "src"])
    found = loader.load("federant")
    loader.resolve_aliases()
    assert isinstance(found, griffe.Module)
    return found


def test_python_in_a_page_names_only_what_federant_has(
    python_block: Block, package: griffe.Module
) -> None:
    _check(python_block.text, python_block.where, package)


def test_toml_in_a_page_is_toml_and_a_site_s_or_server_s_file_is_one(
    toml_block: Block, tmp_path: Path
) -> None:
    found = tomllib.loads(toml_block.text)
    if "sinks" in found:
        file = tmp_path / "server.toml"
        file.write_text(toml_block.text)
        load_settings(tmp_path, file)
    if "trainers" not in found and "server" not in found:
        return
    file = tmp_path / "site.toml"
    if "host" in found.get("relay", {}):  # only a site with a kit may be reached from elsewhere
        kit = make_federation(tmp_path / "kits", sites=["site-1"]).sites["site-1"].folder
        file.write_text('folder = "work"\n' + toml_block.text)
        load_config(file, kit)
        return
    file.write_text(toml_block.text if "server" in found else HEAD + toml_block.text)
    load_config(file)


def test_a_command_line_in_a_page_is_one(
    command_line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _parse(command_line)


def test_a_command_that_a_page_names_is_there(
    named_command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        _parse(named_command.split("|")[0].split()[1:])
    except typer.TyperException as error:
        if type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError", "BadOptionUsage"):
            raise


def test_an_object_that_a_page_names_is_there(named_object: str, package: griffe.Module) -> None:
    assert named_object in OTHER_NAMES or _has(package, named_object)


def test_a_change_in_a_page_ends_in_the_file_that_it_names_or_in_right_python(
    diff_block: Block, package: griffe.Module
) -> None:
    if diff_block.title:
        file = iter((ROOT / diff_block.title).read_text().splitlines())
        for line in diff_block.text.splitlines():
            wanted = line[1:].strip()
            if line[:1] in (" ", "+") and wanted not in ("", "..."):
                assert any(of_file.strip() == wanted for of_file in file), (
                    f"{diff_block.where}: {diff_block.title} lacks {wanted!r} in this place"
                )
    else:
        ast.parse(_side("-", diff_block), diff_block.where)
        _check(_side("+", diff_block), diff_block.where, package)


def _side(sign: str, change: Block) -> str:
    """What a change begins with ("-") or ends in ("+")."""
    lines = change.text.splitlines()
    return "\n".join(line[1:] for line in lines if line[:1] in (" ", sign))


def _check(text: str, where: str, package: griffe.Module) -> None:
    names = _names_of_federant(ast.parse(text, where))
    missing = [name for name in names if not _has(package, name)]
    assert not missing, f"{where}: federant has no {', '.join(missing)}"


def _names_of_federant(tree: ast.AST) -> list[str]:
    """Dotted names that a program takes from federant, by import or as attributes of a module."""
    names: list[str] = []
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "federant":
                    names.append(alias.name)
                    modules[alias.asname or "federant"] = alias.name if alias.asname else "federant"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "federant":
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    for node in ast.walk(tree):
        dotted = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        first, _, rest = dotted.partition(".")
        if first in modules and rest.replace(".", "").isidentifier():
            names.append(f"{modules[first]}.{rest}")
    return names


def _has(package: griffe.Module, name: str) -> bool:
    """Whether the name is there: as far as modules and classes go; what a value has is not seen."""
    found: Any = package
    for part in name.split(".")[1:]:
        if found.is_alias:
            found = found.final_target
        if not (found.is_module or found.is_class):
            return True
        members = found.all_members
        if part not in members:
            return False
        found = members[part]
    return True


def _parse(words: list[str]) -> None:
    """Give the words to the command that they name, which checks them; nothing is run."""
    command: Any = typer.main.get_command(app)
    words = list(words)
    path = "federant"
    while hasattr(command, "commands"):
        words = getattr(command, "completed", list)(words)
        if not words or words[0] not in command.commands:
            break
        path += f" {words[0]}"
        command = command.commands[words.pop(0)]
    unknown = words and hasattr(command, "commands") and not words[0].startswith("-")
    assert not unknown, f"{path} has no command {words[0]}"
    with suppress(typer.Exit):  # --help and --version print and end
        command.make_context(path, words)
