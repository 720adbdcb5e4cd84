"""What the table sends people to is there: modules, names, pages and examples."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from federant.migrate.table import load_table

ROOT = Path(__file__).parents[2]
ADVICE = sorted({load_table().advice(*line) for line in load_table().without_counterpart()})


def is_there(module: str, name: str) -> bool:
    """Also of a module whose framework is not installed here."""
    try:
        return hasattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "federant").partition(".")[0] == "federant":
            return False
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        return name in bound_names(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))


def bound_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize(("module", "name"), sorted(set(load_table().targets())))
def test_what_a_name_moves_to_is_there(module: str, name: str) -> None:
    assert is_there(module, name)


@pytest.mark.parametrize("advice", ADVICE)
def test_what_an_advice_names_is_there(advice: str) -> None:
    for dotted in re.findall(r"federant(?:\.\w+)+", advice):
        module, _, name = dotted.rpartition(".")
        assert is_module(dotted) or is_there(module, name), dotted
    for file in re.findall(r"(?:docs|examples)/\w+\.(?:md|py)", advice):
        assert (ROOT / file).exists(), file
