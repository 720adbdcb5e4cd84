"""What a user can set or call is on a page: keys, parameters, variables, commands, modules."""

from __future__ import annotations

import re
import tomllib

import pytest
import typer

from federant.cli.app import app
from federant.server.workflow import load_workflows
from federant.site.config import SiteConfig, TrainerConfig

from .conftest import PAGES, ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PRIVATE_VARIABLES = {"FEDERANT_LAUNCH", "FEDERANT_DEMO"}
"""With these federant marks processes of its own."""


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("key", sorted({*SiteConfig.model_fields, *TrainerConfig.model_fields}))
def test_every_key_of_the_site_s_file_is_on_its_page(key: str) -> None:
    if key != "base":  # no key of the file: where it lies
        assert re.search(rf"\b{key}\b", page("site.md"))


@pytest.mark.parametrize("workflow", sorted(load_workflows()))
def test_every_workflow_and_its_parameters_are_on_a_page(workflow: str) -> None:
    text = page("jobs.md")
    assert f"`{workflow}`" in text
    for parameter in load_workflows()[workflow].model_fields:
        assert f"`{parameter}`" in text
    assert f" {load_workflows()[workflow].__name__}," in page("reference/workflow.md")


def test_every_room_of_the_source_is_in_the_list_of_rooms() -> None:
    source = ROOT / "src" / "federant"
    rooms = {file.parent.relative_to(source) for file in source.glob("*/__init__.py")}
    rooms |= {file.parent.relative_to(source) for file in source.glob("server/*/__init__.py")}
    rooms |= {file.parent.relative_to(source) for file in source.glob("pipe/*/__init__.py")}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z/]+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(room.as_posix() for room in rooms)


def test_every_time_limit_is_on_the_page_of_time_limits() -> None:
    workflows = load_workflows().values()
    settings = [*TrainerConfig.model_fields, *(key for w in workflows for key in w.model_fields)]
    limits = {key for key in settings if key.endswith(("_timeout", "_seconds"))}
    assert {key for key in limits if f"`{key}`" not in page("waiting.md")} == set()


def test_every_variable_that_is_read_is_on_a_page() -> None:
    sources = (ROOT / "src").rglob("*.py")
    read = {
        name for file in sources for name in re.findall(r'"(FEDERANT_[A-Z_]+)"', file.read_text())
    }
    pages = "\n".join(file.read_text() for file in PAGES)
    assert {name for name in read - PRIVATE_VARIABLES if name not in pages} == set()


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_is_on_a_page_that_says_what_it_is_for(name: str) -> None:
    assert name == "version" or any(f"federant {name}" in file.read_text() for file in PAGES)


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_every_extra_is_on_a_page_and_its_module_in_the_reference(extra: str) -> None:
    named = re.compile(rf"federant\[([a-z,]*,)?{extra}[,\]]")
    assert any(named.search(file.read_text()) for file in PAGES)
    if _is_module(f"federant/client/{extra}"):
        assert f"::: federant.client.{extra}\n" in page("reference/frameworks.md")


def _is_module(path: str) -> bool:
    place = ROOT / "src" / path
    return place.is_dir() or place.with_suffix(".py").exists()


def test_every_page_can_be_found_from_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = (ROOT / "docs").rglob("*.md")
    missing = {str(file.relative_to(ROOT / "docs")) for file in pages} - set(
        re.findall(r"\S+\.md", navigation)
    )
    assert missing == set()
