"""Pages followed by somebody who does what they say, in their order, in a real federation."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.numpy

from .conftest import ROOT, blocks, commands

if TYPE_CHECKING:
    from .conftest import Block

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

USUAL = "http://127.0.0.1:8750"
SECONDS = 180.0
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
"""With this Python first, as in an environment that was activated."""


class Reader:
    """Somebody in an empty folder: saves files, starts what runs on, runs what ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.job = ""
        self.printed = ""
        self._running: list[subprocess.Popen[bytes]] = []

    def follow(self, block: Block) -> None:
        text = block.text.replace(USUAL, self.url)
        if block.title:
            (self.folder / block.title).write_text(text)
        elif block.language == "python":
            self.do(["python", "-c", text])
        elif block.language == "text":
            assert block.text in self.printed, f"{block.where} promises other output"
        for words in commands(block):
            self.do(words)

    def do(self, words: list[str]) -> None:
        """Give a command: what runs on goes on in the background, what ends must end well."""
        if words[:2] == ["federant", "server"]:
            self._start([*words, "--port", "0"])
            self.url = self._address(self.folder / words[2] / "server.json")
        elif words[:2] == ["federant", "site"] or words[0] == "sh":
            self._start(words)
        else:
            self._run([self.job if word == "JOB" else word for word in words])

    @property
    def newest(self) -> subprocess.Popen[bytes]:
        """What was started last, of that which runs on."""
        return self._running[-1]

    def stop(self) -> None:
        for process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise

    def _start(self, words: list[str]) -> None:
        with (self.folder / "terminal.log").open("ab") as log:
            self._running.append(
                subprocess.Popen(
                    self._command(words),
                    cwd=self.folder,
                    env={**os.environ, "PATH": PATH},
                    stdout=log,
                    stderr=log,
                )
            )

    def _run(self, words: list[str]) -> None:
        done = subprocess.run(
            self._command(words),
            cwd=self.folder,
            env={**os.environ, "FEDERANT_SERVER": self.url, "PATH": PATH},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}\n{self._log()}"
        self.printed = done.stdout
        found = re.search(r"^j[0-9a-f]{12}$", done.stdout, re.MULTILINE)
        self.job = found[0] if found else self.job

    def _address(self, file: Path) -> str:
        deadline = time.monotonic() + SECONDS
        while not file.exists():
            assert self._running[-1].poll() is None, self._log()
            assert time.monotonic() < deadline, self._log()
            time.sleep(0.05)
        return str(json.loads(file.read_text())["url"])

    def _log(self) -> str:
        return (self.folder / "terminal.log").read_text(errors="replace")

    @staticmethod
    def _command(words: list[str]) -> list[str]:
        if words[0] == "sh":
            return words
        return [sys.executable, *(["-m", *words] if words[0] == "federant" else words[1:])]


@contextmanager
def reader_in(folder: Path) -> Iterator[Reader]:
    reader = Reader(folder)
    try:
        yield reader
    finally:
        reader.stop()


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    with reader_in(tmp_path) as reader:
        for block in blocks(ROOT / "docs" / "tutorial.md"):
            reader.follow(block)
        assert (tmp_path / "line.safetensors").stat().st_size > 0


def test_the_federation_in_the_readme_comes_to_the_answer_that_it_says(tmp_path: Path) -> None:
    with reader_in(tmp_path) as reader:
        for block in blocks(ROOT / "README.md", under="A federation of your own"):
            reader.follow(block)
            if block.title == "site-a.toml":
                site_a = (tmp_path / block.title).read_text()
                site_b = site_a.replace("site-a", "site-b").replace('"1", "2", "3"', '"10"')
                (tmp_path / "site-b.toml").write_text(site_b)
        assert reader.printed == "finished [4.]\n"


def test_what_the_page_of_jobs_shows_runs_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    page = [block for block in blocks(ROOT / "docs" / "jobs.md") if block.language == "python"]
    start = {"slope": np.zeros(1), "height": np.zeros(1)}
    safetensors.numpy.save_file(start, tmp_path / "start.safetensors")
    (tmp_path / "points.csv").write_text("0,1.1\n1,2.9\n2,5.2\n3,6.8\n")
    with reader_in(tmp_path) as reader:
        reader.do(["federant", "server", "federation"])
        for site in ("site-1", "site-2"):
            (tmp_path / f"{site}.toml").write_text(
                f'name = "{site}"\nserver = "{reader.url}"\nfolder = "{site}"\n[trainers.digits]\n'
                f'command = ["{{python}}", "{ROOT}/examples/line_trainer.py", "points.csv"]\n'
            )
            reader.do(["federant", "site", f"{site}.toml"])
        program = "\n".join(block.text for block in page)
        reader.do(["python", "-c", program.replace(USUAL, reader.url)])
        assert "site-1 loss" in reader.printed
        assert "finished" in reader.printed
        assert "not_found there is no job j6cb7b2874d68" in reader.printed


def test_a_trainer_in_a_batch_script_waits_for_its_job_and_ends_with_it(tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    (tmp_path / "points.csv").write_text("0,1.1\n1,2.9\n2,5.2\n3,6.8\n")
    shutil.copy(ROOT / "examples" / "line_trainer.py", tmp_path)
    with reader_in(tmp_path) as reader:
        reader.do(["federant", "server", "federation"])
        for block in blocks(ROOT / "docs" / "cluster.md", under="The owner submits the trainer"):
            text = block.text.replace("/shared", shared).replace("srun ", "")
            reader.follow(replace(block, text=text.replace("sbatch ", "sh ")))
            if block.text.startswith("sbatch "):
                batch = reader.newest
        assert batch.wait(SECONDS) == 0
        reader.do(["federant", "job", "model", "JOB", "line.safetensors"])
