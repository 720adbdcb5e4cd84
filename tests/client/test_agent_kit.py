"""What a trainer reads of an agent's startup kit, and each thing wrong told with its remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from federant.client.agent_kit import AgentKit
from federant.client.errors import JoinError
from federant.client.join import join
from federant.client.meeting_point import MeetingPoint, meeting_point
from federant.pipe import CellPipe, Mode, PipeKind

RELAY = "https://site-1.example:8760"
AGENT = "spiffe://hospitals/site/site-1/agent/gpu-7"


def kit_in(folder: Path, identity: str = AGENT, relay: str | None = RELAY) -> Path:
    folder.mkdir()
    lines = {"identity": identity, "server": "https://fed.example:8750", "relay": relay}
    text = "".join(f'{key} = "{value}"\n' for key, value in lines.items() if value is not None)
    (folder / "kit.toml").write_text(text)
    return folder


def point_of(kit: AgentKit, timeout: float = 0.0, spool_bytes: int | None = None) -> MeetingPoint:
    return MeetingPoint(
        None,
        site=kit.site,
        job=kit.job,
        heartbeat_timeout=timeout,
        spool_bytes=spool_bytes,
        kind=PipeKind.CELL,
        kit=kit,
    )


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return kit_in(tmp_path / "gpu-7")


def test_an_agent_s_kit_says_where_to_connect(kit: Path) -> None:
    expected = point_of(AgentKit(kit, "site-1", "gpu-7", RELAY))
    assert meeting_point(kit, {"FEDERANT_PIPE": "/elsewhere"}) == expected
    assert meeting_point(str(kit / "kit.toml"), {}) == expected
    assert meeting_point(None, {"FEDERANT_JOIN": str(kit)}) == expected
    assert meeting_point(None, {"FEDERANT_KIT": str(kit)}) == expected


def test_a_trainer_that_a_site_has_started_needs_no_kit(kit: Path, tmp_path: Path) -> None:
    environment = {"FEDERANT_KIT": "/not/read", "FEDERANT_PIPE": "/run/job-7"}
    assert meeting_point(None, environment) == MeetingPoint(Path("/run/job-7"))
    (tmp_path / "join.toml").write_text('pipe = "pipe"\n')
    environment = {"FEDERANT_KIT": "/not/read", "FEDERANT_JOIN": str(tmp_path)}
    assert meeting_point(None, environment) == MeetingPoint(tmp_path / "pipe")


def test_a_trainer_that_a_site_has_started_on_another_machine_uses_its_kit(kit: Path) -> None:
    environment = {
        "FEDERANT_PIPE": "/run/job-7",
        "FEDERANT_PIPE_KIND": "cell",
        "FEDERANT_SITE": "site-1",
        "FEDERANT_JOB": "job-7",
        "FEDERANT_HEARTBEAT_TIMEOUT": "30",
    }
    with pytest.raises(JoinError, match=r"job 'job-7' .*: set FEDERANT_KIT to the kit's folder"):
        meeting_point(None, environment).new_pipe()
    point = meeting_point(None, {**environment, "FEDERANT_KIT": str(kit)})
    assert (point.job, point.heartbeat_timeout) == ("job-7", 30.0)
    assert isinstance(point.new_pipe(), CellPipe)


def test_the_environment_may_say_how_long_and_how_much(kit: Path) -> None:
    environment = {"FEDERANT_HEARTBEAT_TIMEOUT": "600", "FEDERANT_SPOOL_BYTES": "1048576"}
    point = meeting_point(kit, environment)
    assert point == point_of(AgentKit(kit, "site-1", "gpu-7", RELAY), 600.0, 1 << 20)
    pipe = point.new_pipe()
    assert isinstance(pipe, CellPipe)
    assert (pipe.mode, pipe.site_name, pipe.token) == (Mode.ACTIVE, "site-1", "gpu-7")
    assert (pipe.root_url, pipe.secure_mode, pipe.workspace_dir) == (RELAY, True, str(kit))
    assert pipe.spool_bytes == 1 << 20


def test_a_kit_for_one_job_says_which(tmp_path: Path) -> None:
    kit = kit_in(tmp_path / "kit", "spiffe://hospitals/site/site-1/job/job-7/agent/gpu-7")
    point = meeting_point(kit, {})
    assert (point.site, point.job) == ("site-1", "job-7")
    assert str(point.kit) == f"{kit}, the kit of agent gpu-7 of site site-1 for job job-7"


def test_a_kit_without_a_relay_is_told_what_to_add(tmp_path: Path) -> None:
    kit = kit_in(tmp_path / "kit", relay=None)
    with pytest.raises(JoinError) as refusal:
        meeting_point(kit, {})
    told = str(refusal.value)
    assert told.startswith(f"{kit / 'kit.toml'} does not say which relay agent gpu-7 of site")
    assert 'add the line relay = "https://host:port"' in told


@pytest.mark.parametrize(
    ("party", "title"),
    [
        ("server", "server"),
        ("site/site-1", "site site-1"),
        ("operator/alice", "operator alice"),
        ("site/site-1/agent/", "site site-1 agent "),
        ("site/site-1/agent/a.b", "site site-1 agent a.b"),
    ],
)
@pytest.mark.parametrize("named_by", ["argument", "FEDERANT_JOIN", "FEDERANT_KIT"])
def test_a_kit_of_somebody_else_is_refused(
    tmp_path: Path, party: str, title: str, named_by: str
) -> None:
    kit = kit_in(tmp_path / "kit", f"spiffe://hospitals/{party}", relay=None)
    config, environment = (kit, {}) if named_by == "argument" else (None, {named_by: str(kit)})
    with pytest.raises(JoinError) as refusal:
        meeting_point(config, environment)
    told = str(refusal.value)
    assert f"{kit} is the kit of {title}, with which no trainer joins" in told
    assert "federant provision add-agent NAME --site SITE --relay" in told
    assert told.startswith("FEDERANT_KIT: ") is (named_by == "FEDERANT_KIT")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[", "is no startup kit's file"),
        (b"\xff", "is no startup kit's file"),
        ("", "identity is None, which names nobody in a federation"),
        ("identity = 7", "identity is 7, which names nobody"),
        ('identity = "gpu-7"', "identity is 'gpu-7', which names nobody"),
        (f'identity = "{AGENT}"\nrelay = 7', "relay is 7, which is no address of a relay"),
        (f'identity = "{AGENT}"\nrelay = ""', "relay is '', which is no address of a relay"),
        (
            f'identity = "{AGENT}"\nrelay = "http://127.0.0.1:1"',
            "must be https://, with the",
        ),
        (f'identity = "{AGENT}"\nrelay = "https://h:x"', "relay is 'https://h:x', which is no"),
    ],
)
def test_a_kit_s_file_that_is_not_right_is_refused_by_its_name(
    kit: Path, text: str | bytes, told: str
) -> None:
    (kit / "kit.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(JoinError) as refusal:
        meeting_point(kit, {})
    assert str(refusal.value).startswith(str(kit / "kit.toml"))
    assert told in str(refusal.value)


def test_a_folder_that_is_no_kit_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JoinError, match=r"FEDERANT_KIT: .*none holds no startup kit \(kit.toml\)"):
        meeting_point(None, {"FEDERANT_KIT": str(tmp_path / "none")})
    with pytest.raises(JoinError, match=r"Of a startup kit, name the folder with kit.toml in it"):
        meeting_point(tmp_path, {})


def test_what_cannot_be_read_is_refused(kit: Path) -> None:
    (kit / "kit.toml").unlink()
    (kit / "kit.toml").mkdir()
    with pytest.raises(JoinError, match=r"kit.toml cannot be read: Is a directory; give its whole"):
        meeting_point(kit, {})
    long = "x" * 300
    with pytest.raises(JoinError, match="x: File name too long; may the account under which"):
        meeting_point(kit / long, {})


def test_without_the_packages_for_it_nothing_is_dialled(
    kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)
    with pytest.raises(JoinError) as refusal:
        join(kit)
    told = str(refusal.value)
    assert told.startswith(f"{kit}, the kit of agent gpu-7 of site site-1: ")
    assert "needs websockets, which" in told
    assert told.endswith("pip install 'federant[cell]'")
