"""The newest of what trainers log, told now and then: thousands a second come, a few are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from federant.cli.output import without_controls

if TYPE_CHECKING:
    from federant.link.operator_messages import EventView

_SITES_TOLD: Final = 8
_TAGS_TOLD: Final = 6
_TEXT_CHARS: Final = 200


class NewestMetrics:
    """Takes metrics as they come; ``lines`` tells the newest of each site and tag."""

    def __init__(self) -> None:
        self.untold = 0
        """How many were never told, because newer ones came or there were too many tags."""
        self._newest: dict[str, dict[str, EventView]] = {}

    def add(self, event: EventView) -> None:
        by_tag = self._newest.setdefault(event.site, {})
        # The newest last: of too many tags the last ones are told.
        self.untold += by_tag.pop(event.tag, None) is not None
        by_tag[event.tag] = event

    def lines(self) -> list[str]:
        """A line a site of what has come since the last call; the same is not told again."""
        sites, self._newest = self._newest, {}
        told = list(sites.items())[:_SITES_TOLD]
        self.untold += sum(len(tags) for tags in sites.values())
        lines = []
        for site, tags in told:
            events = list(tags.values())[-_TAGS_TOLD:]
            self.untold -= len(events)
            more = len(tags) - len(events)
            lines.append(
                f"{site or 'server'}{_with_steps(events)}"
                + (f" and {more} more tags" if more else "")
            )
        if len(sites) > len(told):
            lines.append(f"and metrics of {len(sites) - len(told)} more sites")
        return lines


def _with_steps(events: list[EventView]) -> str:
    """Values by tag, those of one step together."""
    text = ""
    step: int | None = None
    for event in events:
        # The trainer's own count, whatever it counts; not a round, which people read from 1.
        if event.step is not None and event.step != step:
            text += f" step={event.step}"
        step = event.step
        if event.value is None:
            line = " ".join(without_controls(event.text).split())[:_TEXT_CHARS]
            text += f" {event.tag}: {line}" if event.tag else f" {line}"
        else:
            text += f" {event.tag}={event.value:.6g}"
    return text
