"""The page of all commands, written from the commands themselves when the site is built."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import typer

from federant.cli.app import app

MARK: Final = "<!-- every command -->"
_BOLD: Final = re.compile(r"\[bold\](.*?)\[/bold\]")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the commands in the place of the mark, in every page that has one."""
    if MARK not in markdown:
        return markdown
    return markdown.replace(MARK, "\n".join(_sections(typer.main.get_command(app), "federant")))


def _sections(command: Any, path: str) -> Iterator[str]:
    """A part for the command and one for each of its own; `path` is how it is called."""
    context = typer.Context(command, info_name=path)
    commands = getattr(command, "commands", {})
    yield f"## {path} {{ #{_anchor(path)} }}\n"
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```\n"
    yield _markdown(command.help) + "\n"
    yield from _table(
        "command",
        (
            (f"[`{path} {name}`](#{_anchor(path)}-{name})", each.get_short_help_str(1000))
            for name, each in commands.items()
        ),
    )
    for kind in ("argument", "option"):
        of_kind = (p for p in command.get_params(context) if p.param_type_name == kind)
        records = (parameter.get_help_record(context) for parameter in of_kind)
        yield from _table(kind, ((f"`{record[0]}`", record[1]) for record in records if record))
    for name, each in commands.items():
        yield from _sections(each, f"{path} {name}")


def _table(heading: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    lines = [f"| {name} | {_markdown(text).replace('|', '&#124;')} |" for name, text in rows]
    if lines:
        yield "\n".join([f"| {heading} | what it does |", "| --- | --- |", *lines, ""])


def _anchor(path: str) -> str:
    return path.replace(" ", "-")


def _markdown(text: str | None) -> str:
    """A help text as Markdown: what the terminal shows bold is code here."""
    return _BOLD.sub(r"`\1`", inspect.cleandoc(text or "")).replace("\\[", "[")
