"""Whether the commands that a site's file names for its trainers can be run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from federant.site.config import SiteConfig, Start, TrainerConfig

from .findings import Finding, ok, problem, warning


def look_at_trainers(site: SiteConfig) -> Iterator[Finding]:
    """One finding a trainer."""
    if not site.trainers:
        yield warning(
            "trainers", "the site's file names none, so no job can run here", "add [trainers.NAME]"
        )
    for name, trainer in site.trainers.items():
        filled = trainer.resolve(folder=site.base, site=site.name, job="job")
        yield _look(f"trainer {name}", filled)


def _look(check: str, trainer: TrainerConfig) -> Finding:
    if trainer.start is Start.EXTERNAL:
        return ok(check, "is started by its owner")
    program, *arguments = trainer.command
    cwd = trainer.cwd or Path()
    if not cwd.is_dir():
        return problem(check, f"its folder {cwd} is not there", "make it, or correct cwd")
    path = trainer.env.get("PATH", os.environ.get("PATH", os.defpath))
    # One with a slash in it is found from the folder in which it runs.
    named = str(cwd / program) if "/" in program else program
    if shutil.which(named, path=path) is None:
        return problem(
            check, f"its program {program} is not there, or cannot be run", "correct its command"
        )
    for argument in arguments:
        if argument.startswith("-"):
            break
        if argument.endswith(".py") and not (cwd / argument).is_file():
            return problem(
                check,
                f"its script {cwd / argument} is not there",
                "copy it there, or correct its command",
            )
    return ok(check, f"{program} can be run in {cwd}")
