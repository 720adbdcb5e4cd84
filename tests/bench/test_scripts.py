"""Each measurement of bench/ still fits the code that it measures, as far as its imports tell."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
SCRIPTS = sorted(script for script in BENCH.glob("*.py") if not script.stem.endswith("_rig"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_benchmark_starts_and_says_what_its_options_are(script: Path) -> None:
    asked = [sys.executable, script, "--help"]
    done = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=120)
    assert f"usage: {script.name}" in done.stdout


@pytest.mark.parametrize("name", ["memory_rig", "model_rig"])
def test_what_runs_in_a_peers_environment_too_needs_nothing_but_numpy(name: str) -> None:
    tree = ast.parse((BENCH / f"{name}.py").read_text())
    imported = {
        package.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for package in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    assert imported - sys.stdlib_module_names <= {"numpy"}
