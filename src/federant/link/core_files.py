"""No core file of a process that holds a key, or somebody's data: both would lie open in it."""

from __future__ import annotations

import resource


def forbid_core_files() -> None:
    """For this process and those that it starts, which may ask for them again (``ulimit -c``)."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
