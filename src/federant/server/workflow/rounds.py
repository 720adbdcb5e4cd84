"""What is told of a workflow's rounds, for people, who count from 1; what they do is not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from federant.link.messages import MAX_TEXT_CHARS, Event, EventKind

_SITES_NAMED: Final = 8


def round_words(detail: Mapping[str, Any]) -> str:
    """``round 2 of 5``, of a step's detail; empty if the step belongs to no round."""
    number, total = detail.get("round"), detail.get("total_rounds")
    if number is None:
        return ""
    return f"round {number + 1}" + ("" if total is None else f" of {total}")


def round_begins(
    step: int, detail: Mapping[str, Any], task: str, sites: Sequence[str]
) -> list[Event]:
    """That these sites are asked; nothing of a step that belongs to no round."""
    more = len(sites) - _SITES_NAMED
    named = ", ".join(sites[:_SITES_NAMED]) + (f" and {more} more" if more > 0 else "")
    return _told(f"round-begins-{step}", detail, f"{task} at {named}")


def round_ends(
    step: int, detail: Mapping[str, Any], task: str, *, good: int, asked: int
) -> list[Event]:
    """How many results came of it; nothing of a step that belongs to no round."""
    return _told(f"round-ends-{step}", detail, f"{good} of {asked} good results of {task}")


def _told(id_: str, detail: Mapping[str, Any], text: str) -> list[Event]:
    where = round_words(detail)
    if not where:
        return []
    text = f"{where}: {text}"[:MAX_TEXT_CHARS]
    return [Event(id=id_, kind=EventKind.STATUS, tag="round", text=text)]
