"""The server's own file: what it may say, and what is refused by name."""

from pathlib import Path

import pytest

from federant.server.config import ServerConfig, ServerConfigError, load_config
from federant.server.limits import Limits


def written(folder: Path, text: str) -> Path:
    file = folder / "server.toml"
    file.write_text(text)
    return file


def test_a_file_that_says_nothing_is_fine(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "")) == ServerConfig()


def test_the_folder_is_taken_from_the_files_own(tmp_path: Path) -> None:
    file = written(tmp_path, 'folder = "work"\nhost = "0.0.0.0"\nport = 443\n')
    config = load_config(file)
    assert (config.folder, config.host, config.port) == (tmp_path / "work", "0.0.0.0", 443)


def test_limits_are_a_table_of_the_file(tmp_path: Path) -> None:
    text = (
        "[limits]\nkeep_free_bytes = 1\nsite_bytes = 2\nconnections = 3\nevents = 4\nmodels = 5\n"
    )
    assert load_config(written(tmp_path, text)).limits == Limits(
        keep_free_bytes=1, site_bytes=2, connections=3, events=4, models=5
    )
    assert Limits().models is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('port = "443"', "port: Input should be a valid integer"),
        ("port = 70000", "port: Input should be less than or equal to 65535"),
        ("host = 1", "host: Input should be a valid string"),
        ("hosts = 1", "hosts: unknown key; the file may have folder, host, port"),
        ("folder = 1", "folder: "),
        ("sinks = 1", "sinks must be tables"),
        ("[limits]\nsite_bytes = 0", r"limits\.site_bytes: Input should be greater than"),
        ("[limits]\nmodels = 0", r"limits\.models: Input should be greater than"),
        ("[limits]\nevents = 0", r"limits\.events: Input should be greater than"),
        ("[limits]\nbytes = 1", r"limits\.bytes: unknown key; .* \[limits\]"),
        ("[[", "cannot read the server's file"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ServerConfigError, match=problem):
        load_config(written(tmp_path, text))


def test_a_file_that_everybody_may_change_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "port = 443")
    file.chmod(0o666)
    with pytest.raises(ServerConfigError, match=r"can be changed by others .* chmod o-w"):
        load_config(file)
