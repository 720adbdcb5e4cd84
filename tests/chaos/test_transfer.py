"""Transfers between hosts of their own, on a slow line that is cut, or whose sender moves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from federant.testing.network import why_not

BENCH = Path(__file__).parents[2] / "bench"
REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


def measured(folder: Path, script: str, *disturbance: str) -> dict[str, Any]:
    """What the measurement says of a transfer that is smaller than by default."""
    file = folder / "said.json"
    smaller = ["--mb", "5", "--rate", "40mbit", "--json", str(file)]
    subprocess.run([sys.executable, str(BENCH / script), *smaller, *disturbance], check=True)
    said: dict[str, Any] = json.loads(file.read_text())["figures"][0]
    assert said["arrived"]
    assert 0 < said["disturbed_at"] < said["sent"]
    return said


def test_a_result_on_a_line_that_is_cut_arrives_and_at_most_one_chunk_is_sent_again(
    tmp_path: Path,
) -> None:
    said = measured(tmp_path, "chaos.py", "--cut", "1")
    cuts = 1 + said["failed_calls"]
    assert said["sent_again_at_most"] <= cuts * said["chunk"]


@pytest.mark.parametrize("disturbance", ["--cut=1", "--move"])
def test_a_result_from_a_node_that_is_cut_off_or_moves_sends_at_most_one_chunk_again(
    tmp_path: Path, disturbance: str
) -> None:
    said = measured(tmp_path, "chaos_cells.py", disturbance)
    assert said["sent_again_at_most"] <= said["chunk"]
