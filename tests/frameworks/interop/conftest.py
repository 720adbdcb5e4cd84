"""The fixtures of tests/site, a real server and real sites, for the tests in this folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_NAME = "federant_site_fixtures"
_spec = importlib.util.spec_from_file_location(
    _NAME, Path(__file__).parents[2] / "site" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_fixtures = sys.modules[_NAME] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

server = _fixtures.server
until = _fixtures.until_fixture
