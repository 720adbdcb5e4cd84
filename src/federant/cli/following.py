"""How a job is followed in a terminal: its events, who refuses it, and what it waits for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import typer

from federant.cli.newest import NewestMetrics
from federant.cli.output import errors, fail, plain, without_controls

if TYPE_CHECKING:
    from federant.link.operator import Federation, Job
    from federant.link.operator_messages import EventView, JobSiteView, JobView, SiteView

_LOOK_SECONDS: Final = 1.0
_METRICS_SECONDS: Final = 1.0
"""How often the newest metrics are told."""
_QUIET_SECONDS: Final = 3.0
"""After so long without news it is said what the job waits for."""
_REPEAT_SECONDS: Final = 10.0
"""How often that is said again while too few sites are there: somebody has to do something."""

_READY: Final = "is ready"
_PENDING: Final = "has not answered yet"
_NEVER_SEEN: Final = "has never been seen"
_WORDS: Final = {
    "pending": _PENDING,
    "ready": _READY,
    "refused": "refused",
    "failed": "failed",
    "ended": "has left the job",
}

_TRACEBACK: Final = re.compile(r"\n?Traceback \(most recent call last\):\n(?: .*\n)+")
"""But for its last line, which says what it came to."""
_LOG_TITLE: Final = "the last lines of "


def follow_to_the_end(federation: Federation, job: Job) -> None:
    """Print what happens in the job until it has ended; typer.Exit if it did not finish well."""
    teller = _Teller(federation, job)
    try:
        for reply in job.replies(every=_LOOK_SECONDS):
            teller.tell(reply.events)
            if not reply.job_state.ended:
                teller.look()
        teller.tell_metrics()
    except KeyboardInterrupt:
        _say(
            f"the job goes on; follow it again with: federant job follow {job.id}\n"
            f"stop it with: federant job stop {job.id}"
        )
        raise typer.Exit(130) from None
    view = job.view()
    teller.tell_refusals(view)
    if teller.metrics.untold:
        untold = teller.metrics.untold
        what = "older metric was" if untold == 1 else "older metrics were"
        _say(f"{untold} {what} not shown; all of them: federant metrics {job.id}")
    if view.error or view.state.value != "finished":
        raise fail(
            f"job {job.id} {view.state.value}: "
            + teller.fresh(view.error or "it was asked to stop")
        )
    if job.models():
        _say(f"finished; save the model with: federant job model {job.id} model.safetensors")
    else:
        _say("finished; this job keeps no model")


class _Teller:
    """What has been said of one job, so that nothing is said twice."""

    def __init__(self, federation: Federation, job: Job) -> None:
        self._federation = federation
        self._job = job
        self.metrics = NewestMetrics()
        self._metrics_told = -_METRICS_SECONDS
        self._said: set[str] = set()
        self._failed: set[str] = set()
        self._refusals: set[tuple[str, str, str]] = set()
        self._looked = time.monotonic()
        self._waits_for = ""
        self._since = self._looked
        self._told: float | None = None

    def tell(self, events: Iterable[EventView]) -> None:
        """Tell these; of metrics only the newest, and only now and then."""
        for event in events:
            self._since, self._told = time.monotonic(), None
            if _is_metric(event):
                self.metrics.add(event)
            elif _is_of_rounds(event):
                self.tell_metrics()
                _say(event.text)
            elif not self._is_known_failure(event) and (text := self.fresh(_line(event))):
                _say(text)
        if time.monotonic() - self._metrics_told >= _METRICS_SECONDS:
            self.tell_metrics()

    def tell_metrics(self) -> None:
        for line in self.metrics.lines():
            _say(without_controls(line))
            self._metrics_told = time.monotonic()

    def tell_refusals(self, view: JobView) -> None:
        for part in view.sites:
            news = (part.site, part.state.value, part.text)
            if part.state.value in ("refused", "failed") and news not in self._refusals:
                self._refusals.add(news)
                _say(self.fresh(f"{part.site} {part.state.value} the job: {part.text}"))

    def look(self) -> None:
        """Say who refuses the job, and after some silence what it waits for."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        view = self._job.view()
        self.tell_refusals(view)
        text = self._waiting(view)
        if text != self._waits_for:
            self._waits_for, self._since, self._told = text, now, None
        again = view.sites_wanted is not None and now - (self._told or now) >= _REPEAT_SECONDS
        if text and now - self._since >= _QUIET_SECONDS and (self._told is None or again):
            self._told = now
            _say(text)

    def fresh(self, text: str) -> str:
        """The text without what has been said before: of a traceback only the last line."""
        text = without_controls(text).rstrip()
        first, *rest = _TRACEBACK.sub(self._fresh_traceback, text).split("\n")
        lines = [line for line in rest if line and line not in self._said]
        self._said.update(rest)
        if lines and lines[-1].startswith(_LOG_TITLE):
            lines.pop()  # of a log of which everything has been said
        return "\n".join([first, *lines])

    def _fresh_traceback(self, found: re.Match[str]) -> str:
        block = found[0].lstrip("\n")
        if block not in self._said:
            self._said.add(block)
            return found[0]
        line_before = found.string[: found.start()].rpartition("\n")[2]
        if block == found[0]:
            return ""
        return "\n" if line_before.startswith(_LOG_TITLE) else " "

    def _is_known_failure(self, event: EventView) -> bool:
        """A site tells why a task failed, and so does the server: whichever comes first is told."""
        if event.site and (event.kind, event.tag) == ("STATUS", "result"):
            told = f"{event.site}: {event.text}"
        elif not event.site and event.tag == "failure":
            told = event.text
        else:
            return False
        known = "".join(told.split())
        if known in self._failed:
            return True
        self._failed.add(known)
        return False

    def _waiting(self, view: JobView) -> str:
        if view.sites_wanted is not None:
            return self._waiting_for_sites(view, view.sites_wanted)
        if not view.awaited:
            return "" if view.step is not None else "waiting for the server to begin the job"
        words = self._standing([part for part in view.sites if part.site in view.awaited])
        sites = ", ".join(
            site + (f" (which {how})" if how != _READY else "") for site, how in words.items()
        )
        where = round_of(view)
        return (f"round {where}: " if where else "") + f"waiting for the result of {sites}"

    def _waiting_for_sites(self, view: JobView, count: int) -> str:
        words = self._standing(view.sites)
        sites = ", ".join(f"{site} {how}" for site, how in words.items())
        text = f"waiting for {count} site{'s' if count > 1 else ''}; " + (
            sites or "none has said hello to this server yet"
        )
        if _NEVER_SEEN in words.values():
            known = sorted(site.name for site in self._federation.sites())
            text += f"; the server knows {', '.join(known) or 'no site'}"
        possible = sum(not part.state.gone for part in view.sites)
        if words and possible < count:
            # Only a job that names no sites gets here: one that names them has failed by then.
            text += (
                f"; {possible or 'none'} of the known sites can take part: start another, or put "
                f"one right and start it again, or give up with: federant job stop {view.id}"
            )
        return text

    def _standing(self, parts: Iterable[JobSiteView]) -> dict[str, str]:
        """How each site stands with the job."""
        words = {part.site: _WORDS[part.state.value] for part in parts}
        if not {_PENDING, _READY}.isdisjoint(words.values()):
            known = {site.name: site for site in self._federation.sites()}
            for name in [name for name, how in words.items() if how in (_PENDING, _READY)]:
                site = known.get(name)
                if site is None:
                    words[name] = _NEVER_SEEN if words[name] == _PENDING else words[name]
                elif is_revoked(site):
                    words[name] = "is revoked"
                elif not site.alive:
                    words[name] = f"was last seen {ago(site.silent_seconds)}"
        return words


