"""How the demo's progress is shown: a live table in a terminal, a plain log elsewhere."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from federant.demo.progress import Progress, SiteProgress

_WIDTH: Final = 76
"""Columns that the table takes."""
_STYLES: Final = {"training": "green", "stalled": "yellow", "died": "red", "failed": "red"}
_LEGEND: Final = (
    "A site measures its own model, just trained, on its own images; global is\n"
    "the mean of the sites' models, on images that no training sees."
)


class Display(Protocol):
    """Shows progress as often as it is given some; a context manager round the job."""

    def show(self, progress: Progress) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def display_for(console: Console) -> Display:
    """What suits the console: only a terminal that can be drawn over and is wide enough."""
    table = console.is_terminal and not console.is_dumb_terminal and console.width >= _WIDTH
    return LiveDisplay(console) if table else LineDisplay(console)


class LiveDisplay:
    """One table that changes in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)

    def show(self, progress: Progress) -> None:
        self._live.update(_picture(progress), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # the terminal is gone: what is to be tidied up next is not
            self._live.stop()


class LineDisplay:
    """A line for each thing that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._doing = ""
        self._states: dict[str, str] = {}
        self._measured: dict[str, int] = {}
        self._shown = 0

    def show(self, progress: Progress) -> None:
        if progress.doing != self._doing:
            self._doing = progress.doing
            if self._doing:
                self._print(f"{self._doing}...")
        for name, site in progress.sites.items():
            self._show_site(name, site, progress.total_rounds)
        for number in sorted(progress.scores)[self._shown :]:
            self._shown += 1
            loss, accuracy = progress.scores[number]
            sent, received = _moved(progress)
            self._print(
                f"round {self._shown}/{progress.total_rounds} global loss={loss:.3f} "
                f"accuracy={accuracy:.1%} on {progress.test_images} test images; "
                f"sites sent {sent}, received {received}; {_left(progress)}"
            )

    def _show_site(self, name: str, site: SiteProgress, rounds: int) -> None:
        seen = self._measured.get(name, 0)
        for number in sorted(site.metrics)[seen:]:
            measured = site.metrics[number]
            if "loss" not in measured or "accuracy" not in measured:
                break
            self._measured[name] = seen = seen + 1
            self._print(
                f"round {number + 1}/{rounds} {name} loss={measured['loss']:.3f} "
                f"accuracy={measured['accuracy']:.1%} on its own {site.images} images"
            )
        # That it waits for the others, and then trains again, the lines of the rounds say.
        if site.state not in ("waiting", "ending", self._states.get(name)):
            self._states[name] = site.state
            self._print(f"{name} {site.state}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _picture(progress: Progress) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "state", "round", "images", "loss", "accuracy", "sent", "received"):
        table.add_column(
            heading, justify="left" if heading in ("", "state") else "right", no_wrap=True
        )
    for name, site in progress.sites.items():
        table.add_row(
            Text(name),
            Text(site.state, style=_STYLES.get(site.state, "")),
            "-" if site.round is None else str(site.round + 1),
            f"{site.images} own",
            _number(site.loss),
            _percent(site.accuracy),
            size_text(site.bytes_up),
            size_text(site.bytes_down),
        )
    loss, accuracy = progress.scores[max(progress.scores)] if progress.scores else (None, None)
    sent, received = _moved(progress)
    table.add_row(
        Text("global", style="bold"),
        progress.state.value,
        str(progress.done),
        f"{progress.test_images} test",
        _number(loss),
        Text(_percent(accuracy), style="bold"),
        sent,
        received,
    )
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        f"{progress.done} of {progress.total_rounds} rounds",
        ProgressBar(total=progress.total_rounds, completed=progress.done, width=30),
        "" if progress.over else _left(progress),
    )
    doing = f"{progress.doing}..." if progress.doing else ""
    return Group(table, Text(_LEGEND, style="dim"), Text(""), bar, Text(doing))


def _moved(progress: Progress) -> tuple[str, str]:
    sites = progress.sites.values()
    return (
        size_text(sum(site.bytes_up for site in sites)),
        size_text(sum(site.bytes_down for site in sites)),
    )


def _left(progress: Progress) -> str:
    seconds = progress.seconds_left()
    return "time left: known after round 2" if seconds is None else f"about {seconds:.0f} s left"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def size_text(count: int) -> str:
    """A number of bytes as people read it, in units of 1,000."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
