"""Draws metrics into a file with matplotlib, which is imported with this module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_WIDTH: Final = 7.0
_HEIGHT: Final = 2.6  # inches, each
_FEW: Final = 50
"""So few values are marked, as lines alone would not show them."""

Series = Mapping[tuple[str, str], Sequence[tuple[int, float]]]
"""By tag and site, steps and values."""


def plot_series(series: Series, file: Path) -> None:
    """One plot below the other for each tag, in it a line for each site; the name says the format.

    ValueError, from matplotlib, for a name whose ending is no format.
    """
    tags = sorted({tag for tag, _ in series}) or [""]
    figure = Figure(figsize=(_WIDTH, _HEIGHT * len(tags)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, tag in zip(figure.subplots(len(tags), squeeze=False)[:, 0], tags, strict=True):
        for (own, site), points in sorted(series.items()):
            if own == tag:
                marker = "." if len(points) <= _FEW else ""
                axes.plot(*zip(*points, strict=True), marker=marker, label=site, linewidth=1)
        axes.set_ylabel(tag, parse_math=False)  # a dollar in a tag is a dollar
        axes.grid(visible=True, alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    axes.set_xlabel("step")
    figure.savefig(file)
