"""The files of a tree that import from nvflare, each with what is to become of it."""

from __future__ import annotations

import difflib
import io
import os
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from federant.migrate.notebook import rewrite_notebook
from federant.migrate.rewrite import Rewritten, UnreadableSourceError, may_import, rewrite
from federant.migrate.table import ROOT, Table

_NOT_ENTERED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file: its text before and after, and what is left to be done by hand."""

    path: Path
    before: bytes
    result: Rewritten

    @property
    def changed(self) -> bool:
        return self.result.source != self.before

    def diff(self) -> Iterator[str]:
        """The lines of a unified diff."""
        yield from difflib.unified_diff(
            _lines(self.before), _lines(self.result.source), str(self.path), str(self.path)
        )

    def write(self) -> bool:
        """Write the new text; False, with nothing written, if the file was changed meanwhile."""
        if self.path.read_bytes() != self.before:
            return False
        self.path.write_bytes(self.result.source)
        return True


@dataclass(slots=True)
class Migration:
    """What was found in the trees that were looked through."""

    files: int = 0
    """How many Python files and notebooks there are."""
    changes: list[FileChange] = field(default_factory=list)
    """The files that import anything of nvflare, whether they change or not."""
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    """Files that were not read, each with the reason."""

    @property
    def changed(self) -> list[FileChange]:
        return [change for change in self.changes if change.changed]


def look_through(paths: Iterable[Path], table: Table) -> Migration:
    """Look through files and folders; hidden folders and installed packages are not entered."""
    found = Migration()
    for path in _files(paths):
        try:
            source = path.read_bytes()
        except OSError as error:
            found.skipped.append((path, error.strerror or str(error)))
            continue
        notebook = path.suffix == ".ipynb"
        found.files += 1
        if not (ROOT.encode() in source if notebook else may_import(source)):
            continue
        try:
            result = (rewrite_notebook if notebook else rewrite)(source, table)
        except UnreadableSourceError as error:
            found.skipped.append((path, f"not readable as Python: {error}"))
            continue
        if result.moved or result.left:
            found.changes.append(FileChange(path, source, result))
    return found


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            real = file.resolve()
            if real not in seen:
                seen.add(real)
                yield file


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _NOT_ENTERED
        )
        for name in sorted(names):
            if name.endswith((".py", ".pyi", ".ipynb")):
                yield Path(place, name)


def _lines(source: bytes) -> list[str]:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return source.decode(encoding).splitlines(keepends=True)
