"""The site's own file: who it is, where its server is, and which commands a job may name.

A job can only name a trainer; what is then run, where and how, is decided here and nowhere else.
"""

from __future__ import annotations

import difflib
import re
import sys
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from federant.link import LinkConfigError, checked_url, is_loopback, is_name
from federant.link.http import require_match
from federant.link.identity import Role
from federant.link.kit import KIT_FILE, Kit, load_kit, require_unchanged
from federant.link.messages import NAME_RULE, Name
from federant.pipe import PipeKind
from federant.pipe.cell.address import relay_url
from federant.site.errors import SiteConfigError

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_PLACEHOLDERS = ("python", "folder", "site", "job")

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Start(StrEnum):
    """When a trainer is started."""

    JOB = "job"
    """When the job begins; it stays for all tasks. Started again if it went away cleanly."""
    TASK = "task"
    """For each task anew; it is told to end once its result is accepted."""
    EXTERNAL = "external"
    """Never by federant: somebody else starts it, with the job's join file."""


class Restart(StrEnum):
    """What happens to the task in hand when the trainer dies."""

    NEVER = "never"
    """The server is told at once why it died."""
    ON_FAILURE = "on-failure"
    """It is started again and gets the task again, as the next attempt."""


class RelayAt(StrEnum):
    """Where a trainer's agent on another machine meets its client job."""

    SITE = "site"
    """In this site's daemon: it stays in the owner's network."""
    SERVER = "server"
    """In the federation's server, sealed from end to end: for two who can only dial outward."""


class TrainerConfig(BaseModel):
    """One trainer that jobs may name: its command and how it is looked after."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = ()
    """Program and arguments; `{python}`, `{folder}`, `{site}`, `{job}` are filled in."""
    cwd: Path | None = None
    """Where it runs; relative to the site's file. Default: the folder of the site's file."""
    env: dict[str, str] = Field(default_factory=dict)
    """Added to the environment that the site itself has."""
    pipe: PipeKind = PipeKind.LOCAL
    """What connects the trainer with its client job."""
    pipe_folder: Path | None = None
    """For a pipe that needs one: a folder that both can write to; `{site}` and `{job}` are filled
    in, relative to the site's file."""
    pipe_timeout_seconds: PositiveSeconds = 120.0
    """For a pipe to another host: the silence after which a trainer there counts as dead."""
    agent_id: str | None = None
    """For pipe = "cell": the agent's id, by which it meets the job's client job at the relay;
    `{site}` and `{job}` are filled in."""
    relay: RelayAt = RelayAt.SITE
    """For pipe = "cell": whose relay that is."""
    start: Start = Start.JOB
    restart: Restart = Restart.NEVER
    max_restarts: int = Field(default=3, ge=0)
    """How often in one job a trainer that died is started again."""
    grace_seconds: Seconds = 5.0
    """Between SIGTERM and SIGKILL."""
    read_timeout_seconds: PositiveSeconds | None = None
    """How long a task may wait for a trainer that reads it; default 60, for `external` no limit."""
    task_timeout_seconds: PositiveSeconds | None = None
    """How long a trainer may take for one task; default: as long as the job allows."""
    heartbeat_interval_seconds: PositiveSeconds = 5.0
    heartbeat_timeout_seconds: Seconds = 30.0
    """How long the trainer's agent waits for a lost client job; 0 = for ever."""
    stalled_seconds: PositiveSeconds = 60.0
    """After so long a silence a living trainer is shown as stalled."""
    stall_limit_seconds: PositiveSeconds | None = None
    """After so long a silence a living trainer is ended; default: never."""
    log_bytes: int = Field(default=10_000_000, ge=4096)
    """The size at which the trainer's log file is rotated."""
    log_files: int = Field(default=3, ge=1)
    """How many rotated log files are kept beside the current one."""
    told_log_lines: int = Field(default=20, ge=0, le=200)
    """How many of its log's last lines the server is told when it dies; 0: none.

    The traceback of an exception, which the agent itself reports, is told all the same.
    """

    @field_validator("command", mode="before")
    @classmethod
    def _is_a_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise PydanticCustomError(
                "shell_string",
                "is one string, but no shell is ever used; write a list of arguments, "
                'like ["{python}", "train.py", "--epochs", "2"]',
            )
        return value

    @field_validator("command")
    @classmethod
    def _knows_its_placeholders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for argument in value:
            for name in _PLACEHOLDER.findall(argument):
                if name not in _PLACEHOLDERS:
                    known = ", ".join(f"{{{known}}}" for known in _PLACEHOLDERS)
                    raise ValueError(f"has the unknown placeholder {{{name}}}; known are {known}")
        return value

    @field_validator("pipe_folder")
    @classmethod
    def _knows_its_folders_placeholders(cls, value: Path | None) -> Path | None:
        cls._knows_its_placeholders((str(value),))
        return value

    @field_validator("agent_id")
    @classmethod
    def _can_be_an_id(cls, value: str | None) -> str | None:
        filled = value and _PLACEHOLDER.sub(
            lambda found: "x" if found[1] in ("site", "job") else found[0], value
        )
        if filled is not None and not is_name(filled):
            raise ValueError(f"is {value!r}, but must be {NAME_RULE}, {{site}} or {{job}}")
        return value

    def resolve(self, *, folder: Path, site: str, job: str) -> TrainerConfig:
        """The same with placeholders filled in and `cwd` made absolute."""
        values = {"python": sys.executable, "folder": str(folder), "site": site, "job": job}
        command = tuple(
            _PLACEHOLDER.sub(lambda found: values[found[1]], argument) for argument in self.command
        )
        update: dict[str, Any] = {
            "command": command,
            "cwd": (folder / (self.cwd or ".")).resolve(),
        }
        if self.pipe_folder is not None:
            filled = _PLACEHOLDER.sub(lambda found: values[found[1]], str(self.pipe_folder))
            update["pipe_folder"] = folder / filled
        if self.agent_id is not None:
            update["agent_id"] = _PLACEHOLDER.sub(lambda found: values[found[1]], self.agent_id)
        return self.model_copy(update=update)

    def reading_limit(self) -> float | None:
        """Seconds that a task may wait until a trainer reads it; None = no limit of its own."""
        if self.read_timeout_seconds is None and self.start is not Start.EXTERNAL:
            return 60.0
        return self.read_timeout_seconds


