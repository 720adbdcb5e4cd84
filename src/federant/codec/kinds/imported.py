"""What the process has imported already; nothing is imported here."""

from __future__ import annotations

import sys
from typing import Any


def imported(name: str) -> Any:
    """The module if it has been imported to its end, else None: another thread may be at it."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return None if getattr(spec, "_initializing", False) else module
