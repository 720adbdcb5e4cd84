"""The blocks of code in the README and in docs/, each a parameter of the tests that ask for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_INCLUDED = re.compile(r'^--8<-- "(?P<file>[^":]+)"\n', re.MULTILINE)
_TITLE = re.compile(r'title="([^"]*)"')
_SHELL = ("", "sh", "console")
_PARAMETERS = (
    *("python_block", "toml_block", "diff_block"),
    *("command_line", "named_command", "named_object", "page"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: where it stands, in which language, under which title, and its text.

    What the site includes from a file by a line `--8<-- "file"` is in the text.
    """

    where: str
    language: str
    title: str
    text: str


def blocks(page: Path, under: str | None = None) -> Iterator[Block]:
    """The blocks of a page in their order; those that are only indented have no language.

    `under` is a heading of the second level: only the blocks of its part.
    """
    heading = ""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    for number, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            heading = tokens[number + 1].content
        if token.type in ("fence", "code_block") and under in (None, heading):
            line = token.map[0] + 1 if token.map else 0
            where = f"{page.relative_to(ROOT)}:{line}"
            named = re.match(r"(?:{ *\.)?(\w+)", token.info)  # ```python or ``` { .python }
            language = named[1] if named else ""
            title = _TITLE.search(token.info)
            text = _INCLUDED.sub(lambda found: (ROOT / found["file"]).read_text(), token.content)
            yield Block(where, language, title[1] if title else "", text)


def commands(block: Block) -> list[list[str]]:
    """The commands in a block of shell lines, as lists of words; what they print is left out."""
    if block.language not in _SHELL or block.title:
        return []
    lines = block.text.replace("\\\n", " ").splitlines()
    return [
        shlex.split(line.removeprefix("$ "), comments=True)
        for line in lines
        if line.removeprefix("$ ").startswith(("federant ", "python ", "sh "))
    ]


def _named(page: Path, what: str) -> Iterator[str]:
    """What a page names in its text: that much of it as the expression matches."""
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        for part in token.children or ():
            if part.type == "code_inline" and (found := re.match(what, part.content)):
                yield found[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for parameter in set(_PARAMETERS) & set(metafunc.fixturenames):
        found = dict(_cases(parameter))
        metafunc.parametrize(parameter, list(found.values()), ids=list(found))


def _cases(parameter: str) -> Iterator[tuple[str, object]]:
    for page in PAGES:
        where = str(page.relative_to(ROOT))
        if parameter == "page":
            # Those in docs/ are checked when the site is built.
            if page.parent == ROOT:
                yield where, page
        elif parameter == "named_command":
            yield from ((f"{where} {name}", name) for name in _named(page, r"federant [a-z-].*"))
        elif parameter == "named_object":
            yield from ((f"{where} {name}", name) for name in _named(page, r"federant(\.\w+)+"))
        else:
            for block in blocks(page):
                if parameter == "command_line":
                    for words in commands(block):
                        if words[0] == "federant":
                            yield f"{block.where} {shlex.join(words)}", words[1:]
                elif parameter == f"{block.language}_block":
                    yield block.where, block
