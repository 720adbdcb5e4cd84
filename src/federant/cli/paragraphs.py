"""Docstrings as the help of commands: each paragraph fills the terminal, however wide it is."""

from __future__ import annotations

import inspect

import typer


def flow(app: typer.Typer) -> None:
    """Let the paragraphs of every command's help, those of its groups too, fill the terminal."""
    for command in app.registered_commands:
        if command.help is None and command.callback is not None:
            command.help = flowing(command.callback.__doc__ or "")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            flow(group.typer_instance)


def flowing(text: str) -> str:
    """Each paragraph on one line; what is indented, or a list, keeps its lines."""
    return "\n\n".join(map(_joined, inspect.cleandoc(text).split("\n\n")))


def _joined(paragraph: str) -> str:
    lines = paragraph.split("\n")
    return paragraph if any(line.startswith((" ", "- ")) for line in lines) else " ".join(lines)
