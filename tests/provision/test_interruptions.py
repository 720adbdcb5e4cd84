"""Killed at any step on the disk, a command leaves whole kits, and the next one finds order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from federant.link.kit import load_kit
from federant.provision import survey

SCRIPT = Path(__file__).parent / "killed.py"
AT_ONCE = 4


@pytest.mark.parametrize(
    "action", ["make", "add", "renew", "request", "renew-with-request", "rotate", "retire"]
)
def test_killed_at_any_step_it_leaves_what_the_next_command_puts_in_order(
    tmp_path: Path, action: str
) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, action, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 4  # it was killed at all


def test_several_at_once_make_one_federation(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from federant.provision import make_federation\n"
        "make_federation(Path(sys.argv[1]), sites=['site-1', 'site-2'])\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "kits"]) for _ in range(AT_ONCE)
    ]
    assert [process.wait() for process in running] == [0] * AT_ONCE
    found = survey(tmp_path / "kits")
    assert [str(seen.place) for seen in found] == ["ca/1", "server", "sites/site-1", "sites/site-2"]
    assert not any(seen.needs_care for seen in found)
    authorities = {
        load_kit(tmp_path / "kits" / place).authority.read_bytes()
        for place in ("server", "sites/site-1", "sites/site-2")
    }
    assert len(authorities) == 1
    record = (tmp_path / "kits" / "ca" / "issued.jsonl").read_text()
    assert record.count("\n") == 3
