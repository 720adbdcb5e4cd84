"""An example is a page that can be read in a minute."""

from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
LINES = 95


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_can_be_read_in_a_minute(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) <= LINES
