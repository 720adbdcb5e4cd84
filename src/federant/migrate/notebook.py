"""A notebook's imports rewritten in its code cells, with all else of its text as it was.

All code cells are looked at as one script, because one uses what another has imported.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from json.scanner import py_make_scanner  # type: ignore[attr-defined]  # in no stub
from typing import Any

from federant.migrate.rewrite import Left, Rewritten, UnreadableSourceError, rewrite
from federant.migrate.table import Table

_MARK = "# federant: cell "
_MAGIC = re.compile(r"^([ \t]*)((?:[%!]|[\w, ]+=\s*[%!]).*|.*\w\?{1,2}[ \t]*)$", re.MULTILINE)
"""A line that IPython reads and Python does not."""
_OTHER_LANGUAGE = re.compile(r"\s*%%(?!time\b|timeit\b|capture\b|prun\b)")


class _Placed(str):
    """A string of a JSON text that knows where it stands there, its quotes included."""

    __slots__ = ("begin", "end")
    begin: int
    end: int


class _PlacingDecoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__()
        scan_string: Any = vars(self)["parse_string"]

        def placed(text: str, begin: int, strict: bool) -> tuple[_Placed, int]:
            value, end = scan_string(text, begin, strict)
            found = _Placed(value)
            found.begin, found.end = begin - 1, end
            return found, end

        self.parse_string = placed
        self.scan_once = py_make_scanner(self)


@dataclass(frozen=True, slots=True)
class _Cell:
    lines: list[_Placed]
    code: str
    whole: bool
    """Whether its source is one string, not a list of lines."""


def rewrite_notebook(source: bytes, table: Table) -> Rewritten:
    """The notebook with its imports moved; UnreadableSourceError if it cannot be read.

    Lines are those of the file, also in what is left.
    """
    try:
        text = source.decode("utf-8")
        cells = _code_cells(_PlacingDecoder().decode(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableSourceError(f"it is no notebook of version 4: {error}") from error
    result, codes = _rewritten(cells, table)
    for cell, code in reversed(list(zip(cells, codes, strict=True))):
        if code != cell.code:
            text = _with_code(text, cell, code)
    places = _file_lines(source.decode("utf-8"), cells)
    return Rewritten(
        text.encode("utf-8"),
        result.moved,
        tuple(_placed_in(left, places) for left in result.left),
        tuple(places[line] for line in result.stars),
        tuple(_placed_in(note, places) for note in result.notes),
    )


def _code_cells(notebook: Any) -> list[_Cell]:
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code" or not cell["source"]:
            continue
        whole = isinstance(cell["source"], str)
        lines = [cell["source"]] if whole else cell["source"]
        code = "".join(lines)
        if not _OTHER_LANGUAGE.match(code):
            cells.append(_Cell(lines, code, whole))
    return cells


def _rewritten(cells: list[_Cell], table: Table) -> tuple[Rewritten, list[str]]:
    script = "".join(f"{_MARK}{number}\n{_ended(cell)}" for number, cell in enumerate(cells))
    magics: list[str] = []

    def hide(found: re.Match[str]) -> str:
        magics.append(found[2])
        return f"{found[1]}pass  # federant: line {len(magics) - 1}."

    try:
        result = rewrite(script.encode("utf-8"), table)
    except UnreadableSourceError:
        result = rewrite(_MAGIC.sub(hide, script).encode("utf-8"), table)
    moved = result.source.decode("utf-8")
    for number, magic in enumerate(magics):
        moved = moved.replace(f"pass  # federant: line {number}.", magic)
    codes = re.split(rf"^{_MARK}\d+\n", moved, flags=re.MULTILINE)[1:]
    return result, [
        code if cell.code.endswith("\n") else code.removesuffix("\n")
        for cell, code in zip(cells, codes, strict=True)
    ]


def _ended(cell: _Cell) -> str:
    return cell.code if cell.code.endswith("\n") else f"{cell.code}\n"


def _with_code(text: str, cell: _Cell, code: str) -> str:
    """The notebook's text with other code in this cell: only the lines that differ change."""
    new = [code] if cell.whole else code.splitlines(keepends=True)
    if len(new) == len(cell.lines):
        for before, after in reversed(list(zip(cell.lines, new, strict=True))):
            if before != after:
                text = text[: before.begin] + _as_json(after, text) + text[before.end :]
        return text
    first, last = cell.lines[0], cell.lines[-1]
    gap = re.search(r"\s*$", text[: first.begin])
    between = "," + (gap[0] if gap and gap[0] else " ")
    tokens = between.join(_as_json(line, text) for line in new)
    return text[: first.begin] + tokens + text[last.end :]


def _as_json(line: str, text: str) -> str:
    return json.dumps(line, ensure_ascii=text.isascii())


def _file_lines(text: str, cells: list[_Cell]) -> dict[int, int]:
    """By line of the script that was made of the cells: the line of the file."""
    places: dict[int, int] = {}
    number = 1
    for cell in cells:
        number += 1  # the mark
        for part in cell.lines:
            line = text.count("\n", 0, part.begin) + 1
            for _ in part.splitlines():
                places[number] = line
                number += 1
    return places


def _placed_in(left: Left, places: dict[int, int]) -> Left:
    used = tuple(places[line] for line in left.used_in)
    return replace(left, line=places[left.line], used_in=used)
