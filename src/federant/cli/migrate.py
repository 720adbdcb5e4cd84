"""`federant migrate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from federant.cli.output import console, errors, extra, fail, plain, plain_errors

if TYPE_CHECKING:
    from federant.migrate.tree import FileChange, Migration

_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}
_SHOWN_LINES: Final = 8


def migrate(
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders to look through.")],
    write: Annotated[
        bool, typer.Option("--write", "--yes", "-y", help="Write the changes without asking.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Only show them; ask nothing.")] = False,
) -> None:
    """Rewrite imports of nvflare to federant's.

    Shows each file's changes first, and asks before it writes. Only imports change, and uses by a
    dotted name (nvflare.client.init()), in the code cells of notebooks too; comments and formatting
    stay. What has no counterpart is listed with file and line, and what to do instead; where a pipe
    is built, what the site's file must say. Running it again changes nothing more.

    The exit status is 0 if nothing is left to be done: no name without a counterpart, no file that
    could not be read, no change that was not written. Else it is 1.

    Example: [bold]federant migrate src/ train.py[/bold]
    """
    if write and diff:
        raise fail("--write and --diff exclude each other; give one of them", code=2)
    with extra("migrate"):
        from federant.migrate.table import load_table
        from federant.migrate.tree import look_through
    for path in paths:
        if not path.exists():
            raise fail(f"{path}: there is no such file or folder", code=2)
    with errors.status("looking the files through"):  # some seconds for ten thousand lines
        found = look_through(paths, load_table())
    for change in found.changed:
        _show(change)
    _say_left(found)
    written = False
    if found.changed and (write or (not diff and _agreed(len(found.changed)))):
        with plain_errors(OSError):
            written = _write(found.changed)
    _sum_up(found, written=written)
    left = any(change.result.left for change in found.changes)
    if left or found.skipped or (found.changed and not written):
        raise typer.Exit(1)


def _show(change: FileChange) -> None:
    for line in change.diff():
        text = plain(line.rstrip("\r\n"))
        if not line.startswith(("+++", "---")):
            text.stylize(_STYLES.get(line[0], ""))
        else:
            text.stylize("bold")
        console.print(text, soft_wrap=True)


def _say_left(found: Migration) -> None:
    for change in found.changes:
        for left in change.result.left:
            used = [str(line) for line in left.used_in if line != left.line]
            where = ", ".join(used[:_SHOWN_LINES]) + (", ..." if len(used) > _SHOWN_LINES else "")
            uses = f" (used in line {where})" if used else ""
            name = left.name.replace(":", ".")
            _say(change.path, left.line, f"{name}: {left.advice}{uses}")
        for note in change.result.notes:
            where = ", ".join(map(str, note.used_in[:_SHOWN_LINES]))
            _say(
                change.path,
                note.line,
                f"{note.name.rpartition(':')[2]} (line {where}): {note.advice}",
            )
        for line in change.result.stars:
            _say(change.path, line, "import *: look its uses through by hand")
    for path, reason in found.skipped:
        errors.print(plain(f"{path}: skipped: {reason}"), soft_wrap=True)


def _say(path: Path, line: int, what: str) -> None:
    text = plain(f"{path}:{line}: {what}")
    text.stylize("yellow", 0, len(plain(f"{path}:{line}")))
    errors.print(text, soft_wrap=True)


def _agreed(count: int) -> bool:
    if not _somebody_is_there():
        errors.print("not written: nobody is there to be asked; --write writes without asking")
        return False
    return typer.confirm(f"Write {_count(count, 'file')}?", default=False, err=True)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _write(changes: list[FileChange]) -> bool:
    done = True
    for change in changes:
        if not change.write():
            done = False
            errors.print(plain(f"{change.path}: not written: it was changed in the meantime"))
    return done


def _sum_up(found: Migration, *, written: bool) -> None:
    moved = sum(change.result.moved for change in found.changed)
    left = sum(len(change.result.left) for change in found.changes)
    verb = "changed" if written else "to be changed"
    errors.print(
        f"{_count(found.files, 'file')} looked through: "
        f"{_count(moved, 'place')} in {_count(len(found.changed), 'file')} {verb}, "
        f"{_count(left, 'name')} left to be done by hand, {_count(len(found.skipped), 'file')} "
        "skipped",
        soft_wrap=True,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
