"""The report: its verdict, its table, its files."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from federant.demo import Report


@pytest.fixture
def report() -> Report:
    return Report(
        seed=0,
        test_images=360,
        images={"site-1": 500, "site-2": 437, "site-3": 500},
        alone={"site-1": 0.80, "site-2": 0.90, "site-3": 0.70},
        pooled=0.98,
        rounds=[0.90, 0.95, 0.97],
        seconds=3.5,
    )


def printed(report: Report) -> str:
    out = io.StringIO()
    report.print(Console(file=out, width=120))
    return out.getvalue()


def test_a_federation_near_pooled_and_above_all_alone_holds(report: Report) -> None:
    assert report.holds
    assert "federated 97.0% is within two points of pooled 98.0%" in printed(report)
    assert "above every lone site, the best of which (site-2) has 90.0%" in printed(report)


def test_a_federation_more_than_two_points_below_pooled_does_not_hold(report: Report) -> None:
    below = dataclasses.replace(report, rounds=[0.90, 0.959])
    assert not below.holds
    assert "is NOT within two points" in printed(below)


def test_exactly_two_points_below_still_holds(report: Report) -> None:
    assert dataclasses.replace(report, rounds=[0.96]).holds


def test_a_federation_that_only_equals_a_lone_site_does_not_hold(report: Report) -> None:
    equal = dataclasses.replace(report, alone={**report.alone, "site-2": 0.97})
    assert not equal.holds
    assert "is NOT above every lone site" in printed(equal)


def test_the_table_has_each_site_alone_federated_and_pooled(report: Report) -> None:
    text = printed(report)
    for line in ("site-1 alone", "site-2 alone", "site-3 alone", "federated, 3 rounds", "pooled"):
        assert line in text
    assert "360 test images" in text


def test_one_round_is_one_round(report: Report) -> None:
    assert "federated, 1 round " in printed(dataclasses.replace(report, rounds=[0.97]))


def test_the_numbers_are_saved_as_json(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["federated"] == 0.97
    assert facts["alone"]["site-2"] == 0.9
    assert facts["holds"] is True


def test_the_picture_is_a_png(report: Report, tmp_path: Path) -> None:
    report.draw(tmp_path / "accuracy.png")
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_lines_at_the_same_height_are_all_seen(report: Report, tmp_path: Path) -> None:
    equal = dataclasses.replace(report, alone={"site-1": 0.9, "site-2": 0.9, "site-3": 0.9})
    equal.draw(tmp_path / "accuracy.png")
    picture = imread(tmp_path / "accuracy.png")[..., :3]
    lines = np.round(255 * picture[:, : picture.shape[1] // 2]).astype(int)  # without the labels
    colors = {tuple(pixel) for row in lines for pixel in row}
    assert {(0xC0, 0x56, 0x21), (0x2B, 0x6C, 0xB0), (0x80, 0x5A, 0xD5)} <= colors
