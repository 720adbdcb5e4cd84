"""The commands, as typed, against a listening server."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from typer.testing import CliRunner

import federant
from federant.cli.app import app
from federant.link.messages import Event, JobState, SiteState
from federant.link.operator import connect


def federant_command(*arguments: str, server=None, answer: str | None = None) -> Result:
    environment = {"FEDERANT_SERVER": server.url} if server else {}
    return CliRunner().invoke(app, arguments, answer, env={"COLUMNS": "200", **environment})


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("demo",),
        ("server",),
        ("site",),
        ("job",),
        ("job", "run"),
        ("sites",),
        ("status",),
        ("revoke",),
        ("revocations",),
        ("job", "follow"),
        ("job", "list"),
        ("job", "show"),
        ("job", "stop"),
        ("job", "delete"),
        ("job", "model"),
        ("metrics",),
        ("version",),
    ],
)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    result = federant_command(*command, "--help")
    assert result.exit_code == 0
    assert "Usage: federant" in result.output
    if command not in ((), ("job",), ("version",)):
        assert "Example: federant" in result.output


def test_help_of_site_shows_a_whole_file() -> None:
    assert "[trainers.digits]" in federant_command("site", "--help").output


@pytest.mark.parametrize("how", ["version", "--version"])
def test_version_says_which(how: str) -> None:
    assert federant.__version__ in federant_command(how).output


def test_the_package_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "federant", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert federant.__version__ in done.stdout


def test_without_the_extras_the_command_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['typer'] = None\n"
        "from federant.cli import main\n"
        "main()"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs typer" in done.stderr
    assert "pip install 'federant[site]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_packages_of_the_demo_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from federant.cli import main\n"
        "sys.argv = ['federant', 'demo']\n"
        "main()"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs sklearn, which is not installed: pip install 'federant[demo]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extras_connect_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pydantic'] = None\n"
        "import federant\n"
        "federant.connect('http://127.0.0.1:8750')"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith(
        "ModuleNotFoundError: federant.connect needs pydantic, which is not installed: "
        "pip install 'federant[site]'\n"
    )


@pytest.mark.parametrize(
    ("options", "ours", "theirs"),
    [((), "WARNING", "WARNING"), (("-v",), "INFO", "WARNING"), (("-vv",), "DEBUG", "INFO")],
)
def test_each_v_logs_more(server, options: tuple[str, ...], ours: str, theirs: str) -> None:
    code = (
        "import logging; from federant.cli.app import app\n"
        "app(standalone_mode=False)\n"
        "for name in ('federant.link', 'urllib3'):\n"
        "    print(logging.getLevelName(logging.getLogger(name).getEffectiveLevel()))"
    )
    command = [sys.executable, "-c", code, "job", "list", "--server", server.url, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [ours, theirs]
    assert ("call=GET " in done.stderr) == (ours == "DEBUG")


def test_a_model_is_asked_for_by_its_round_counted_from_1(server, tmp_path: Path) -> None:
    with connect(server.url) as federation:
        job = federation.submit(trainer="digits")
    blob = server.blobs.put([b"the model"])
    server.store.save_model(job.id, 2, blob)
    file = tmp_path / "model.safetensors"
    shown = federant_command("job", "show", job.id, server=server).output
    assert re.search("newest model +round 3", shown)
    assert federant_command(
        "job", "model", job.id, str(file), "--round", "3", server=server
    ).exit_code == 0  # fmt: skip
    assert file.read_bytes() == b"the model"
    refused = federant_command("job", "model", job.id, str(file), "--round", "2", server=server)
    assert (refused.exit_code, "no model of round 2; kept: 3" in refused.output) == (1, True)


def test_a_job_is_submitted_with_parameters_of_their_own_types(server) -> None:
    result = federant_command(
        "job", "run", "digits", "--detach", "--name", "mine", "--site", "a", "--site", "b",
        "-p", "rounds=3", "-p", "rate=0.5", "-p", "note=plain text", "-p", "drop=true",
        server=server,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    spec = server.store.job(result.output.strip()).spec
    assert (spec.name, spec.trainer, spec.sites) == ("mine", "digits", ("a", "b"))
    assert spec.params == {"rounds": 3, "rate": 0.5, "note": "plain text", "drop": True}


def test_a_parameter_without_a_value_is_a_usage_error(server) -> None:
    result = federant_command("job", "run", "digits", "-p", "rounds", server=server)
    assert result.exit_code == 2
    assert "NAME=VALUE" in result.output


def test_following_a_job_that_failed_tells_why_and_exits_with_1(
    server, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = server.store.create_job

    def created_and_failed(*arguments: object) -> object:
        row = create(*arguments)
        server.store.set_job_state(row.id, JobState.FAILED, "site-1: trainer died")
        return row

    monkeypatch.setattr(server.store, "create_job", created_and_failed)
    result = federant_command("job", "run", "digits", server=server)
    assert result.exit_code == 1
    assert "site-1: trainer died" in result.output


def test_jobs_are_listed_and_shown_and_stopped(server) -> None:
    assert "no jobs yet" in federant_command("job", "list", server=server).output
    with connect(server.url) as federation:
        job = federation.submit(trainer="digits", name="mine", rounds=3)
    listed = federant_command("job", "list", server=server)
    assert job.id in listed.output
    assert "mine" in listed.output
    shown = federant_command("job", "show", job.id, server=server)
    assert "submitted" in shown.output
    assert json.dumps({"rounds": 3}) in shown.output
    assert federant_command("job", "stop", job.id, server=server).exit_code == 0


def test_a_job_is_deleted_once_it_has_ended_and_somebody_wants_it(
    server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(server.url) as federation:
        job = federation.submit(trainer="digits", name="mine", rounds=3)
    refused = federant_command("job", "delete", job.id, "--yes", server=server)
    assert refused.exit_code == 1
    assert f"stop it first: federant job stop {job.id}" in refused.output
    server.store.save_model(job.id, 0, server.blobs.put([b"a model"]))
    server.store.set_job_state(job.id, JobState.FINISHED)

    unasked = federant_command("job", "delete", job.id, server=server)
    assert unasked.exit_code == 1
    assert "nobody is there to be asked; --yes deletes without asking" in unasked.output
    monkeypatch.setattr("federant.cli.job._somebody_is_there", lambda: True)
    for answer in ("n\n", "\n"):
        declined = federant_command("job", "delete", job.id, server=server, answer=answer)
        assert declined.exit_code == 1
        question = f"Delete job {job.id} (mine, finished, models: 1) for good?"
        assert question in declined.output
    assert [row.id for row in server.store.jobs()] == [job.id]

    agreed = federant_command("job", "delete", job.id, server=server, answer="y\n")
    assert agreed.exit_code == 0
    assert f"deleted {job.id}; models: 1, metrics and events: 0, " in agreed.output
    assert "within a day: 7" in agreed.output  # the model is some milliseconds old
    assert server.store.jobs() == []
    again = federant_command("job", "delete", job.id, "--yes", server=server)
    assert again.exit_code == 1
    assert f"job {job.id} was deleted on" in again.output


# What a site or a server may say: markup, a colour, a bell, a return, a text that turns round.
HOSTILE = "[/data/x]\x1b[31m\x07\r\x9b2J\u202e"
SHOWN = "[/data/x][31m2J"


def controls(text: str) -> set[str]:
    return {character for character in text if not character.isprintable()} - {"\n"}


def test_what_others_say_is_shown_as_it_is_and_controls_no_terminal(server) -> None:
    with connect(server.url) as federation:
        job = federation.submit(trainer="t", name=HOSTILE, sites=["a"], params={"x": HOSTILE})
    server.store.set_site_state(job.id, "a", SiteState.REFUSED, HOSTILE)
    server.store.set_job_state(job.id, JobState.FAILED, HOSTILE)
    listed = federant_command("job", "list", server=server)
    shown = federant_command("job", "show", job.id, server=server)
    for result, count in ((listed, 1), (shown, 3)):
        assert result.exit_code == 0, result.output
        assert result.output.count(SHOWN) == count
        assert controls(result.output) == set()


def test_events_and_errors_that_others_wrote_control_no_terminal(
    server, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = server.store.create_job

    def created_and_failed(*arguments: object) -> object:
        row = create(*arguments)
        server.store.add_events(row.id, "a", [Event(id="1", kind="TEXT", text=HOSTILE)])
        server.store.set_job_state(row.id, JobState.FAILED, HOSTILE)
        return row

    monkeypatch.setattr(server.store, "create_job", created_and_failed)
    result = federant_command("job", "run", "digits", "--site", "a", server=server)
    assert result.exit_code == 1
    assert result.output.count(SHOWN) == 2
    assert controls(result.output) == set()


def test_what_is_logged_of_others_controls_no_terminal() -> None:
    code = (
        "import logging\n"
        "from federant.cli.output import set_up_log\n"
        "set_up_log(0)\n"
        f"logging.getLogger('federant').warning('said=%s', {HOSTILE!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"said={SHOWN}\n" in done.stderr
    assert controls(done.stderr) == set()


def test_a_file_name_that_looks_like_markup_is_shown_as_it_is(server, tmp_path: Path) -> None:
    with connect(server.url) as federation:
        job = federation.submit(trainer="t")
    server.store.save_model(job.id, 0, server.blobs.put([b"model"]))
    folder = tmp_path / "[a]"
    folder.mkdir()
    result = federant_command("job", "model", job.id, str(folder / "[b]"), server=server)
    assert "[a]/[b]: 5 bytes" in result.output


def test_sites_are_listed_with_when_they_were_last_seen(server) -> None:
    assert "no site has said hello yet" in federant_command("sites", server=server).output
    server.store.seen_site("site-1", "place-1", [])
    (row,) = federant_command("sites", server=server).output.splitlines()[1:]
    assert row.split()[:3] == ["site-1", "here", "now"]


def test_a_site_that_is_silent_is_listed_with_how_long(server, monkeypatch) -> None:
    server.store.seen_site("site-1", "place-1", [])
    now = time.time()
    later = SimpleNamespace(time=lambda: now + 600)
    monkeypatch.setattr("federant.server.routes.status.time", later)
    (row,) = federant_command("sites", server=server).output.splitlines()[1:]
    assert row.split()[:5] == ["site-1", "silent", "10", "min", "ago"]


def test_the_error_of_a_job_is_shown_below_the_tables_and_widens_none(server) -> None:
    with connect(server.url) as federation:
        job = federation.submit(trainer="t", sites=["site-1"])
    server.store.set_job_state(job.id, JobState.FAILED, "e" * 150 + "\n  a second line\n")
    server.store.set_site_state(job.id, "site-1", SiteState.FAILED, "first\nsecond")
    lines = federant_command("job", "show", job.id, server=server).output.splitlines()
    assert lines[-2:] == ["error: " + "e" * 150, "  a second line"]
    assert all(len(line) < 80 for line in lines[:-2])
    assert all(line == line.rstrip() for line in lines)
    (row,) = [line for line in lines if line.split()[:1] == ["site-1"]]
    assert row.endswith("first second")  # a row is one line for those who read it by program


def test_help_flows_to_the_width_of_the_terminal() -> None:
    told = CliRunner().invoke(app, ["server", "--help"], env={"COLUMNS": "80"}).output
    words = told.partition("It prints")[2].partition("A job may")[0]
    lines = [line.strip() for line in words.strip().splitlines()]
    assert min(map(len, lines[:-1])) > 60, lines
    assert "[sinks.mlflow]\n" in re.sub(" +\n", "\n", told)  # what is indented keeps its lines


def test_a_server_that_is_not_there_is_one_sentence_and_exit_status_1() -> None:
    result = federant_command("job", "list", "--server", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert (
        'no server answers at http://127.0.0.1:9; is "federant server" running there? '
        "(--server, FEDERANT_SERVER)"
    ) in result.output
    assert "Traceback" not in result.output


def test_a_site_says_when_it_is_connected_and_what_may_run_there(server, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        f'name = "site-1"\nserver = "{server.url}"\nfolder = "work"\n'
        '[trainers.digits]\nstart = "external"\n'
    )
    command = [sys.executable, "-m", "federant", "site", str(file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as site:
        assert site.stdout is not None
        line = site.stdout.readline()
        site.terminate()
        rest = site.stdout.read()
    assert (line, rest) == (f"site-1: connected to {server.url}; trainers: digits\n", "")


def test_a_site_file_with_a_mistake_is_one_sentence_and_exit_status_1(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('name = "site-1"\nserver = "http://127.0.0.1:1"\n')
    result = federant_command("site", str(file))
    assert result.exit_code == 1
    assert "folder: is missing; add it" in result.output


def test_a_port_in_use_is_told_with_the_remedy_and_no_folder_is_made(
    server, tmp_path: Path
) -> None:
    port = server.url.rpartition(":")[2]
    result = federant_command("server", str(tmp_path / "new"), "--port", port)
    assert result.exit_code == 1
    assert f"error cannot listen on 127.0.0.1 port {port}: " in result.output
    assert "(--port)" in result.output
    assert not (tmp_path / "new").exists()


def test_a_server_folder_that_is_a_file_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = federant_command("server", str(tmp_path / "file"), "--port", "0")
    assert (result.exit_code, "file is no folder" in result.output) == (1, True)


def test_a_server_on_an_address_of_others_is_refused(tmp_path: Path) -> None:
    result = federant_command("server", str(tmp_path / "s"), "--host", "0.0.0.0")
    assert result.exit_code == 1
    assert "loopback" in result.output