def is_revoked(site: SiteView) -> bool:
    """Whether the certificate with which the site called last is good no more."""
    return bool(site.certificates) and site.certificates[-1].revoked


def round_of(view: JobView) -> str:
    """`4 of 5`, or nothing of a job that has not begun a round or knows none."""
    if view.round is None:
        return ""
    number = view.round + 1  # they are numbered from 0, and read from 1
    return str(number) if view.total_rounds is None else f"{number} of {view.total_rounds}"


def ago(seconds: float) -> str:
    """A span of time before now, for people."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _is_metric(event: EventView) -> bool:
    """Whether a trainer logged it, or the workflow as a number; there may be any number of them."""
    if not event.site:
        return event.value is not None
    return event.kind not in ("STATUS", "DROPPED")


def _is_of_rounds(event: EventView) -> bool:
    return not event.site and (event.kind, event.tag) == ("STATUS", "round")


def _line(event: EventView) -> str:
    if not event.site and event.tag == "failure":
        return event.text  # it begins with the site's name
    where = event.site or "server"
    if event.kind == "STATUS":
        return f"{where} {event.tag}: {event.text}" if event.text else f"{where} {event.tag}"
    return f"{where} {event.text}"


def _say(text: str) -> None:
    errors.print(plain(text), soft_wrap=True)
