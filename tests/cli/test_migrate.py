"""`federant migrate`, as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from federant.cli.app import app

SCRIPT = "import nvflare.client as flare\n\nflare.init()\n"
MOVED = SCRIPT.replace("nvflare", "federant")


def migrate(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["migrate", *map(str, arguments)], input=answer)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "train.py"
    file.write_text(SCRIPT)
    return file


def test_a_tree_is_shown_and_written_and_then_there_is_nothing_more_to_do(script: Path) -> None:
    done = migrate(script.parent, "--write")
    assert done.exit_code == 0, done.output
    assert "-import nvflare.client as flare" in done.stdout
    assert "+import federant.client as flare" in done.stdout
    assert "1 place in 1 file changed, 0 names left" in done.stderr
    assert script.read_text() == MOVED
    again = migrate(script.parent, "--yes")
    assert again.exit_code == 0
    assert "0 places in 0 files" in again.stderr


@pytest.mark.parametrize("options", [["--diff"], []])
def test_nothing_is_written_unasked(script: Path, options: list[str]) -> None:
    shown = migrate(script, *options)
    assert shown.exit_code == 1
    assert "+import federant.client as flare" in shown.stdout
    assert "1 place in 1 file to be changed" in shown.stderr
    assert script.read_text() == SCRIPT


@pytest.mark.parametrize(("answer", "status", "text"), [("y\n", 0, MOVED), ("n\n", 1, SCRIPT)])
def test_who_is_there_is_asked(
    script: Path, monkeypatch: pytest.MonkeyPatch, answer: str, status: int, text: str
) -> None:
    monkeypatch.setattr("federant.cli.migrate._somebody_is_there", lambda: True)
    done = migrate(script, answer=answer)
    assert "Write 1 file?" in done.output
    assert (done.exit_code, script.read_text()) == (status, text)


NOTEBOOK = """{
 "cells": [
  {"cell_type": "markdown", "metadata": {}, "source": ["import nvflare.client stays é"]},
  {
   "cell_type": "code",
   "metadata": {},
   "outputs": [],
   "source": [
    "%pip install x\\n",
    "import nvflare.client as flare\\n",
    "from nvflare.apis.dxo import DXO  # \\"that\\"\\n",
    "from nvflare.apis.executor import Executor"
   ]
  },
  {"cell_type": "code", "source": "files = !ls\\nflare.init()\\nimport nvflare.client\\n"},
  {"cell_type": "code", "source": ["%%bash\\n", "import nvflare.client"]},
  {"cell_type": "code", "source": ["for x in files:\\n", "    nvflare.client.init()"]}
 ],
 "nbformat": 4
}
"""


def test_code_cells_of_a_notebook_are_rewritten_and_nothing_else_of_it(tmp_path: Path) -> None:
    file = tmp_path / "train.ipynb"
    file.write_text(NOTEBOOK, encoding="utf-8")
    done = migrate(tmp_path, "--write")
    assert done.exit_code == 1  # an executor has no counterpart
    assert f"{file}:12: nvflare.apis.executor.Executor: " in done.stderr
    wanted = (
        NOTEBOOK.replace('"import nvflare.client as', '"import federant.client as')
        .replace("nvflare.apis.dxo", "federant.exchange")
        .replace("import nvflare.client\\n", "import federant.client\\n")
        .replace("    nvflare.client.init", "    federant.client.init")
    )
    assert file.read_text(encoding="utf-8") == wanted


def test_a_line_of_a_cell_that_becomes_two_keeps_the_files_form(tmp_path: Path) -> None:
    file = tmp_path / "train.ipynb"
    line = '"from nvflare.client.lightning import patch, AnalyticsDataType"'
    form = '{"cells": [{"cell_type": "code", "source": [\n    %s\n ]}]}\n'
    file.write_text(form % line)
    assert migrate(file, "--write").exit_code == 0
    assert file.read_text() == form % (
        '"from federant.client.lightning import patch\\n",\n'
        '    "from federant.client import AnalyticsDataType"'
    )


def test_a_notebook_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "old.ipynb"
    file.write_text('{"worksheets": ["import nvflare"]}')
    done = migrate(tmp_path, "--write")
    assert done.exit_code == 1
    assert f"{file}: skipped: not readable as Python: it is no notebook of version 4" in done.stderr


@pytest.mark.parametrize("way", ["from", "as"])
def test_where_a_pipe_is_built_it_is_said_what_the_site_must_say(tmp_path: Path, way: str) -> None:
    module = "nvflare.fuel.utils.pipe.file_pipe"
    file = tmp_path / "train.py"
    if way == "from":
        file.write_text(f"from {module} import FilePipe\n\npipe = FilePipe(1, '/shared')\n")
    else:
        file.write_text(f"import {module} as fp\n\npipe = fp.FilePipe(1, '/shared')\n")
    done = migrate(file, "--write")
    assert done.exit_code == 0
    assert f"{file}:3: FilePipe (line 3): " in done.stderr
    assert 'pipe = "file"' in done.stderr
    assert 'pipe = "nvflare-file"' in done.stderr


def test_what_cannot_be_moved_is_listed_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "job.py"
    file.write_text(
        "from nvflare.app_common.np.constants import NPConstants\n"
        "from nvflare.apis.dxo import DXO\n"
        "key = NPConstants.NUMPY_KEY\n"
    )
    done = migrate(tmp_path, "--write")
    assert done.exit_code == 1
    assert f"{file}:1: nvflare.app_common.np.constants.NPConstants: write the key" in done.stderr
    assert "(used in line 3)" in done.stderr
    assert "1 place in 1 file changed, 1 name left to be done by hand" in done.stderr
    assert "from federant.exchange import DXO" in file.read_text()


def test_files_that_cannot_be_read_are_skipped_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("import nvflare\nprint 'python 2'\n")
    (tmp_path / "look.ipynb").write_text('{"cells": ["import nvflare"]}')
    (tmp_path / "other.ipynb").write_text("{}")
    (tmp_path / "fine.py").write_text(SCRIPT)
    hidden = tmp_path / ".venv"
    hidden.mkdir()
    (hidden / "library.py").write_text(SCRIPT)
    done = migrate(tmp_path, "--write")
    assert done.exit_code == 1
    assert "old.py: skipped: not readable as Python: line 2" in done.stderr
    assert "look.ipynb: skipped: not readable as Python: it is no notebook" in done.stderr
    assert "2 files skipped" in done.stderr
    assert (tmp_path / "fine.py").read_text() == MOVED
    assert (hidden / "library.py").read_text() == SCRIPT


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = migrate(tmp_path / "nothing")
    assert done.exit_code == 2
    assert "there is no such file or folder" in done.stderr


def test_a_missing_package_is_told_with_what_to_install(script: Path) -> None:
    code = (
        "import sys; sys.modules['libcst'] = None; sys.argv = ['federant', 'migrate', sys.argv[1]];"
        "from federant.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "needs libcst, which is not installed: pip install 'federant[migrate]'" in done.stderr
