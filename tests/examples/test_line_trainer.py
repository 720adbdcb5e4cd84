"""The example of the client API in a federation of two sites."""

from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "line_trainer.py"


@pytest.mark.slow
def test_two_sites_fit_one_line_and_report_their_losses(federated: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0,1.1\n1,2.9\n2,5.2\n3,6.8\n")
    (tmp_path / "b.csv").write_text("6,13.1\n8,16.9\n10,21.0\n")
    sites = {f"site-{name}": [str(EXAMPLE), str(tmp_path / f"{name}.csv")] for name in "ab"}
    job = federated(sites, rounds=10)
    line = job.model().data
    assert line["slope"][0] == pytest.approx(2, abs=0.1)
    assert line["height"][0] == pytest.approx(1, abs=0.2)
    assert {event.site for event in job.follow() if event.tag == "loss"} == set(sites)
