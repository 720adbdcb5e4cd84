"""Files that nobody but their owner may read: they may hold a token, or what a site works on."""

from __future__ import annotations

from pathlib import Path


def make_private(path: Path) -> None:
    """Make the file if it is not there, and take it from all but its owner (0600)."""
    path.touch(0o600)
    path.chmod(0o600)


def write_whole(path: Path, text: str) -> None:
    """Write a private file, so that nobody ever sees a part of it."""
    aside = path.with_name(path.name + ".new")
    make_private(aside)
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
