"""What `federant job run` and `job follow` say while a job runs, waits, and ends."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from federant.cli import following
from federant.cli.app import app
from federant.link.messages import BlobRef, Event, JobSpec, JobState, SiteState
from federant.link.operator import Federation
from federant.link.operator_messages import CertificateView, SiteView
from federant.server.state import NewTask

Follow = Callable[..., tuple[int, list[str]]]

TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 7, in <module>
    train()
ValueError: boom
"""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks more often than for people."""
    monkeypatch.setattr(following, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(following, "_QUIET_SECONDS", 0.1)


@pytest.fixture
def follow(server: Any, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Submits a job for these sites, lets this happen to it, and follows it.

    The job ends, also at its sites, as soon as a line that matches ``until`` is said.  Exit status,
    and the lines.
    """

    def leave(job_id: str) -> None:
        for part in server.store.job_sites(job_id):
            if part.state is SiteState.READY:
                server.store.set_site_state(job_id, part.site, SiteState.ENDED)

    def run(
        *sites: str,
        happened: Callable[[str], object] = lambda _: None,
        until: str = "",
        end: JobState = JobState.FINISHED,
        error: str = "",
    ) -> tuple[int, list[str]]:
        job_id = server.store.create_job(JobSpec(name="digits", trainer="digits", sites=sites)).id
        happened(job_id)
        say = following._say

        def hear(text: str) -> None:
            say(text)
            if re.search(until, text):
                server.store.set_job_state(job_id, end, error)
                leave(job_id)

        monkeypatch.setattr(following, "_say", hear)
        if not until:
            server.store.set_job_state(job_id, end, error)
        result = CliRunner().invoke(app, ["job", "follow", job_id, "--server", server.url])
        return result.exit_code, result.output.splitlines()

    return run


def waiting_for(server: Any, count: int) -> Callable[[str], object]:
    return lambda job: server.store.begin_step(job, 0, "wait_for_sites", {"call": {"count": count}})


def test_a_refusal_is_told_as_it_comes(server, follow) -> None:
    def happened(job: str) -> None:
        server.store.set_site_state(job, "site-1", SiteState.REFUSED, "no trainer 'digits'")

    _, said = follow("site-1", "site-2", happened=happened, until="refused")
    assert said[0] == "site-1 refused the job: no trainer 'digits'"


def test_a_job_that_waits_for_sites_says_how_each_stands(server, follow) -> None:
    server.store.seen_site("site-2", "place-2", [])

    def happened(job: str) -> None:
        waiting_for(server, 2)(job)
        server.store.set_site_state(job, "site-1", SiteState.READY)

    _, said = follow("site-1", "site-2", "site-3", happened=happened, until="^waiting")
    assert said[0] == (
        "waiting for 2 sites; site-1 is ready, site-2 has not answered yet, "
        "site-3 has never been seen; the server knows site-2"
    )


def test_a_job_that_every_known_site_refuses_says_what_can_be_done(server, follow) -> None:
    server.store.seen_site("site-1", "place-1", [])

    def happened(job: str) -> None:
        waiting_for(server, 1)(job)
        server.store.set_site_state(job, "site-1", SiteState.REFUSED, "no trainer 'digits'")

    _, said = follow(happened=happened, until="^waiting")
    assert said[0] == "site-1 refused the job: no trainer 'digits'"
    assert re.fullmatch(
        "waiting for 1 site; site-1 refused; none of the known sites can take part: start "
        r"another, or put one right and start it again, or give up with: federant job stop \w+",
        said[1],
    )


def test_a_job_without_any_site_says_so(server, follow) -> None:
    _, said = follow(happened=waiting_for(server, 1), until="^waiting")
    assert said[0] == "waiting for 1 site; none has said hello to this server yet"


def test_a_round_that_waits_names_the_sites_and_counts_from_1(server, follow) -> None:
    def happened(job: str) -> None:
        tasks = [NewTask(f"t-{site}", site, "train") for site in ("site-1", "site-2")]
        server.store.set_site_state(job, "site-1", SiteState.READY)
        server.store.begin_step(job, 0, "broadcast", {"round": 1, "total_rounds": 5}, tasks)

    _, said = follow("site-1", "site-2", happened=happened, until="waiting")
    assert said[0] == (
        "round 2 of 5: waiting for the result of site-1, site-2 (which has never been seen)"
    )


