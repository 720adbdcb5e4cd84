"""A transfer between hosts of their own, on a slow line that is cut for some seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from federant.testing.network import why_not

SCRIPT = Path(__file__).parents[2] / "bench" / "chaos.py"

REASON = why_not()


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_a_result_on_a_line_that_is_cut_arrives_and_at_most_one_chunk_is_sent_again() -> None:
    command = [sys.executable, str(SCRIPT), "--mb", "5", "--rate", "40mbit", "--cut", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert said["arrived"]
    assert 0 < said["cut_at"] < said["sent"]
    cuts = 1 + said["failed_calls"]
    assert said["sent_again_at_most"] <= cuts * said["chunk"]
