"""A trainer's one line: where its client job listens, and an agent that is connected to it."""

from __future__ import annotations

import atexit
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack, overload

from federant.client.errors import JoinError
from federant.client.flare_agent import FlareAgent
from federant.client.joined import remember
from federant.client.last_words import hear_crashes, leave_words
from federant.pipe import FileLayout, FilePipe, LocalPipe, Mode, Pipe, PipeKind

PIPE_VARIABLE = "FEDERANT_PIPE"
KIND_VARIABLE = "FEDERANT_PIPE_KIND"
TOKEN_VARIABLE = "FEDERANT_TOKEN"  # noqa: S105 - the name of a variable, no secret
SITE_VARIABLE = "FEDERANT_SITE"
JOB_VARIABLE = "FEDERANT_JOB"
HEARTBEAT_VARIABLE = "FEDERANT_HEARTBEAT_TIMEOUT"
SPOOL_VARIABLE = "FEDERANT_SPOOL_BYTES"
FILE_VARIABLE = "FEDERANT_JOIN"

KIT_FILE = "join.toml"
"""The file's name in a folder that is given in its place: a client job's, say."""

HEARTBEAT_INTERVAL = 5.0
"""Seconds between signs of life, unless the timeout asks for more of them."""

_TEXT_KEYS = ("pipe", "pipe_kind", "token", "site", "job")
_KEYS = (*_TEXT_KEYS, "heartbeat_timeout", "spool_bytes")

AnyAgent = TypeVar("AnyAgent", bound=FlareAgent)


class AgentOptions(TypedDict, total=False):
    """What join() passes on to the agent; FlareAgent says what each means."""

    pipe: Pipe | None
    read_interval: float
    heartbeat_interval: float
    heartbeat_timeout: float
    resend_interval: float | None
    max_resends: int | None
    submit_result_timeout: float
    metric_pipe: Pipe | None
    task_channel_name: str
    metric_channel_name: str
    close_pipe: bool
    close_metric_pipe: bool
    site_name: str
    job_id: str


@dataclass(frozen=True, slots=True)
class MeetingPoint:
    """Where a client job waits for its trainer."""

    pipe: Path
    """The folder of the pipe."""
    token: str = ""
    """What this launch of the trainer shows to be let in."""
    site: str = ""
    job: str = ""
    heartbeat_timeout: float | None = None
    """Seconds; None leaves it to the agent."""
    spool_bytes: int | None = None
    """What a trainer's messages may take on disk, in each channel; None leaves it to the pipe."""
    kind: PipeKind = PipeKind.LOCAL

    def new_pipe(self) -> Pipe:
        """The trainer's end of a channel."""
        if self.kind is PipeKind.CELL:
            raise JoinError(
                f"job {self.job!r} of site {self.site!r} is reached from another machine "
                '(pipe = "cell" in the site\'s file): make a FlareAgentWithCellPipe there'
            )
        if self.kind is PipeKind.FILE:
            return FilePipe(Mode.ACTIVE, self.pipe)
        if self.kind is PipeKind.NVFLARE_FILE:
            return FilePipe(Mode.ACTIVE, self.pipe, layout=FileLayout.NVFLARE)
        if self.spool_bytes is None:
            return LocalPipe(Mode.ACTIVE, self.pipe, self.token)
        return LocalPipe(Mode.ACTIVE, self.pipe, self.token, self.spool_bytes)


@overload
def join(config: str | Path | None = None, **overrides: Unpack[AgentOptions]) -> FlareAgent: ...
@overload
def join(
    config: str | Path | None = None,
    *,
    agent_class: type[AnyAgent],
    **overrides: Unpack[AgentOptions],
) -> AnyAgent: ...
def join(
    config: str | Path | None = None,
    *,
    agent_class: type[FlareAgent] = FlareAgent,
    **overrides: Unpack[AgentOptions],
) -> FlareAgent:
    """Connects this process to the client job that started it, or that waits for it.

    Where to connect comes from the TOML file ``config``, else from the environment that a client
    job sets for its trainer, else from the file that FEDERANT_JOIN names. Such a file has the keys
    pipe (a folder, taken from the file's own if relative), pipe_kind ("local", "file" or
    "nvflare-file"), token, site, job, heartbeat_timeout, spool_bytes; a folder in its place is one
    that holds it as join.toml. An override takes the place of what they say: ``metric_pipe=None``
    for an agent that logs nothing, say.

    Returns an agent that is started; nothing waits for the client job, which may come later. The
    agent stops when the interpreter exits, and an exception that ends the process is told to the
    client job. ``agent_class`` is a FlareAgent of your own, with other conversions say.

    Raises:
        JoinError: nothing says where to connect, or what says so is not right.
        ValueError, TypeError: an override is out of range.
    """
    point = meeting_point(config, os.environ)
    options: AgentOptions = {"site_name": point.site, "job_id": point.job, **overrides}
    for name in ("pipe", "metric_pipe"):
        if name not in options:
            options[name] = point.new_pipe()
    if point.heartbeat_timeout is not None:
        options.setdefault("heartbeat_timeout", point.heartbeat_timeout)
    timeout = options.get("heartbeat_timeout", 0)
    if isinstance(timeout, int | float) and timeout > 0:
        # It may be shorter than the agent's usual interval.
        options.setdefault("heartbeat_interval", min(HEARTBEAT_INTERVAL, timeout / 3))
    agent = agent_class(**options)
    agent.start()
    remember(agent)
    atexit.register(agent.stop)
    hear_crashes(partial(leave_words, point.pipe), agent.report_crash)
    return agent


