"""What federant.testing offers, and what it costs those who do not need all of it."""

import subprocess
import sys

import federant.testing
from federant.testing import (
    ConnectProxy,
    FakeClock,
    FaultPipe,
    FaultProxy,
    PeerProcess,
    PipeContract,
    Way,
)


def test_every_public_name_can_be_imported():
    offered = {ConnectProxy, FakeClock, FaultPipe, FaultProxy, PeerProcess, PipeContract, Way}
    assert offered == {getattr(federant.testing, name) for name in federant.testing.__all__}


def test_pytest_is_needed_for_the_suite_only():
    script = "import sys, federant.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
