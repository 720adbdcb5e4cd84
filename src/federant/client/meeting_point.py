"""Where a trainer meets its client job, as a file, the environment or a startup kit says."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from federant.client.agent_kit import KIT_FILE, AgentKit, read_agent_kit
from federant.client.errors import JoinError
from federant.pipe import FileLayout, FilePipe, LocalPipe, Mode, Pipe, PipeKind

PIPE_VARIABLE = "FEDERANT_PIPE"
KIND_VARIABLE = "FEDERANT_PIPE_KIND"
TOKEN_VARIABLE = "FEDERANT_TOKEN"  # noqa: S105 - the name of a variable, no secret
SITE_VARIABLE = "FEDERANT_SITE"
JOB_VARIABLE = "FEDERANT_JOB"
HEARTBEAT_VARIABLE = "FEDERANT_HEARTBEAT_TIMEOUT"
SPOOL_VARIABLE = "FEDERANT_SPOOL_BYTES"
FILE_VARIABLE = "FEDERANT_JOIN"
KIT_VARIABLE = "FEDERANT_KIT"

JOIN_FILE = "join.toml"
"""The file's name in a folder that is given in its place: a client job's, say."""

_TEXT_KEYS = ("pipe", "pipe_kind", "token", "site", "job")
_KEYS = (*_TEXT_KEYS, "heartbeat_timeout", "spool_bytes")


@dataclass(frozen=True, slots=True)
class MeetingPoint:
    """Where a client job waits for its trainer."""

    pipe: Path | None
    """The folder of the pipe; None for a client job on another machine."""
    token: str = ""
    """What this launch of the trainer shows to be let in."""
    site: str = ""
    job: str = ""
    heartbeat_timeout: float | None = None
    """Seconds; None leaves it to the agent."""
    spool_bytes: int | None = None
    """What a trainer's messages may take on disk, in each channel; None leaves it to the pipe."""
    kind: PipeKind = PipeKind.LOCAL
    kit: AgentKit | None = None
    """By which a client job on another machine is reached."""

    def new_pipe(self) -> Pipe:
        """The trainer's end of a channel."""
        if self.kit is not None:
            return self.kit.new_pipe(self.spool_bytes)
        if self.pipe is None or self.kind is PipeKind.CELL:
            raise JoinError(
                f"job {self.job!r} of site {self.site!r} is reached from another machine "
                "(pipe = \"cell\" in the site's file), by an agent's startup kit: set "
                f"{KIT_VARIABLE} to the kit's folder there"
            )
        if self.kind is PipeKind.FILE:
            return FilePipe(Mode.ACTIVE, self.pipe)
        if self.kind is PipeKind.NVFLARE_FILE:
            return FilePipe(Mode.ACTIVE, self.pipe, layout=FileLayout.NVFLARE)
        if self.spool_bytes is None:
            return LocalPipe(Mode.ACTIVE, self.pipe, self.token)
        return LocalPipe(Mode.ACTIVE, self.pipe, self.token, self.spool_bytes)


def meeting_point(config: str | Path | None, environment: Mapping[str, str]) -> MeetingPoint:
    """Where to connect, as join() says."""
    if config is not None:
        return _from_path(Path(config), environment)
    if PIPE_VARIABLE in environment:
        return _from_environment(environment)
    if FILE_VARIABLE in environment:
        return _from_path(Path(environment[FILE_VARIABLE]), environment)
    if environment.get(KIT_VARIABLE):
        try:
            return _from_kit(Path(environment[KIT_VARIABLE]), environment)
        except JoinError as error:
            # It says the same in more words: one traceback is enough.
            raise JoinError(f"{KIT_VARIABLE}: {error}") from None
    raise JoinError(
        "this process was not started by a client job, and nothing says which job it is to join: "
        f"none of {PIPE_VARIABLE}, {FILE_VARIABLE} and {KIT_VARIABLE} is set. One of these helps:\n"
        "- let a site start it: name its command in the site's file, and run a job with it\n"
        '- start it yourself, for a trainer with start = "external" in the site\'s file: the '
        f"client job writes a {JOIN_FILE} into its folder, <the site's folder>/jobs/<job>; set "
        f"{FILE_VARIABLE} to that file or folder, or pass it to join(config=...) or "
        "init(config_file=...)\n"
        '- start it on another machine than the site\'s, for a trainer with pipe = "cell": set '
        f"{KIT_VARIABLE} to the folder of an agent's startup kit, or pass that (federant provision "
        "add-agent makes one)\n"
        "- try it without a federation: federant trainer check -- python your_script.py"
    )


def _from_environment(environment: Mapping[str, str]) -> MeetingPoint:
    point = MeetingPoint(
        pipe=Path(environment[PIPE_VARIABLE]),
        token=environment.get(TOKEN_VARIABLE, ""),
        site=environment.get(SITE_VARIABLE, ""),
        job=environment.get(JOB_VARIABLE, ""),
        heartbeat_timeout=_heartbeat_timeout(environment),
        spool_bytes=_spool_bytes(environment),
        kind=_kind(KIND_VARIABLE, environment.get(KIND_VARIABLE)),
    )
    # A site may start a trainer that runs elsewhere, by srun say.
    kit = environment.get(KIT_VARIABLE)
    if point.kind is PipeKind.CELL and kit:
        return replace(point, kit=read_agent_kit(Path(kit)))
    return point


def _heartbeat_timeout(environment: Mapping[str, str]) -> float | None:
    timeout = environment.get(HEARTBEAT_VARIABLE)
    try:
        return float(timeout) if timeout else None
    except ValueError as error:
        raise JoinError(
            f"{HEARTBEAT_VARIABLE} must be a number of seconds, got {timeout!r}"
        ) from error


def _spool_bytes(environment: Mapping[str, str]) -> int | None:
    size = environment.get(SPOOL_VARIABLE)
    if size and not (size.isdecimal() and int(size)):
        raise JoinError(f"{SPOOL_VARIABLE} must be a number of bytes above 0, got {size!r}")
    return int(size) if size else None


def _from_kit(folder: Path, environment: Mapping[str, str]) -> MeetingPoint:
    kit = read_agent_kit(folder)
    timeout = _heartbeat_timeout(environment)
    return MeetingPoint(
        pipe=None,
        site=kit.site,
        job=kit.job,
        # Nobody knows yet when there will be a job for it.
        heartbeat_timeout=0.0 if timeout is None else timeout,
        spool_bytes=_spool_bytes(environment),
        kind=PipeKind.CELL,
        kit=kit,
    )


def _from_path(path: Path, environment: Mapping[str, str]) -> MeetingPoint:
    """From a file, from a folder that holds it, or from a startup kit."""
    try:
        is_kit = path.name == KIT_FILE
        if path.is_dir():
            is_kit = not (path / JOIN_FILE).exists() and (path / KIT_FILE).exists()
            path /= KIT_FILE if is_kit else JOIN_FILE
    except OSError as error:
        raise JoinError(
            f"cannot read where to connect from {path}: {error.strerror}; may the account under "
            "which this runs read it?"
        ) from error
    return _from_kit(path.parent, environment) if is_kit else _from_file(path)


def _from_file(path: Path) -> MeetingPoint:
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError as error:
        raise JoinError(
            f"cannot read where to connect from {path}: there is no such file. The client job "
            "writes it when the job begins at the site, and removes it when the job is over: is "
            "the job running, and the path right? Of a startup kit, name the folder with "
            f"{KIT_FILE} in it"
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
