"""What the server's operator says of its sinks, from a TOML file; a job only names them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from federant.link.messages import SinkName
from federant.server.config import ServerConfigError, load_config

_WANDB_MODES: Final = ("offline", "online")


class SinkSettingsError(ServerConfigError):
    """What the file says of a sink makes no sense; the text names the place."""


@dataclass(frozen=True, slots=True)
class TensorBoardSettings:
    folder: Path
    """Where event files go: a folder a job, in it one a site."""


@dataclass(frozen=True, slots=True)
class MLflowSettings:
    tracking_uri: str
    """The address of the tracking server."""
    experiment: str = "federant"
    """Made if it is not there; each site's part in a job becomes a run of it."""


@dataclass(frozen=True, slots=True)
class WandbSettings:
    folder: Path
    project: str = "federant"
    entity: str = ""
    mode: str = "offline"
    """``offline`` writes into the folder, for ``wandb sync``; ``online`` sends as well."""


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """Nothing to be said: whoever scrapes asks the server."""


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """Of each sink how it is set up; None for one that this server does not feed.

    Event files and the page for Prometheus stay with the server, so they need no saying; what goes
    to other services must be said.
    """

    tensorboard: TensorBoardSettings
    prometheus: PrometheusSettings = field(default_factory=PrometheusSettings)
    mlflow: MLflowSettings | None = None
    wandb: WandbSettings | None = None


_KINDS: Final = {
    SinkName.TENSORBOARD: TensorBoardSettings,
    SinkName.MLFLOW: MLflowSettings,
    SinkName.WANDB: WandbSettings,
    SinkName.PROMETHEUS: PrometheusSettings,
}
_FOLDERS: Final = frozenset({SinkName.TENSORBOARD, SinkName.WANDB})


def load_settings(folder: Path, file: Path | None = None) -> SinkSettings:
    """The settings of the server in ``folder``, from the tables [sinks.NAME] of a TOML file.

    A folder that the file names is taken from the file's own if it is relative; one that it does
    not name lies in ``folder``. ServerConfigError for what cannot be.
    """
    found: dict[str, Any] = {"tensorboard": TensorBoardSettings(folder / "tensorboard")}
    for name, table in _tables(file).items():
        found[name] = _settings(SinkName(name), table, folder, file or folder)
    return SinkSettings(**found)


def _tables(file: Path | None) -> dict[str, dict[str, Any]]:
    if file is None:
        return {}
    tables = load_config(file).sinks
    names = [name.value for name in SinkName]
    for name in tables:
        if name not in names:
            raise SinkSettingsError(
                f"{file}: there is no sink {name!r}; there are {', '.join(names)}"
            )
    return tables


def _settings(name: SinkName, table: dict[str, Any], folder: Path, file: Path) -> Any:
    kind = _KINDS[name]
    known = {each.name for each in fields(kind)}
    where = f"{file}: [sinks.{name}]"
    for key, value in table.items():
        if key not in known:
            keys = ", ".join(sorted(known)) or "none"
            raise SinkSettingsError(f"{where}: unknown key {key!r}; the keys are {keys}")
        if not isinstance(value, str):
            raise SinkSettingsError(f"{where}: {key} must be a string, got {value!r}")
    values: dict[str, Any] = dict(table)
    if name in _FOLDERS:
        values["folder"] = file.parent / table["folder"] if "folder" in table else folder / name
    if name is SinkName.MLFLOW and not table.get("tracking_uri"):
        raise SinkSettingsError(f"{where}: tracking_uri, the tracking server's address, is missing")
    if table.get("mode", "offline") not in _WANDB_MODES:
        raise SinkSettingsError(
            f"{where}: mode must be one of {', '.join(_WANDB_MODES)}, got {table['mode']!r}"
        )
    return kind(**values)
