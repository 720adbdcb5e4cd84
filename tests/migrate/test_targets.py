"""What the table sends people to is there: modules, names, pages and examples."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import federant
from federant.migrate.table import load_table

ROOT = Path(__file__).parents[2]
ADVICE = sorted({load_table().advice(*line) for line in load_table().without_counterpart()})


def is_there(module: str, name: str) -> bool:
    """Also of a module whose framework is not installed here.

    Where it is, it is better not imported: from then on arrays are read as that framework's own.
    """
    file = file_of(module)
    if file is None:
        return False
    names = bound_names(ast.parse(file.read_text(encoding="utf-8")))
    return name in names or hasattr(import_module(module), name)


def bound_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def file_of(module: str) -> Path | None:
    place = Path(federant.__file__).parents[1].joinpath(*module.split("."))
    return next(
        (file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()), None
    )


@pytest.mark.parametrize(("module", "name"), sorted(set(load_table().targets())))
def test_what_a_name_moves_to_is_there(module: str, name: str) -> None:
    assert is_there(module, name)


@pytest.mark.parametrize("advice", ADVICE)
def test_what_an_advice_names_is_there(advice: str) -> None:
    for dotted in re.findall(r"federant(?:\.\w+)+", advice):
        module, _, name = dotted.rpartition(".")
        assert file_of(dotted) is not None or is_there(module, name), dotted
    for file in re.findall(r"(?:docs|examples)/\w+\.(?:md|py)", advice):
        assert (ROOT / file).exists(), file
