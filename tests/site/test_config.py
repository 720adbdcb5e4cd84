"""The site's file: what it may say, and what a person reads when it says something wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from federant.pipe import PipeKind
from federant.provision import FederationKits
from federant.site.config import Restart, Start, load_config
from federant.site.errors import SiteConfigError

GOOD = """
name = "site-1"
server = "http://127.0.0.1:8750"
folder = "work"

[trainers.digits]
command = ["{python}", "train.py", "--site", "{site}", "--run={job}", '{"a": 1}']
cwd = "code"
env = { OMP_NUM_THREADS = "1" }
start = "task"
restart = "on-failure"

[trainers.notebook]
start = "external"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(GOOD)
    return path


def problem(file: Path, old: str, new: str) -> str:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(SiteConfigError) as caught:
        load_config(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_a_good_file_is_read_with_paths_relative_to_it(file: Path):
    config = load_config(file)
    assert config.name == "site-1"
    assert config.folder == file.parent / "work"
    digits = config.trainers["digits"]
    assert (digits.start, digits.restart) == (Start.TASK, Restart.ON_FAILURE)
    assert digits.reading_limit() == 60.0
    assert config.trainers["notebook"].reading_limit() is None


def test_placeholders_are_filled_in_and_json_is_left_alone(file: Path):
    config = load_config(file)
    trainer = config.trainers["digits"].resolve(folder=config.base, site="site-1", job="job-7")
    assert trainer.command == (
        *(sys.executable, "train.py", "--site", "site-1"),
        *("--run=job-7", '{"a": 1}'),
    )
    assert trainer.cwd == file.parent / "code"


def test_a_shell_string_is_refused_with_the_list_to_write(file: Path):
    text = problem(
        file,
        """["{python}", "train.py", "--site", "{site}", "--run={job}", '{"a": 1}']""",
        '"python train.py"',
    )
    assert "trainers.digits.command: is one string, but no shell is ever used" in text
    assert '["{python}", "train.py"' in text


def test_an_unknown_placeholder_is_refused_with_the_known_ones(file: Path):
    text = problem(file, "{site}", "{home}")
    assert "unknown placeholder {home}; known are {python}, {folder}, {site}, {job}" in text


def test_a_mistyped_key_is_named(file: Path):
    assert "trainers.digits.cmd: is not a key" in problem(file, "cwd =", "cmd =")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("command =", "comand =", "trainers.digits.comand: is not a key .*; did you mean command?"),
        ("folder =", "foldr =", "foldr: is not a key .*; did you mean folder?"),
        ("[trainers.digits]", "[trainer.digits]", "trainer: is not a key .*did you mean trainers?"),
        ("cwd =", "colour =", "colour: is not a key .*; correct its name or remove it"),
    ],
)
def test_a_mistyped_key_is_told_with_the_one_that_was_meant(
    file: Path, old: str, new: str, said: str
):
    assert re.search(said, problem(file, old, new))


def test_a_missing_key_is_named(file: Path):
    assert "server: is missing; add it" in problem(file, 'server = "http://127.0.0.1:8750"', "")


def test_every_wrong_key_is_told_at_once(file: Path):
    text = problem(file, 'name = "site-1"', 'name = "site 1"\nspool_bytes = 1')
    assert "name: is 'site 1', but must be a letter or digit, then up to 63 letters" in text
    assert "spool_bytes: " in text


def test_a_bad_server_address_is_told_with_an_example(file: Path):
    text = problem(file, "http://127.0.0.1:8750", "127.0.0.1:8750")
    assert "server: is '127.0.0.1:8750', but must be an address like http://" in text


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://192.0.2.1:8750", "is on another machine"),
        (
            "https://127.0.0.1:8750",
            "is spoken to by TLS, for which this side needs its startup kit",
        ),
    ],
)
def test_a_server_that_cannot_be_used_is_told_with_file_and_key(file: Path, url: str, said: str):
    text = problem(file, "http://127.0.0.1:8750", url)
    assert text.startswith(f"{file}: server: '{url}'")
    assert said in text


def test_a_work_folder_that_is_a_file_is_told_with_file_and_key(file: Path):
    (file.parent / "work").touch()
    text = problem(file, '"work"', '"work" # a file')
    assert f"folder: {file.parent / 'work'} is no folder; name another" in text


def test_a_trainer_without_a_command_must_be_external(file: Path):
    text = problem(file, '"external"', '"job"')
    assert "trainer 'notebook' has no command" in text


def test_an_external_trainer_must_not_have_a_command(file: Path):
    text = problem(file, 'start = "task"', 'start = "external"')
    assert 'has a command and start = "external"' in text


def test_a_shared_folder_is_read_from_the_file_and_filled_in(file: Path):
    shared = 'start = "external"\npipe = "file"\npipe_folder = "{site}/{job}"'
    file.write_text(file.read_text().replace('start = "external"', shared))
    trainer = load_config(file).trainers["notebook"]
    assert trainer.pipe is PipeKind.FILE
    resolved = trainer.resolve(folder=file.parent, site="site-1", job="j7")
    assert resolved.pipe_folder == file.parent / "site-1" / "j7"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('pipe = "file"', 'has pipe = "file" and no pipe_folder; name a folder'),
        ('pipe_folder = "x"', 'has a pipe_folder, which pipe = "local" does not use'),
        ('pipe = "file"\npipe_folder = "{jobs}"', "has the unknown placeholder {jobs}"),
        ('pipe = "socket"', "Input should be 'local'"),
    ],
)
def test_a_pipe_without_its_folder_is_told_what_to_do(file: Path, keys: str, said: str):
    assert said in problem(file, 'start = "external"', f'start = "external"\n{keys}')


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(SiteConfigError, match=r"gone\.toml: there is no such file"):
        load_config(tmp_path / "gone.toml")


def test_the_kit_of_another_is_told_before_the_file_that_it_lacks(
    tmp_path: Path, site_kits: FederationKits
):
    alice = site_kits.operators["alice"].folder
    with pytest.raises(SiteConfigError, match=r"is the kit of operator alice; a site needs a site"):
        load_config(alice / "site.toml", alice)
    with pytest.raises(SiteConfigError, match=r"holds no startup kit \(kit\.toml\)"):
        load_config(tmp_path / "site.toml", tmp_path)
    with pytest.raises(SiteConfigError, match=r"holds no startup kit \(kit\.toml\)"):
        load_config(alice / "kit.toml" / "site.toml", alice / "kit.toml")


def test_a_file_in_a_kit_is_read_with_that_kit_only(site_kits: FederationKits):
    folder = site_kits.sites["site-1"].folder
    with pytest.raises(SiteConfigError, match=f"name the kit too: --kit {re.escape(str(folder))}"):
        load_config(folder / "site.toml")


def test_a_file_that_is_no_toml_is_named(file: Path):
    assert "cannot be read as TOML" in problem(file, "server =", "server")


def test_a_file_that_everybody_may_change_is_refused(file: Path):
    file.chmod(0o666)
    with pytest.raises(SiteConfigError, match=r"can be changed by others .* chmod o-w"):
        load_config(file)
