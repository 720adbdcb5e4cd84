"""The documentation site: it builds without a warning, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown.extensions.toc import slugify
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(900)

FETCHED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="?(?:https?:)?//[^>]*>""")
LINKED = re.compile(
    r"""<link\b(?=[^>]*\brel="?(?:stylesheet|preconnect|preload|icon))[^>]*href="?(?:https?:)?//"""
)
NOT_INCLUDED = re.compile(r"--(<[^>]*>|\s)*8(<[^>]*>|\s)*&lt;(<[^>]*>|\s)*--")
"""The formatter of Python takes such a line for code, unless its block is of ``` { .python }."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: a dead link or anchor is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_of_the_site_is_there_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert site / "index.html" in pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not FETCHED.search(text), page
        assert not LINKED.search(text), page
        assert not NOT_INCLUDED.search(text), page


def test_the_page_of_commands_has_every_command(site: Path) -> None:
    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert 'id="federant-job-run"' in text
    assert "--param" in text


def test_links_of_a_page_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for target in _links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / unquote(path)).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in _anchors(file), f"{page.name}: {target}"


def _links(page: Path) -> list[str]:
    found = []
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        for part in token.children or ():
            target = str(part.attrGet("href") or part.attrGet("src") or "")
            if target and not target.startswith(("http://", "https://", "mailto:")):
                found.append(target)
    return found


def _anchors(file: Path) -> set[str]:
    """The anchors that the headings of a page give, at GitHub as on the site."""
    tokens = MarkdownIt().parse(file.read_text(encoding="utf-8"))
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {slugify(re.sub(r"[`*]|\{.*\}", "", heading), "-") for heading in headings}
