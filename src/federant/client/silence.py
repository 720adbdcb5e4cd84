"""Silence: the one warning of a trainer that waits where no client job has ever been heard."""

from __future__ import annotations

import logging
import time

from federant.pipe import CellPipe, Pipe, PipeHandler

PATIENCE_SECONDS = 10.0
"""How long an agent asks for tasks, without a sign of any client job, until it says so."""

logger = logging.getLogger(__name__)


class Silence:
    """Watches whether a client job was ever heard by that handler; has no thread and no timer."""

    def __init__(self, handler: PipeHandler) -> None:
        self._handler = handler
        self._began: float | None = None
        self._over = False

    def ends(self) -> float | None:
        """When (``time.monotonic``) to call tell, if no task has come by then; None for never.

        Counted from the first call.
        """
        if not self._over:
            self._over = self._handler.peer_is_up_or_dead.is_set()
        if self._over:
            return None
        if self._began is None:
            self._began = time.monotonic()
        return self._began + PATIENCE_SECONDS

    def tell(self) -> None:
        """Warns, once, if there is still no sign of a client job."""
        if self.ends() is None:
            return
        self._over = True
        logger.warning(
            "no client job heard seconds=%g pipe=%s: still waiting. Is the job running at this "
            "site, and %s?",
            PATIENCE_SECONDS,
            _described(self._handler.pipe),
            _to_compare(self._handler.pipe),
        )


def _to_compare(pipe: Pipe) -> str:
    if isinstance(pipe, CellPipe):
        return f'has its trainer in the site\'s file pipe = "cell" and agent_id = "{pipe.token}"'
    return (
        "are the folder and the kind of the pipe (pipe_kind in a join file) those in the site's "
        "file"
    )


def _described(pipe: Pipe) -> str:
    """Class and arguments, but no token, which is a secret of the launch."""
    told = (f"{key}={value}" for key, value in pipe.arguments().items() if key != "token")
    return f"{type(pipe).__name__}({', '.join(told)})"