class RelayConfig(BaseModel):
    """Where the site listens for agents on other machines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    """The address of this machine to listen on; 0.0.0.0 = all. Without a kit: loopback only."""
    port: int = Field(ge=1, le=65535)

    def url(self, *, secure: bool) -> str:
        """Where the site's own client jobs reach it."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 - compared
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if secure else 'http'}://{host}:{self.port}"


class SiteConfig(BaseModel):
    """A site: its name, its server, its work folder, its trainers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    server: str = Field(pattern=r"^https?://\S+$")
    kit: Path | None = None
    """The folder of the site's startup kit, relative to the site's file: its certificate and key.
    It also gives ``name`` and ``server`` where the file does not. Without one there is no TLS."""
    folder: Path
    """Where jobs, logs and spools lie; relative to the site's file."""
    spool_bytes: int = Field(default=8 << 30, ge=1 << 20)
    """The most that the messages of one trainer may take in the spool, in each direction."""
    max_client_job_restarts: int = Field(default=5, ge=0)
    """How often in a row a client job that dies is started again."""
    keep_ended_jobs: int = Field(default=20, ge=0)
    """Of how many jobs that have ended the folders (logs) are kept; older ones are removed."""
    relay: RelayConfig | None = None
    """For trainers with pipe = "cell"."""
    trainers: dict[Name, TrainerConfig] = Field(default_factory=dict)
    base: Path = Path()
    """The folder of the site's file, from which its relative paths are read."""

    @field_validator("trainers")
    @classmethod
    def _have_commands(cls, value: dict[str, TrainerConfig]) -> dict[str, TrainerConfig]:
        for name, trainer in value.items():
            if trainer.start is not Start.EXTERNAL and not trainer.command:
                raise ValueError(
                    f'trainer {name!r} has no command; give one, or set start = "external" '
                    "if somebody else starts it"
                )
            if trainer.start is Start.EXTERNAL and trainer.command:
                raise ValueError(
                    f'trainer {name!r} has a command and start = "external"; '
                    "an external trainer is started by its owner: take one of the two away"
                )
            has_folder = trainer.pipe not in (PipeKind.LOCAL, PipeKind.CELL)
            if has_folder and trainer.pipe_folder is None:
                raise ValueError(
                    f'trainer {name!r} has pipe = "{trainer.pipe}" and no pipe_folder; name a '
                    "folder that the trainer and this site can both write to"
                )
            if (trainer.pipe is PipeKind.CELL) is not (trainer.agent_id is not None):
                raise ValueError(
                    f'trainer {name!r}: agent_id and pipe = "cell" belong together: give both, '
                    "or take the one away"
                )
            if trainer.relay is RelayAt.SERVER and trainer.pipe is not PipeKind.CELL:
                raise ValueError(
                    f'trainer {name!r} has relay = "server", which pipe = "{trainer.pipe}" does '
                    'not use; set pipe = "cell", or take relay away'
                )
            if not has_folder and trainer.pipe_folder is not None:
                raise ValueError(
                    f'trainer {name!r} has a pipe_folder, which pipe = "{trainer.pipe}" does not '
                    "use; "
                    'set pipe = "file", or take pipe_folder away'
                )
        return value


