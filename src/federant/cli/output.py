"""What all commands share in how they speak: the log, errors as one sentence, missing extras."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federant.cli.log_flood import DenialFlood

Verbosity = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Log what happens; -vv each call.",
    ),
]

console: Final = Console(highlight=False)
"""Where results go."""
errors: Final = Console(stderr=True, highlight=False)
"""Where everything else goes, so that results can be piped."""

_PIPE_COLUMNS: Final = 10_000
_FORMAT: Final = "%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
# All but new line and tab.  A terminal obeys some of these, and others turn text round: whoever
# sends them could show an operator what is not so.
_CONTROLS: Final = dict.fromkeys(
    code
    for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in "\n\t"
)
_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)


def plain(text: str) -> Text:
    """A text from elsewhere (a server, a site, a file's name), fit to be shown.

    Nothing in it is markup, and nothing in it controls the terminal.
    """
    return Text(without_controls(text))


def set_up_log(verbosity: int) -> None:
    """Log to standard error: warnings only, with 1 what happens, with 2 each call too.

    With 2 other libraries tell what happens as well.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter(_FORMAT))
    handler.addFilter(DenialFlood())
    logging.basicConfig(handlers=[handler])
    logging.getLogger().setLevel(logging.INFO if verbosity > 1 else logging.WARNING)
    logging.getLogger("federant").setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])


def table_of(*columns: str, header: bool = True) -> Table:
    """A table of these columns without lines; fill it with ``add_texts``."""
    return Table(*columns, box=None, show_header=header)


def add_texts(table: Table, *cells: str) -> None:
    """A row of texts from elsewhere; what is a str would be read as markup.

    What is no terminal gets each of them on one line.
    """
    table.add_row(
        *(plain(cell if console.is_terminal else " ".join(cell.split("\n"))) for cell in cells)
    )


def print_table(table: Table) -> None:
    """Print a result; what is no terminal gets each row as one line, however long."""
    if console.is_terminal:
        console.print(table)
        return
    text = io.StringIO()
    Console(file=text, highlight=False, width=_PIPE_COLUMNS).print(table)
    for line in text.getvalue().splitlines():
        console.print(Text(line.rstrip()), soft_wrap=True)


def fail(text: str, code: int = 1) -> typer.Exit:
    """Says what went wrong; raise what this returns."""
    errors.print("[bold red]error[/bold red]", end=" ")
    errors.print(plain(text), soft_wrap=True)
    return typer.Exit(code)


@contextmanager
def extra(name: str, *needs: str) -> Iterator[None]:
    """Round the imports of a command: a missing package becomes an advice what to install.

    ``needs``: modules that the command imports only later, or in another process.
    """
    try:
        for module in needs:
            _require(module)
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "federant":
            raise
        raise fail(
            f"this command needs {error.name}, which is not installed: "
            f"pip install 'federant[{name}]'"
        ) from error


def _require(module: str) -> None:
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"there is no {module}", name=module)


@contextmanager
def plain_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Round a command's work: these errors are told in their own words, without a trace."""
    try:
        yield
    except kinds as error:
        raise fail(_words(error)) from error


class _PlainFormatter(logging.Formatter):
    """What is logged may quote others as well."""

    def format(self, record: logging.LogRecord) -> str:
        return without_controls(super().format(record))


def without_controls(text: str) -> str:
    """The text without what a terminal would obey."""
    return text.translate(_CONTROLS)


def _words(error: Exception) -> str:
    """What the error says, without the system's number."""
    if isinstance(error, OSError) and error.strerror and error.errno is not None:
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror}"
    return str(error)
