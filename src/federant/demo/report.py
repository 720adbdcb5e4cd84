"""What the demo has found: the comparison, its verdict, and the files that keep them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

ALLOWED_GAP: Final = 0.02
"""How far below pooled training the federation may end, as a share of the test images."""
_ROUNDING: Final = 1e-9

_FEDERATED: Final = "#0b6e4f"
_POOLED: Final = "#444444"
_ALONE: Final = (
    "#c05621", "#2b6cb0", "#805ad5", "#b83280", "#718096", "#975a16", "#2c9faf", "#c53030",
)  # fmt: skip
_DASH: Final = 3.0
"""Length of a lone site's dashes, in widths of the line."""
_MARGIN: Final = 3.0
"""Points of accuracy below the lowest line."""
_LABEL_HEIGHT: Final = 0.055
"""What a label takes of the picture's height."""


@dataclass(frozen=True, slots=True)
class Report:
    """Test accuracies (0 to 1): each site alone, all data pooled, federated by round."""

    seed: int
    test_images: int
    images: Mapping[str, int]
    alone: Mapping[str, float]
    pooled: float
    rounds: Sequence[float]
    seconds: float
    """From the submission of the job to its end."""

    @property
    def federated(self) -> float:
        return self.rounds[-1]

    @property
    def gap(self) -> float:
        """What federated training lost to pooled training."""
        return self.pooled - self.federated

    @property
    def near_pooled(self) -> bool:
        return self.gap <= ALLOWED_GAP + _ROUNDING

    @property
    def above_alone(self) -> bool:
        return self.federated > max(self.alone.values())

    @property
    def holds(self) -> bool:
        """Whether the federation was worth it: near pooled training, above every lone site."""
        return self.near_pooled and self.above_alone

    def verdict(self) -> list[str]:
        """The two claims, each with its measured values."""
        best = max(self.alone, key=lambda site: self.alone[site])
        near = "within" if self.near_pooled else "NOT within"
        above = "above" if self.above_alone else "NOT above"
        return [
            f"federated {self.federated:.1%} is {near} two points of pooled {self.pooled:.1%}",
            f"federated {self.federated:.1%} is {above} every lone site, the best of which "
            f"({best}) has {self.alone[best]:.1%}",
        ]

    def print(self, console: Console) -> None:
        console.print(f"Accuracy on {self.test_images} test images that no training saw:\n")
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for heading in ("trained on", "images", "accuracy"):
            table.add_column(heading, justify="left" if heading == "trained on" else "right")
        for site, accuracy in self.alone.items():
            table.add_row(Text(f"{site} alone"), str(self.images[site]), f"{accuracy:.1%}")
        total = str(sum(self.images.values()))
        rounds = len(self.rounds)
        federated = f"federated, {rounds} {'round' if rounds == 1 else 'rounds'}"
        table.add_row(federated, total, f"{self.federated:.1%}", style="bold")
        table.add_row("all data pooled", total, f"{self.pooled:.1%}")
        console.print(table)
        console.print()
        for line in self.verdict():
            console.print(line, markup=False, highlight=False)

    def save(self, path: Path) -> None:
        """Writes the numbers as JSON."""
        facts = asdict(self) | {"federated": self.federated, "gap": self.gap, "holds": self.holds}
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def draw(self, path: Path) -> None:
        """Writes the picture of accuracy by round, PNG."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        figure = Figure(figsize=(8.5, 4.5), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        labels = []
        for index, (site, accuracy) in enumerate(self.alone.items()):
            color = _ALONE[index % len(_ALONE)]
            # Each line's dashes lie in the others' gaps: of equal ones each is seen.
            dashes = (index * _DASH, (_DASH, (len(self.alone) - 1) * _DASH))
            axes.axhline(100 * accuracy, color=color, linestyle=dashes)
            labels.append((f"{site} alone", accuracy, color))
        axes.axhline(100 * self.pooled, color=_POOLED, linestyle="--", linewidth=1)
        labels.append(("all data pooled", self.pooled, _POOLED))
        axes.plot(
            range(1, len(self.rounds) + 1),
            [100 * accuracy for accuracy in self.rounds],
            color=_FEDERATED,
            marker="o",
            linewidth=2,
        )
        labels.append(("federated", self.federated, _FEDERATED))
        lowest = min(*self.rounds, *self.alone.values(), self.pooled)
        bottom, top = 100 * lowest - _MARGIN, 100 + _MARGIN / 3
        axes.set_ylim(bottom, top)
        apart = _LABEL_HEIGHT * (top - bottom)
        height = top + apart
        for text, accuracy, color in sorted(labels, key=lambda label: label[1], reverse=True):
            height = min(100 * accuracy, height - apart)
            axes.annotate(
                f"{text} {accuracy:.1%}",
                (1.0, height),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                color=color,
                verticalalignment="center",
            )
        axes.set_xlabel("round")
        axes.set_ylabel(f"accuracy on {self.test_images} test images")
        axes.set_title("Handwritten digits: federated, alone, pooled", loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        figure.savefig(path)
