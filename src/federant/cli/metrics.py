"""`federant metrics`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from federant.cli.connection import KitFolder, Server, federation_at
from federant.cli.job import JobId
from federant.cli.output import (
    Verbosity,
    add_texts,
    console,
    errors,
    extra,
    plain,
    print_table,
    set_up_log,
    table_of,
    without_controls,
)

if TYPE_CHECKING:
    from federant.link.operator import Job
    from federant.link.operator_messages import EventView, MetricsReply, MetricView

_SERVER: Final = "server"
"""The site of what the workflow itself told of."""
_WILD: Final = frozenset("*?[")


def metrics(
    job_id: JobId,
    tag: Annotated[
        str, typer.Option(help="Only tags that are, or match, this: 'val/*' for all below val.")
    ] = "*",
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print every value, not the table: for other programs.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the values into this file, such as loss.png.")
    ] = None,
    server: Server = None,
    kit: KitFolder = None,
    verbose: Verbosity = 0,
) -> None:
    """Show what the trainers of a job have logged, and what was lost on the way.

    While the job runs, and after it has ended. With --csv there is a line for each value: site,
    tag, step, value, and the time in seconds since 1970.

    Example: [bold]federant metrics JOB --tag 'loss*' --plot loss.png[/bold]
    """
    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        job = federation.job(job_id)
        reply = job.metrics()
        rows = [row for row in reply.metrics if _wanted(row.tag, row.site, tag, site)]
        if plot is not None:
            _plot(job, rows, plot)
            console.print(plain(f"{plot}: {_count(rows)} values"), soft_wrap=True)
        elif as_csv:
            _print_csv(_values(job, tag, site))
        elif rows:
            _print_summaries(rows)
        else:
            errors.print(plain(_nothing(reply)), soft_wrap=True)
        for line in _troubles(reply):
            errors.print(plain(line), soft_wrap=True)


def _wanted(tag: str, site: str, pattern: str, only: str | None) -> bool:
    return fnmatchcase(tag, pattern) and (only is None or only == (site or _SERVER))


def _values(job: Job, tag: str, site: str | None) -> Iterator[EventView]:
    """Every value, in order of arrival; what can be left out by the server is not fetched."""
    exact = None if _WILD & set(tag) else tag
    of_site = "" if site == _SERVER else site
    return (event for event in job.series(exact, of_site) if fnmatchcase(event.tag, tag))


def _print_summaries(rows: list[MetricView]) -> None:
    table = table_of("site", "tag", "last", "min", "max", "count", "steps")
    for row in rows:
        add_texts(
            table,
            row.site or _SERVER,
            row.tag,
            *(_number(value) for value in (row.last, row.least, row.greatest)),
            str(row.count),
            _steps(row),
        )
    print_table(table)


def _print_csv(values: Iterator[EventView]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("site", "tag", "step", "value", "time"))
    for event in values:
        step = "" if event.step is None else event.step
        tag = without_controls(event.tag)
        writer.writerow((event.site or _SERVER, tag, step, event.value, event.time))


def _plot(job: Job, rows: list[MetricView], file: Path) -> None:
    with extra("plot", "matplotlib"):
        from federant.cli.plotting import plot_series
    series = {
        (row.tag, row.site or _SERVER): [
            (index if event.step is None else event.step, event.value)
            for index, event in enumerate(job.series(row.tag, row.site))
            if event.value is not None
        ]
        for row in rows
    }
    plot_series(series, file)


def _troubles(reply: MetricsReply) -> Iterator[str]:
    """What was lost, and the sinks that are not up to date."""
    for site, count in reply.dropped.items():
        yield f"{site}: {count} records were lost on the way; federant job follow says where"
    for sink in reply.sinks:
        if sink.error:
            yield f"sink {sink.sink} is {sink.behind} events behind: {sink.error}"
        elif sink.behind:
            yield f"sink {sink.sink} is {sink.behind} events behind"


def _nothing(reply: MetricsReply) -> str:
    if reply.metrics:
        tags = ", ".join(sorted({row.tag for row in reply.metrics}))
        return f"no metrics match; there are {tags}"
    return "no metrics yet; a trainer logs them with federant.client.tracking.SummaryWriter"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _steps(row: MetricView) -> str:
    if row.first_step is None or row.last_step is None:
        return "-"
    if row.first_step == row.last_step:
        return str(row.first_step)
    return f"{row.first_step} to {row.last_step}"


def _count(rows: list[MetricView]) -> int:
    return sum(row.count for row in rows)
