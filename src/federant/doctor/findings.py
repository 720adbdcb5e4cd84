"""What an examination finds: one line each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and may not for long, or not well."""
    PROBLEM = "problem"
    """It does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found there, and what to do; never a secret."""

    check: str
    """What was looked at, in a word or two: ``certificate``, ``disk``."""
    level: Level
    found: str
    advice: str = ""
    """Empty if there is nothing to do."""


def ok(check: str, found: str) -> Finding:
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, advice: str) -> Finding:
    return Finding(check, Level.WARNING, found, advice)


def problem(check: str, found: str, advice: str = "") -> Finding:
    return Finding(check, Level.PROBLEM, found, advice)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst of their levels."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.PROBLEM, Level.WARNING) if level in levels), Level.OK)
