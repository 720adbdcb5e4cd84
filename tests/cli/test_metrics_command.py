"""`federant metrics`, against a listening server."""

import sys
from pathlib import Path

import pytest
from click.testing import Result
from matplotlib.image import imread
from typer.testing import CliRunner

from federant.cli.app import app
from federant.cli.plotting import plot_series
from federant.link.messages import Event, SinkName
from federant.link.operator import connect
from federant.server.state import SinkCursor


@pytest.fixture
def job_id(server) -> str:
    """A job whose two sites have logged."""
    with connect(server.url) as federation:
        job_id = federation.submit(trainer="digits", sinks=["mlflow"]).id
    server.store.seen_site("site-1", "here", ())
    for step in (1, 2, 3):
        server.store.add_events(
            job_id,
            "site-1",
            [metric("loss", 1.0 / step, step), metric("val/acc", step / 10, step)],
        )
    server.store.add_events(job_id, "site-2", [metric("loss", float("nan"), None)])
    server.store.add_events(job_id, "", [metric("loss", 0.75, 3)])
    return job_id


def metric(tag: str, value: float, step: int | None) -> Event:
    name = f"{tag}-{step}"
    return Event(id=name, kind="METRIC", tag=tag, value=value, step=step, time=5.0)


def federant_metrics(server, *arguments: str) -> Result:
    environment = {"COLUMNS": "200", "FEDERANT_SERVER": server.url}
    return CliRunner().invoke(app, ["metrics", *arguments], env=environment)


def table(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def test_what_was_logged_is_shown_by_site_and_tag(server, job_id: str) -> None:
    assert table(federant_metrics(server, job_id)) == [
        ["site", "tag", "last", "min", "max", "count", "steps"],
        ["server", "loss", "0.75", "0.75", "0.75", "1", "3"],
        ["site-1", "loss", "0.333333", "0.333333", "1", "3", "1", "to", "3"],
        ["site-1", "val/acc", "0.3", "0.1", "0.3", "3", "1", "to", "3"],
        ["site-2", "loss", "nan", "-", "-", "1", "-"],
    ]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--tag", "val/*"], [["site-1", "val/acc"]]),
        (["--tag", "val/acc"], [["site-1", "val/acc"]]),
        (["--site", "site-2"], [["site-2", "loss"]]),
        (["--site", "server", "--tag", "l*"], [["server", "loss"]]),
    ],
)
def test_the_table_may_be_of_some_tags_and_one_site(
    server, job_id: str, options: list[str], found: list[list[str]]
) -> None:
    assert [row[:2] for row in table(federant_metrics(server, job_id, *options))[1:]] == found


@pytest.mark.parametrize("tag", ["loss", "l*"])
def test_csv_has_every_value(server, job_id: str, tag: str) -> None:
    result = federant_metrics(server, job_id, "--csv", "--tag", tag)
    assert result.stdout.splitlines() == [
        "site,tag,step,value,time",
        "site-1,loss,1,1.0,5.0",
        "site-1,loss,2,0.5,5.0",
        "site-1,loss,3,0.3333333333333333,5.0",
        "site-2,loss,,nan,5.0",
        "server,loss,3,0.75,5.0",
    ]


def test_csv_of_one_site_has_its_values(server, job_id: str) -> None:
    result = federant_metrics(server, job_id, "--csv", "--site", "server")
    assert result.stdout.splitlines()[1:] == ["server,loss,3,0.75,5.0"]


def test_a_tag_controls_no_terminal_also_as_csv(server, job_id: str) -> None:
    server.store.add_events(job_id, "site-3", [metric("\x1b[2Jred", 1.0, 1)])
    result = federant_metrics(server, job_id, "--csv", "--site", "site-3")
    assert result.stdout.splitlines()[1:] == ["site-3,[2Jred,1,1.0,5.0"]


def test_a_plot_is_a_picture(server, job_id: str, tmp_path: Path) -> None:
    file = tmp_path / "loss.png"
    result = federant_metrics(server, job_id, "--plot", str(file))
    assert result.stdout == f"{file}: 8 values\n"
    height, width, _ = imread(file).shape
    assert height > 100
    assert width > 100


def test_a_tag_with_dollars_is_no_formula(tmp_path: Path) -> None:
    file = tmp_path / "cost.png"
    plot_series({("$x^$ per $", "site-1"): [(0, 1.0)]}, file)
    assert file.stat().st_size > 0


def test_without_matplotlib_a_plot_says_what_to_install(
    server, job_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "federant.cli.plotting", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = federant_metrics(server, job_id, "--plot", str(tmp_path / "loss.png"))
    assert result.exit_code == 1
    assert "pip install 'federant[plot]'" in result.stderr


def test_a_plot_in_a_format_that_there_is_not_is_refused(
    server, job_id: str, tmp_path: Path
) -> None:
    result = federant_metrics(server, job_id, "--plot", str(tmp_path / "loss.xyz"))
    assert result.exit_code == 1
    assert "xyz" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_was_lost_and_which_sink_is_behind_is_told(server, job_id: str) -> None:
    lost = Event(id="d", kind="DROPPED", tag="trainer", value=7.0)
    server.store.add_events(job_id, "site-1", [lost])
    newest = server.store.events(job_id)[-1].seq
    cursor = SinkCursor(job_id, SinkName.MLFLOW, newest - 2, error="nobody answers")
    server.store.save_sink_cursor(cursor)
    said = federant_metrics(server, job_id).stderr
    assert "site-1: 7 records were lost on the way" in said
    assert "sink mlflow is 2 events behind: nobody answers" in said


def test_a_job_without_metrics_says_how_there_come_any(server) -> None:
    with connect(server.url) as federation:
        job_id = federation.submit(trainer="digits").id
    result = federant_metrics(server, job_id)
    assert result.exit_code == 0
    assert "no metrics yet; a trainer logs them with" in result.stderr


def test_a_tag_that_nobody_has_logged_names_those_that_there_are(server, job_id: str) -> None:
    assert "there are loss, val/acc" in federant_metrics(server, job_id, "--tag", "x").stderr
