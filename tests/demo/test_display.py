"""Progress, and how it is shown with and without a terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from federant.demo.display import LineDisplay, LiveDisplay, display_for, size_text
from federant.demo.progress import Progress, SiteProgress
from federant.link.messages import JobSpec, JobState, SiteState
from federant.link.operator_messages import EventView, JobSiteView, JobView


def event(site: str, kind: str, tag: str, value: float | None, step: int | None) -> EventView:
    return EventView(
        seq=1, id="1", site=site, task="", kind=kind, tag=tag, value=value, step=step, text="",
        time=0.0,
    )  # fmt: skip


def metric(site: str, tag: str, value: float, step: int) -> EventView:
    return event(site, "METRIC", tag, value, step)


def status(site: str, state: str) -> EventView:
    return event(site, "STATUS", state, None, None)


def view(state: str = "running", round_number: int | None = None, **sites: str) -> JobView:
    return JobView(
        id="j1",
        spec=JobSpec(name="digits", trainer="trainer"),
        state=JobState(state),
        round=round_number,
        sites=tuple(
            JobSiteView(site=name.replace("_", "-"), state=SiteState(said), bytes_up=41_000)
            for name, said in sites.items()
        ),
        created=0.0,
    )


def shown(progress: Progress, width: int = 80, **options: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, **options)
    with display_for(console) as display:
        display.show(progress)
    return out.getvalue()


@pytest.fixture
def fresh() -> Progress:
    return Progress(4, 360, {"site-1": SiteProgress(500), "site-2": SiteProgress(300)})


@pytest.fixture
def progress(fresh: Progress) -> Progress:
    """Two of four rounds are over, and site-1 has measured its model in both."""
    fresh.take_view(view(round_number=1, site_1="ready", site_2="ready"))
    for number, loss in enumerate((0.5, 0.25)):
        fresh.take_events(
            [metric("site-1", "loss", loss, number), metric("site-1", "accuracy", 0.9, number)]
        )
    fresh.take_score(0, 1.5, 0.6)
    fresh.take_score(1, 0.5, 0.875)
    return fresh


def test_events_of_others_and_texts_are_no_progress(progress: Progress) -> None:
    progress.take_events([metric("stranger", "loss", 9.0, 1), event("site-1", "TEXT", "", None, 1)])
    assert set(progress.sites) == {"site-1", "site-2"}
    assert progress.sites["site-1"].loss == 0.25


def test_a_sites_state_says_what_it_does(fresh: Progress) -> None:
    site = fresh.sites["site-1"]
    assert site.state == "starting"
    fresh.take_view(view("submitted", site_1="pending"))
    assert site.state == "starting"
    fresh.take_view(view(site_1="ready"))
    assert site.state == "ready"
    fresh.take_view(view(round_number=0, site_1="ready"))
    assert site.state == "training"
    fresh.take_events([metric("site-1", "loss", 0.5, 0)])
    assert site.state == "waiting"
    fresh.take_view(view(round_number=1, site_1="ready"))
    assert site.state == "training"
    fresh.take_view(view("finished", round_number=1, site_1="ready"))
    assert site.state == "ending"
    fresh.take_view(view("finished", round_number=1, site_1="ended"))
    assert site.state == "ended"


def test_a_trainer_in_trouble_is_not_said_to_be_training(fresh: Progress) -> None:
    site = fresh.sites["site-1"]
    fresh.take_view(view(round_number=0, site_1="ready"))
    fresh.take_events([status("site-1", "died")])
    assert site.state == "died"
    fresh.take_events([status("site-1", "restarted"), status("site-1", "started")])
    assert site.state == "training"


def test_time_left_is_known_from_the_second_round_on(fresh: Progress, progress: Progress) -> None:
    assert Progress(4, 360, {}).seconds_left() is None
    assert progress.seconds_left() is not None


def test_time_left_includes_what_follows_the_rounds(progress: Progress) -> None:
    progress.seconds_after = 30.0
    assert "s left" in shown(progress)
    left = progress.seconds_left()
    assert left is not None
    assert left >= 30.0
    progress.take_score(2, 0.4, 0.9)
    progress.take_score(3, 0.3, 0.9)
    assert progress.seconds_left() == 30.0


def test_without_a_terminal_sites_and_global_have_a_line_a_round(progress: Progress) -> None:
    out = io.StringIO()
    console = Console(file=out)
    with display_for(console) as display:
        assert isinstance(display, LineDisplay)
        display.show(progress)
        display.show(progress)
    lines = out.getvalue().splitlines()
    assert lines.count("site-2 training") == 1
    assert lines.count("round 1/4 site-1 loss=0.500 accuracy=90.0% on its own 500 images") == 1
    assert lines.count("round 2/4 site-1 loss=0.250 accuracy=90.0% on its own 500 images") == 1
    rounds = [line for line in lines if " global " in line]
    assert len(rounds) == 2
    assert "round 2/4 global loss=0.500 accuracy=87.5% on 360 test images; " in rounds[1]
    assert "sites sent 82.0 kB, received 0 B; about " in rounds[1]


def test_what_the_demo_is_busy_with_is_said_once(fresh: Progress) -> None:
    fresh.doing = "starting the server"
    out = io.StringIO()
    with display_for(Console(file=out)) as display:
        display.show(fresh)
        display.show(fresh)
    assert out.getvalue().splitlines().count("starting the server...") == 1
    assert "starting the server..." in shown(fresh, force_terminal=True)


def test_in_a_terminal_the_table_shows_sites_and_global(progress: Progress) -> None:
    said = shown(progress, force_terminal=True, color_system=None)
    for text in (
        "site-1", "waiting", "90.0%", "41.0 kB", "500 own", "global", "360 test", "87.5%",
        "2 of 4 rounds",
    ):  # fmt: skip
        assert text in said


def test_the_table_fits_eighty_columns(progress: Progress) -> None:
    for site in progress.sites.values():
        site.metrics = {999: {"loss": 12.345, "accuracy": 1.0}}
        site.bytes_up = site.bytes_down = 999_900_000
    narrow = shown(progress, 80, force_terminal=True, color_system=None)
    wide = shown(progress, 200, force_terminal=True, color_system=None)
    assert narrow.split() == wide.split()


def test_a_terminal_that_is_narrow_or_cannot_be_drawn_over_gets_the_log(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(display_for(Console(width=50, force_terminal=True)), LineDisplay)
    assert isinstance(display_for(Console(width=80, force_terminal=True)), LiveDisplay)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(display_for(Console(width=80, force_terminal=True)), LineDisplay)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_sites_name_is_shown_as_it_is(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=terminal)
    with display_for(console) as display:
        display.show(Progress(4, 359, {"[/data/x]": SiteProgress(500)}))
    assert "[/data/x]" in out.getvalue()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (41_234, "41.2 kB"), (5_000_000, "5.0 MB"), (7e12, "7000.0 GB")],
)
def test_sizes_read_like_sizes(count: int, text: str) -> None:
    assert size_text(count) == text
