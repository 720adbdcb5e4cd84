"""What is said of the machine, and of the files that name what runs on it."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

import federant
from federant.doctor import DoctorError, Finding, Level, Subject, examine, subject_of
from federant.doctor.machine import look_at_disk, look_at_machine
from federant.doctor.trainers import look_at_trainers
from federant.link.identity import Role
from federant.site import load_config

HEAD = 'name = "site-1"\nserver = "http://127.0.0.1:8750"\nfolder = "work"\n'


def site_file(folder: Path, trainer: str) -> Path:
    file = folder / "site.toml"
    file.write_text(HEAD + trainer)
    return file


def trainer_found(folder: Path, trainer: str) -> Finding:
    (found,) = look_at_trainers(load_config(site_file(folder, trainer)))
    return found


def test_a_folder_that_is_not_there_is_looked_at_where_it_would_be_made(tmp_path: Path) -> None:
    found = list(look_at_disk(tmp_path / "a" / "b"))
    assert f"for {tmp_path}, in which {tmp_path / 'a' / 'b'} is made" in found[0].found
    assert found[-1].found.startswith(f"{tmp_path} can be written to, and is on the disk after ")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = look_at_disk(tmp_path / "file")
    assert (found.level, found.found) == (Level.PROBLEM, f"{tmp_path / 'file'} is no folder")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
def test_a_folder_that_cannot_be_written_to_is_a_problem() -> None:
    *_, found = look_at_disk(Path("/proc"))
    assert found.level is Level.PROBLEM
    assert found.found.startswith("/proc cannot be written to: ")


def test_too_little_room_for_the_spool_is_a_warning(tmp_path: Path) -> None:
    found = next(iter(look_at_disk(tmp_path, 1 << 60)))
    assert found.level in (Level.WARNING, Level.PROBLEM)
    assert "make room" in found.advice


def test_versions_memory_and_limits_are_told() -> None:
    found = {each.check: each.found for each in look_at_machine(Subject())}
    assert list(found) == ["memory", "versions", "open files"]
    assert found["versions"] == (
        f"federant {federant.__version__}, Python {platform.python_version()}, "
        f"numpy {np.__version__}"
    )


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ('command = ["no-such-program"]', "its program no-such-program is not there"),
        ('command = ["./here.sh"]', "its program ./here.sh is not there"),
        ('command = ["{python}", "gone.py"]', "gone.py is not there"),
        ('command = ["{python}", "there.py"]\ncwd = "gone"', "gone is not there"),
    ],
)
def test_a_trainer_that_cannot_be_started_is_a_problem(
    tmp_path: Path, trainer: str, said: str
) -> None:
    (tmp_path / "there.py").touch()
    found = trainer_found(tmp_path, f"[trainers.t]\n{trainer}\n")
    assert (found.check, found.level) == ("trainer t", Level.PROBLEM)
    assert said in found.found
    assert found.advice


@pytest.mark.parametrize(
    "trainer",
    [
        'command = ["{python}", "there.py", "--data", "data.py"]',
        'command = ["{python}", "-m", "my.py"]',
        'command = ["./here.sh"]',
        'start = "external"',
    ],
)
def test_a_trainer_that_can_be_started_is_fine(tmp_path: Path, trainer: str) -> None:
    (tmp_path / "there.py").touch()
    (tmp_path / "here.sh").touch(mode=0o755)
    assert trainer_found(tmp_path, f"[trainers.t]\n{trainer}\n").level is Level.OK


def test_a_site_without_trainers_is_a_warning(tmp_path: Path) -> None:
    assert trainer_found(tmp_path, "").level is Level.WARNING


def test_every_mistake_in_a_file_is_a_finding(tmp_path: Path) -> None:
    file = site_file(tmp_path, "nonsense = 1\nspool_bytes = 1\n")
    found = [each.found for each in examine(subject_of(file=file)) if each.check == "file"]
    assert len(found) == 2
    assert any("nonsense: is not a key" in text for text in found)


def test_a_file_of_a_server_is_told_from_one_of_a_site(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('folder = "work"\nport = 9999\n')
    subject = subject_of(file=file)
    assert (subject.role, subject.folder) == (Role.SERVER, tmp_path / "work")
    assert subject.server == "http://127.0.0.1:9999"
    assert subject_of(file=site_file(tmp_path, "")).role is Role.SITE


def test_what_is_not_there_cannot_be_examined(tmp_path: Path) -> None:
    with pytest.raises(DoctorError, match="is not there; name a startup kit"):
        subject_of(kit=tmp_path / "gone")
    with pytest.raises(DoctorError, match="if it is a startup kit, name it by --kit"):
        subject_of(file=tmp_path)
