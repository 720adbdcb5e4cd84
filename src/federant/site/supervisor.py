"""Which trainer a task gets: start it, find it again, start it anew, or say why there is none.

Applies what the site's file says about a trainer's life. What goes through the pipe is not here.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from federant.client.meeting_point import FILE_VARIABLE, JOIN_FILE, KIT_VARIABLE
from federant.pipe import PipeKind
from federant.site import launcher
from federant.site.config import Restart, Start, TrainerConfig
from federant.site.errors import LaunchError, TrainerDownError
from federant.site.job_file import JobFolder
from federant.site.journal import Journal
from federant.site.last_words import forget_last_words, has_last_words, read_last_words
from federant.site.launcher import Exit, Launch, LaunchSpec

_log = logging.getLogger(__name__)


class Trainer(Protocol):
    """What the exchanger needs to know of the process at the other end of its pipe."""

    @property
    def external(self) -> bool:
        """Whether somebody else starts it, so that its process is not known here."""
        ...

    @property
    def exit(self) -> Exit | None:
        """How the process that was started last ended; None while it lives or is not known."""
        ...

    @property
    def one_task(self) -> bool:
        """Whether it is to end after each task."""
        ...

    @property
    def replaceable(self) -> bool:
        """Whether one that dies is replaced, and the new one gets the task in hand again."""
        ...

    def ensure(self) -> None:
        """Have a trainer for a task.

        LaunchError if it cannot be started, TrainerDownError if it is not to be started.
        """
        ...

    def retire(self) -> None:
        """Give a trainer that was told to end its grace period, then end it; does not wait."""
        ...

    def kill(self) -> None:
        """End it at once, with all that it started."""
        ...

    @property
    def many_crashed(self) -> bool:
        """Whether it has many processes, and some of them have crashed: more may follow."""
        ...

    def last_words(self) -> str:
        """What its processes said as they crashed, and the end of what it printed; may be empty."""
        ...


class TrainerSupervisor:
    """The life of one job's trainer; at most one process at a time. Thread-safe."""

    def __init__(
        self,
        config: TrainerConfig,
        folder: Path,
        env: Mapping[str, str],
        journal: Journal,
        *,
        on_token: Callable[[str], None],
        on_exit: Callable[[], None],
        on_status: Callable[[str, str], None],
        words: Path | None = None,
    ) -> None:
        """`config` is resolved; `folder` is the job's; `env` tells the trainer where to connect.

        `words` is where its processes leave their last words, if that is not in the job's folder.

        `on_token(token)` is called with what a trainer will show, before it can;
        `on_exit()`, from any thread, when the process has ended; `on_status(state, text)` for
        everything that a person who watches the job wants to see.
        """
        self._config = config
        self._launches = folder / "launches"
        self._join_file = folder / JOIN_FILE
        self._words = words or JobFolder(folder).last_words
        self._spec = LaunchSpec(
            command=config.command,
            cwd=config.cwd or folder,
            env={**config.env, **env},
            log=folder / "trainer.log",
            log_bytes=config.log_bytes,
            log_files=config.log_files,
            grace_seconds=config.grace_seconds,
        )
        self._journal = journal
        self._on_token = on_token
        self._on_exit = on_exit
        self._on_status = on_status
        self._lock = threading.RLock()
        self._found: Launch | None = None
        self._launch: Launch | None = None
        self._retiring = False
        self._leaving = False
        self._closed = False

    @property
    def external(self) -> bool:
        return self._config.start is Start.EXTERNAL

    @property
    def one_task(self) -> bool:
        return self._config.start is Start.TASK

    @property
    def replaceable(self) -> bool:
        return self._config.restart is Restart.ON_FAILURE

    @property
    def exit(self) -> Exit | None:
        launch = self._launch
        return launch.exit if launch is not None else None

    @property
    def keeper_pid(self) -> int | None:
        """The process under which all of the newest trainer's run; None if there is none."""
        launch = self._launch
        return None if launch is None else launch.keeper_pid

    def recall(self) -> None:
        """Find an earlier client job's trainer and tell its token; call before the pipes open.

        It knocks as soon as they do, and must not be taken for a stranger.
        """
        with self._lock:
            self._found = None if self.external else launcher.find(self._launches)
            if self._found is not None:
                self._on_token(self._found.token)

    def begin(self) -> None:
        """Go on with the trainer that `recall` found, or start one if it is to live for the job.

        A command that cannot be started is told by on_status here, and raised by ensure().
        """
        with self._lock:
            if self.external:
                text = "an external trainer is started by its owner"
                if self._config.pipe is PipeKind.CELL:
                    agent = self._config.agent_id
                    text = f"{text}, with {KIT_VARIABLE} naming the startup kit of agent {agent}"
                else:
                    text = f"{text}, at this site with {FILE_VARIABLE}={self._join_file}"
                self._on_status("waiting", text)
                return
            found = self._found
            if found is not None:
                if found.exit is None or found.witnessed:
                    self._watch(found)
                    if found.exit is None:
                        text = f"a trainer was running already, launch {found.id}"
                        self._on_status("adopted", text)
                    return
                # It ended while no client job was here, most likely for that reason, or with all
                # that ran at this site. That is not held against it.
                found.stop()
                self._on_status("lost", f"the trainer ended without a client job: {found.exit}")
            if self._config.start is Start.JOB:
                try:
                    self._start()
                except LaunchError as error:
                    self._on_status("failed", str(error))

    def ensure(self) -> None:
        with self._lock:
            launch = self._launch
            if self.external:
                forget_last_words(self._words)
                return
            if launch is not None and launch.exit is None and not self._retiring:
                return
            if self._closed:
                raise TrainerDownError("the job is ending at this site")
            if launch is not None:
                if self._retiring:
                    launch.wait(self._config.grace_seconds)
                # Also where it has ended: what it left behind must not meet its successor.
                launch.stop()
                if launch.exit is not None and not (launch.exit.clean or launch.exit.asked):
                    self._check_restart(launch.exit)
            self._start()

    def retire(self) -> None:
        launch = self._launch
        if launch is None:
            return
        self._retiring = True

        def end() -> None:
            launch.wait(self._config.grace_seconds)
            launch.stop()

        threading.Thread(target=end, name=f"retire-{launch.id}", daemon=True).start()

    def kill(self) -> None:
        launch = self._launch
        if launch is not None:
            launch.stop(0, at_fault=True)

    def leave(self) -> None:
        """This client job goes, and another will go on: a trainer that ends by that did not die."""
        self._leaving = True

    def close(self, grace: float | None = None) -> None:
        """End the trainer and all that it started; returns when they are gone."""
        with self._lock:
            self._closed = True
            launch = self._launch
        if launch is not None:
            launch.stop(grace)

    def wait(self, timeout: float) -> bool:
        """Wait until the process has ended by itself; False if it has not. Knows no external."""
        launch = self._launch
        return launch is None or launch.wait(timeout) is not None

    @property
    def many_crashed(self) -> bool:
        return has_last_words(self._words)

    def last_words(self) -> str:
        words = read_last_words(self._words)
        count = self._config.told_log_lines
        text = launcher.last_lines(self._spec.log, count) if count else ""
        if text:
            text = f"the last lines of {self._spec.log}:\n{text}"
        return "\n".join(part for part in (words, text) if part)

    def _check_restart(self, ended: Exit) -> None:
        if not self.replaceable:
            raise TrainerDownError(
                f"the trainer died earlier ({ended}), and the site's file says "
                f'restart = "{self._config.restart}"'
            )
        count = self._journal.count_restart()
        if count > self._config.max_restarts:
            raise TrainerDownError(
                f"the trainer died ({ended}), and was started again "
                f"{self._config.max_restarts} times before (max_restarts in the site's file)"
            )
        self._on_status("restarted", f"{ended}; start {count} of {self._config.max_restarts} again")

    def _start(self) -> None:
        forget_last_words(self._words)
        spec = replace(self._spec, token=secrets.token_urlsafe(32))
        self._on_token(spec.token)
        self._watch(launcher.start(self._launches, spec))
        self._on_status("started", "by the command that the site's file gives")

    def _watch(self, launch: Launch) -> None:
        self._launch = launch
        self._retiring = False
        launch.on_exit(self._ended)

    def _ended(self, launch: Launch) -> None:
        ended = launch.exit
        died = ended is not None and not (ended.clean or ended.asked)
        if died and not launch.witnessed and not self._leaving:
            launch.witness()
            words = self.last_words()  # of one that never asks for a task nothing else tells
            self._on_status("died", f"{ended}\n{words}" if words else str(ended))
        self._on_exit()
