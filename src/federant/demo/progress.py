"""What is known of the demo's job at a moment: gathered here, shown elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from federant.link.messages import EventKind, JobState, SiteState
from federant.link.operator_messages import EventView, JobView

_TROUBLES: Final = frozenset({"stalled", "died", "lost", "failed"})
"""News of a site's trainer that are shown until there is other news of it."""


@dataclass(slots=True)
class SiteProgress:
    """One site: how it stands, and what its trainer has logged."""

    images: int
    state: str = "starting"
    """One word for a person: starting, ready, training, waiting (for the others), ended, ..."""
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    """What the trainer logged, by the workflow's number of the round and by tag."""
    bytes_up: int = 0
    bytes_down: int = 0
    said: SiteState = SiteState.PENDING
    trouble: str = ""

    @property
    def round(self) -> int | None:
        """The newest round of which something was logged."""
        return max(self.metrics, default=None)

    @property
    def loss(self) -> float | None:
        return None if self.round is None else self.metrics[self.round].get("loss")

    @property
    def accuracy(self) -> float | None:
        return None if self.round is None else self.metrics[self.round].get("accuracy")


@dataclass(slots=True)
class Progress:
    """The demo: its sites, and the global model's loss and accuracy after each round."""

    total_rounds: int
    test_images: int
    sites: dict[str, SiteProgress]
    state: JobState = JobState.SUBMITTED
    round: int | None = None
    """The workflow's number of the newest round that it has begun."""
    scores: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Loss and accuracy on the test set, by the workflow's number of the round."""
    doing: str = ""
    """What the demo itself is busy with; empty while the sites are."""
    seconds_after: float = 0.0
    """What the demo will do once the rounds are over takes so long."""
    over: bool = False
    first_model: float | None = None

    @property
    def done(self) -> int:
        """How many rounds are over."""
        return len(self.scores)

    def take_events(self, events: Sequence[EventView]) -> None:
        """What the trainers have logged, and what the sites tell of them."""
        for event in events:
            site = self.sites.get(event.site)
            if site is None:
                continue
            if event.kind == EventKind.STATUS:
                site.trouble = event.tag if event.tag in _TROUBLES else ""
            elif event.value is not None and event.step is not None:
                site.metrics.setdefault(event.step, {})[event.tag] = event.value
        self._word()

    def take_view(self, view: JobView) -> None:
        """What the server knows of the job and its sites."""
        self.state = view.state
        self.round = self.round if view.round is None else view.round
        for row in view.sites:
            site = self.sites.get(row.site)
            if site is not None:
                site.said = row.state
                site.bytes_up, site.bytes_down = row.bytes_up, row.bytes_down
        self._word()

    def take_score(self, number: int, loss: float, accuracy: float) -> None:
        """The test set's verdict on the model of a round."""
        self.scores[number] = (loss, accuracy)
        if self.first_model is None:
            self.first_model = time.monotonic()

    def seconds_left(self) -> float | None:
        """Until the demo ends, at the pace of the rounds so far; None before there is a pace."""
        rounds = self.total_rounds - self.done
        if not rounds:
            return self.seconds_after
        if self.first_model is None or self.done < 2:
            return None
        pace = (time.monotonic() - self.first_model) / (self.done - 1)
        return pace * rounds + self.seconds_after

    def _word(self) -> None:
        for site in self.sites.values():
            site.state = self._state_of(site)

    def _state_of(self, site: SiteProgress) -> str:
        if site.said is SiteState.PENDING:
            return "starting"
        if site.said.gone:
            return site.said.value
        if self.state.ended:
            return "ending"
        if site.trouble:
            return site.trouble
        if self.round is None:
            return "ready"
        # It has a task from the round's beginning on, and logs when it is through with it.
        return "training" if site.round is None or site.round < self.round else "waiting"