def load_config(path: Path, kit_folder: Path | None = None) -> SiteConfig:
    """Read a site's file, and its startup kit: the one given, or else the one that the file names.

    Raises SiteConfigError naming the file, each wrong key, and what to do.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if kit_folder is not None:
            # Another's kit, or no kit at all, has no such file.
            _site_kit(path, kit_folder)
        raise SiteConfigError(f"{path}: there is no such file; give the site's TOML file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SiteConfigError(f"{path}: cannot be read as TOML: {error}") from error
    try:
        require_unchanged(path)
    except LinkConfigError as error:
        raise SiteConfigError(str(error)) from error
    if "base" in raw:
        raise SiteConfigError(f"{path}: base: is not a key of the site's file; remove it")
    base = path.resolve().parent
    named = raw.get("kit")
    if kit_folder is None and isinstance(named, str):
        kit_folder = base / named
    kit = _site_kit(path, kit_folder) if kit_folder else None
    known = {} if kit is None else {"name": kit.identity.name, "server": kit.server}
    try:
        config = SiteConfig.model_validate({**known, **raw, "base": base})
    except ValidationError as error:
        if kit is None and not {"name", "server"} & set(raw) and (base / KIT_FILE).is_file():
            raise SiteConfigError(
                f"{path}: it says neither name nor server, as its startup kit does that; name "
                f"the kit too: --kit {path.parent}"
            ) from None
        raise SiteConfigError(_explain(path, error)) from error
    if kit is not None and config.name != kit.identity.name:
        raise SiteConfigError(
            f"{path}: name: is {config.name!r}, and the kit in {kit.folder} is for "
            f"{kit.identity.title} only; take the name away, or use the other site's kit"
        )
    try:
        require_match(checked_url(config.server), kit)
    except LinkConfigError as error:
        raise SiteConfigError(f"{path}: server: {error}") from error
    _check_relay(path, config, kit)
    folder = (base / config.folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise SiteConfigError(f"{path}: folder: {folder} is no folder; name another, or remove it")
    return config.model_copy(update={"folder": folder, "kit": kit and kit.folder})


def _check_relay(path: Path, config: SiteConfig, kit: Kit | None) -> None:
    for name, trainer in config.trainers.items():
        if trainer.relay is RelayAt.SERVER:
            try:
                relay_url(config.server, secure=kit is not None)
            except ValueError as error:
                raise SiteConfigError(
                    f'{path}: trainers.{name}: relay = "server": {error}'
                ) from error
    if config.relay is None:
        for name, trainer in config.trainers.items():
            if trainer.pipe is PipeKind.CELL and trainer.relay is RelayAt.SITE:
                raise SiteConfigError(
                    f'{path}: trainers.{name}: pipe = "cell" needs a relay; add [relay] with the '
                    "port at which agents on other machines reach this site, or set relay = "
                    '"server" if the federation\'s server has one'
                )
    elif kit is None and not is_loopback(config.relay.host):
        raise SiteConfigError(
            f"{path}: relay.host: {config.relay.host!r} can be reached from other machines, and "
            "without TLS everything on the way would be shown; give the site its kit, or listen "
            "on 127.0.0.1"
        )


def _site_kit(path: Path, folder: Path) -> Kit:
    try:
        kit = load_kit(folder.resolve())
    except LinkConfigError as error:
        raise SiteConfigError(f"{path}: kit: {error}") from error
    if kit.identity.role is not Role.SITE:
        raise SiteConfigError(
            f"{path}: kit: {kit.folder} is the kit of {kit.identity.title}; a site needs a site's"
        )
    return kit


def _nearest(place: tuple[int | str, ...]) -> str:
    """The key that was probably meant by an unknown one, as a question."""
    of_trainer = len(place) > 1 and place[0] == "trainers"
    keys = set((TrainerConfig if of_trainer else SiteConfig).model_fields) - {"base"}
    found = difflib.get_close_matches(str(place[-1]), keys, n=1)
    return f"; did you mean {found[0]}?" if found else "; correct its name or remove it"


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in problem["loc"]) or "file"
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            text = "is not a key that the site's file has" + _nearest(problem["loc"])
        elif problem["type"] == "missing":
            text = "is missing; add it"
        elif problem["type"] == "string_pattern_mismatch":
            wanted = "an address like http://127.0.0.1:8750" if key == "server" else NAME_RULE
            text = f"is {problem['input']!r}, but must be {wanted}"
        lines.append(f"{path}: {key}: {text}")
    return "\n".join(lines)
