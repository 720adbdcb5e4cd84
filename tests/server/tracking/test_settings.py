"""What the operator of a server may say of its sinks, and what is said of what makes no sense."""

from pathlib import Path

import pytest

from federant.server.config import ServerConfigError
from federant.server.tracking import load_settings


@pytest.fixture
def write(tmp_path: Path):
    def make(text: str) -> Path:
        file = tmp_path / "server.toml"
        file.write_text(text)
        return file

    return make


def test_without_a_file_what_stays_with_the_server_is_fed_and_nothing_else(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings.tensorboard.folder == tmp_path / "tensorboard"
    assert settings.prometheus is not None
    assert (settings.mlflow, settings.wandb) == (None, None)


def test_each_sink_is_set_up_by_its_table(tmp_path: Path, write) -> None:
    file = write(
        '[sinks.tensorboard]\nfolder = "runs"\n'
        '[sinks.mlflow]\ntracking_uri = "http://127.0.0.1:5000"\n'
        '[sinks.wandb]\nproject = "p"\nentity = "e"\nmode = "online"\n'
        "[sinks.prometheus]\n"
    )
    settings = load_settings(tmp_path / "server", file)
    assert settings.tensorboard.folder == tmp_path / "runs"  # beside the file
    assert settings.mlflow is not None
    assert settings.mlflow.tracking_uri == "http://127.0.0.1:5000"
    assert settings.mlflow.experiment == "federant"
    assert settings.wandb is not None
    assert (settings.wandb.project, settings.wandb.entity) == ("p", "e")
    assert (settings.wandb.mode, settings.wandb.folder) == ("online", tmp_path / "server" / "wandb")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sinks.mlflow]\n", r"\[sinks.mlflow\]: tracking_uri, the tracking server's address, is"),
        ("[sinks.syslog]\n", "there is no sink 'syslog'; there are tensorboard, mlflow"),
        ("[sinks.wandb]\nmode = 'loud'\n", "mode must be one of offline, online, got 'loud'"),
        ("[sinks.wandb]\nkey = 'x'\n", "unknown key 'key'; the keys are entity, folder, mode"),
        ("[sinks.prometheus]\nport = '1'\n", "unknown key 'port'; the keys are none"),
        ("[sinks.wandb]\nproject = 1\n", "project must be a string, got 1"),
        (
            "ports = 1\n",
            r"ports: unknown key; the file may have folder, host, port, drain_seconds",
        ),
        ("sinks = 1\n", "sinks must be tables"),
        ("[sinks\n", "cannot read the server's file"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(
    tmp_path: Path, write, text: str, message: str
) -> None:
    with pytest.raises(ServerConfigError, match=message):
        load_settings(tmp_path, write(text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerConfigError, match=r"cannot read the server's file .*none\.toml"):
        load_settings(tmp_path, tmp_path / "none.toml")