def test_a_round_that_waits_for_a_revoked_site_says_so(
    server, follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = CertificateView(serial="5f1c0a93", expires=2e9, seconds_left=1e6, revoked=True)
    known = SiteView(name="site-1", instance="i", first_seen=1.0, last_seen=2.0)
    known = known.model_copy(update={"certificates": (held,)})
    monkeypatch.setattr(Federation, "sites", lambda _: [known])

    def happened(job: str) -> None:
        server.store.set_site_state(job, "site-1", SiteState.READY)
        task = NewTask("t-site-1", "site-1", "train")
        server.store.begin_step(job, 0, "broadcast", {"round": 1, "total_rounds": 5}, [task])

    _, said = follow("site-1", happened=happened, until="waiting")
    assert said[0] == "round 2 of 5: waiting for the result of site-1 (which is revoked)"


def test_a_traceback_is_told_once(server, follow) -> None:
    def happened(job: str) -> None:
        told = Event(id="1", kind="STATUS", tag="result", text=f"EXCEPTION: {TRACEBACK}")
        server.store.add_events(job, "site-1", [told])

    status, said = follow(
        "site-1",
        happened=happened,
        end=JobState.FAILED,
        error=f"too few results: site-1: {TRACEBACK}",
    )
    assert status == 1
    assert said[0] == "site-1 result: EXCEPTION: Traceback (most recent call last):"
    assert said[-1].endswith("failed: too few results: site-1: ValueError: boom")
    assert sum("Traceback" in line for line in said) == 1


def test_the_way_to_a_model_is_told_on_one_line_and_only_if_there_is_one(server, follow) -> None:
    assert follow("site-1") == (0, ["finished; this job keeps no model"])

    def happened(job: str) -> None:
        server.store.save_model(job, 0, BlobRef(digest="a" * 64, size=1))

    _, (line,) = follow("site-1", happened=happened)
    assert re.fullmatch(
        r"finished; save the model with: federant job model \w+ model\.safetensors", line
    )


def test_a_metric_is_told_with_the_trainers_own_step(server, follow) -> None:
    def happened(job: str) -> None:
        event = Event(id="1", kind="METRIC", tag="loss", value=0.25, step=3)
        server.store.add_events(job, "site-1", [event])

    _, said = follow("site-1", happened=happened)
    assert said[0] == "site-1 step=3 loss=0.25"


def test_a_metric_that_comes_after_the_end_is_told_before_it(
    server, follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, late = server.store.events, [Event(id="1", kind="METRIC", tag="loss", value=0.25)]

    def events_and_then_the_last(job: str, *arguments: object, **filters: object) -> object:
        found = events(job, *arguments, **filters)
        if late:
            server.store.add_events(job, "site-1", [late.pop()])
            server.store.set_site_state(job, "site-1", SiteState.ENDED)
        return found

    def happened(job: str) -> None:
        server.store.set_site_state(job, "site-1", SiteState.READY)

    monkeypatch.setattr(server.store, "events", events_and_then_the_last)
    _, said = follow("site-1", happened=happened)
    assert said == ["site-1 loss=0.25", "finished; this job keeps no model"]


def metrics(count: int, *tags: str) -> list[Event]:
    return [
        Event(id=f"{tag}-{number}", kind="METRIC", tag=tag, value=float(number), step=number)
        for number in range(count)
        for tag in tags
    ]


def test_of_thousands_of_metrics_the_newest_are_told_and_where_the_others_are(
    server, follow
) -> None:
    def happened(job: str) -> None:
        for site in ("site-1", "site-2"):
            server.store.add_events(job, site, metrics(400, "loss", "acc"))

    status, said = follow("site-1", "site-2", happened=happened)
    assert status == 0
    told = [line for line in said if "loss=" in line]
    assert 2 <= len(told) <= 8  # a fast machine has them in one go, a slow one not
    assert "site-2 step=399 loss=399 acc=399" in told
    (where,) = [line for line in said if "were not shown" in line]
    assert re.fullmatch(
        r"1[56]\d\d older metrics were not shown; all of them: federant metrics \w+", where
    )


def test_many_sites_and_tags_are_told_in_few_lines(server, follow) -> None:
    def happened(job: str) -> None:
        for number in range(12):
            tags = [f"tag-{number}" for number in range(9)]
            server.store.add_events(job, f"site-{number}", metrics(1, *tags))

    _, said = follow(*(f"site-{number}" for number in range(12)), happened=happened)
    assert said[0] == (
        "site-0 step=0 tag-3=0 tag-4=0 tag-5=0 tag-6=0 tag-7=0 tag-8=0 and 3 more tags"
    )
    assert said[8] == "and metrics of 4 more sites"


def test_rounds_are_told_in_order_with_the_metrics_of_each(server, follow) -> None:
    def happened(job: str) -> None:
        for number in (1, 2):
            begins = Event(id=f"b{number}", kind="STATUS", tag="round", text=f"round {number}: go")
            server.store.add_events(job, "", [begins])
            loss = Event(id=f"l{number}", kind="METRIC", tag="loss", value=number / 4)
            server.store.add_events(job, "site-1", [loss])

    _, said = follow("site-1", happened=happened)
    assert said[:4] == ["round 1: go", "site-1 loss=0.25", "round 2: go", "site-1 loss=0.5"]


def test_a_failure_that_site_and_server_tell_is_said_once(server, follow) -> None:
    trace = TRACEBACK + "of two lines\n\n"

    def happened(job: str) -> None:
        told = Event(id="1", kind="TEXT", tag="failure", text=f"site-1: EXCEPTION:\n{trace}")
        server.store.add_events(job, "", [told])
        log = f"exit status 1\nthe last lines of trainer.log:\n{trace}"
        events = [
            Event(id="2", kind="STATUS", tag="result", text=f"EXCEPTION: {trace}"),
            Event(id="3", kind="STATUS", tag="died", text=log),
        ]
        server.store.add_events(job, "site-1", events)

    _, said = follow(
        "site-1", happened=happened, end=JobState.FAILED, error=f"too few: EXCEPTION:\n{trace}"
    )
    assert said[:5] == ["site-1: EXCEPTION:", *TRACEBACK.splitlines()]
    assert said[5:7] == ["of two lines", "site-1 died: exit status 1"]
    assert said[-1].endswith("failed: too few: EXCEPTION: ValueError: boom")
    assert len(said) == 8


def test_what_was_lost_and_what_was_shown_is_told(server, follow) -> None:
    def happened(job: str) -> None:
        lost = "7 metrics were dropped at the trainer: it logged too fast"
        events = [
            Event(id="1", kind="DROPPED", tag="trainer", value=7.0, text=lost),
            Event(id="2", kind="IMAGE", tag="sample", step=2, text="5 x 4 pixels of 3 channels"),
        ]
        server.store.add_events(job, "site-1", events)

    _, said = follow("site-1", happened=happened)
    assert said[:2] == [
        "site-1 7 metrics were dropped at the trainer: it logged too fast",
        "site-1 step=2 sample: 5 x 4 pixels of 3 channels",
    ]
