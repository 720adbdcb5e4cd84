"""What a checker says of a result that is not valid for its task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a result is not valid for its task: one of ``ReturnCode.RESULT_*``, and a sentence."""

    rc: str
    text: str
