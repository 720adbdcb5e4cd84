"""The server's own file: where the server listens and keeps what it has.

What the file says of sinks is read by `tracking`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from federant.link.errors import LinkConfigError
from federant.link.kit import require_unchanged

from .limits import Limits

DRAIN_SECONDS: Final = 10.0


class ServerConfigError(ValueError):
    """The file cannot be read, or says what makes no sense; the text names the place."""


class RelaySettings(BaseModel):
    """The table switches the relay on; it is at the server's own port."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    most_cells: Annotated[int, Field(ge=2)] = 1000
    """Connections of cells at a time; each may hold 3 MiB. Of a job's trainer there are four."""


class ServerConfig(BaseModel):
    """What the file may say; the command line has the last word."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    folder: Annotated[Path | None, Field(strict=False)] = None
    """Where jobs, results and models are kept; relative to the file."""
    host: str | None = None
    port: Annotated[int | None, Field(ge=0, le=65535)] = None
    drain_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = DRAIN_SECONDS
    """How long transfers under way may take once the server is asked to stop."""
    relay: RelaySettings | None = None
    limits: Limits = Limits()
    sinks: dict[str, dict[str, Any]] = Field(default_factory=dict)


def load_config(file: Path) -> ServerConfig:
    """Read the file; ServerConfigError names each key that makes no sense."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ServerConfigError(f"cannot read the server's file {file}: {error}") from error
    try:
        require_unchanged(file)
        config = ServerConfig.model_validate(content)
    except LinkConfigError as error:
        raise ServerConfigError(str(error)) from error
    except ValidationError as error:
        problems = "\n".join(
            f"{file}: {'.'.join(map(str, problem['loc']))}: {_text(problem)}"
            for problem in error.errors(include_url=False)
        )
        raise ServerConfigError(problems) from error
    if config.folder is None:
        return config
    return config.model_copy(update={"folder": file.parent / config.folder})


def _text(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return (
            "unknown key; the file may have folder, host, port, drain_seconds, and the tables "
            f"[relay] (with most_cells), [limits] (with {', '.join(Limits.model_fields)}) and "
            "[sinks.*]"
        )
    if problem["loc"][0] == "sinks":
        return f"{problem['msg']}; sinks must be tables, such as [sinks.tensorboard]"
    return str(problem["msg"])