def stand_by(config: str | Path | None, rank: str) -> None:
    """In a process that is not the one that talks: its crash too is told to the client job.

    JoinError as from join().
    """
    hear_crashes(partial(leave_words, meeting_point(config, os.environ).pipe, rank=rank))


def meeting_point(config: str | Path | None, environment: Mapping[str, str]) -> MeetingPoint:
    """Where to connect, as join() says."""
    if config is not None:
        return _from_file(Path(config))
    if PIPE_VARIABLE in environment:
        return _from_environment(environment)
    if FILE_VARIABLE in environment:
        return _from_file(Path(environment[FILE_VARIABLE]))
    raise JoinError(
        "this process was not started by a client job, and nothing says which job it is to join: "
        f"neither {PIPE_VARIABLE} nor {FILE_VARIABLE} is set. One of these helps:\n"
        "- let a site start it: name its command in the site's file, and run a job with it\n"
        '- start it yourself, for a trainer with start = "external" in the site\'s file: the '
        f"client job writes a {KIT_FILE} into its folder, <the site's folder>/jobs/<job>; set "
        f"{FILE_VARIABLE} to that file or folder, or pass it to join(config=...) or "
        "init(config_file=...)\n"
        "- try it without a federation: federant trainer check -- python your_script.py"
    )


def _from_environment(environment: Mapping[str, str]) -> MeetingPoint:
    timeout = environment.get(HEARTBEAT_VARIABLE)
    try:
        heartbeat_timeout = float(timeout) if timeout else None
    except ValueError as error:
        raise JoinError(
            f"{HEARTBEAT_VARIABLE} must be a number of seconds, got {timeout!r}"
        ) from error
    size = environment.get(SPOOL_VARIABLE)
    if size and not (size.isdecimal() and int(size)):
        raise JoinError(f"{SPOOL_VARIABLE} must be a number of bytes above 0, got {size!r}")
    return MeetingPoint(
        pipe=Path(environment[PIPE_VARIABLE]),
        token=environment.get(TOKEN_VARIABLE, ""),
        site=environment.get(SITE_VARIABLE, ""),
        job=environment.get(JOB_VARIABLE, ""),
        heartbeat_timeout=heartbeat_timeout,
        spool_bytes=int(size) if size else None,
        kind=_kind(KIND_VARIABLE, environment.get(KIND_VARIABLE)),
    )


def _from_file(path: Path) -> MeetingPoint:
    if path.is_dir():
        path /= KIT_FILE
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError as error:
        raise JoinError(
            f"cannot read where to connect from {path}: there is no such file. The client job "
            "writes it when the job begins at the site, and removes it when the job is over: is "
            "the job running, and the path right?"
        ) from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise JoinError(f"cannot read where to connect from {path}: {error}") from error
    unknown = sorted(set(found) - set(_KEYS))
    if unknown:
        raise JoinError(f"{path}: unknown key {unknown[0]!r}; the keys are {', '.join(_KEYS)}")
    for key in _TEXT_KEYS:
        if not isinstance(found.get(key, ""), str):
            raise JoinError(f"{path}: {key} must be a string, got {found[key]!r}")
    timeout: Any = found.get("heartbeat_timeout")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | None):
        raise JoinError(f"{path}: heartbeat_timeout must be a number of seconds, got {timeout!r}")
    size: Any = found.get("spool_bytes")
    if size is not None and (type(size) is not int or size < 1):
        raise JoinError(f"{path}: spool_bytes must be a number of bytes above 0, got {size!r}")
    if not found.get("pipe"):
        raise JoinError(
            f"{path}: the key pipe, the folder where the client job listens, is missing"
        )
    return MeetingPoint(
        pipe=path.parent / found["pipe"],
        token=found.get("token", ""),
        site=found.get("site", ""),
        job=found.get("job", ""),
        heartbeat_timeout=timeout,
        spool_bytes=size,
        kind=_kind(f"{path}: pipe_kind", found.get("pipe_kind")),
    )


def _kind(where: str, value: str | None) -> PipeKind:
    try:
        return PipeKind(value or PipeKind.LOCAL)
    except ValueError:
        kinds = ", ".join(f'"{kind}"' for kind in PipeKind)
        raise JoinError(f"{where} must be one of {kinds}; got {value!r}") from None
