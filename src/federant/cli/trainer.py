"""`federant trainer check`."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from federant.cli.group import command_group
from federant.cli.output import (
    Verbosity,
    add_texts,
    console,
    errors,
    extra,
    fail,
    plain,
    plain_errors,
    print_table,
    set_up_log,
    table_of,
)

if TYPE_CHECKING:
    from federant.trial import TaskSeen, TrialReport

_ARRAYS_SHOWN: Final = 20
_SIZES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))

app = command_group(
    "Look after a trainer's script.",
)


@app.callback()
def commands() -> None:
    """Look after a trainer's script."""


@app.command("check")
def check(
    command: Annotated[
        list[str], typer.Argument(help="The script's command, as you would type it.")
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", "-m", help="A safetensors file that the first task carries, instead of none."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 2,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", help="A task of each round: train, validate, submit_model; repeatable."
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that one task may take, with the start.")
    ] = 300.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was seen as JSON, for programs.")
    ] = False,
    verbose: Verbosity = 0,
) -> None:
    """Try a trainer's script with two fake rounds, and say what it did.

    No server is needed: the script gets tasks as a site's client job would give them, and what it
    sends back is judged as a server would judge it. The second round carries the model that the
    first one made. Without --model the first task carries no arrays, as in a job without an initial
    model.

    The exit status is 0 only if all is well, 1 if something is wrong, 2 for a command or model that
    cannot be used. Ctrl-C ends everything, with status 130.

    Example: [bold]federant trainer check --model start.safetensors -- python train.py[/bold]
    """
    signal.signal(signal.SIGTERM, _leave)
    set_up_log(verbose)
    if not verbose:  # what it warns of is in the report
        logging.getLogger("federant").setLevel(logging.ERROR)
    with extra("site"):
        from federant.link.models import read_model
        from federant.trial import TrialPlan, run_trial
    if shutil.which(command[0]) is None:
        raise fail(f"there is no program {command[0]!r} that may be run; is it spelled right?", 2)
    try:
        start = None if model is None else read_model(model)
    except (OSError, ValueError) as error:
        raise fail(f"--model: {error}", 2) from error
    tasks = tuple(task or ["train"])
    plan = TrialPlan(command, Path.cwd(), tasks, rounds, start, timeout, longer="--timeout")
    try:
        with plain_errors(OSError):
            report = run_trial(plan, _tell_task)
    except KeyboardInterrupt:
        errors.print("interrupted; the script has been ended and nothing is left behind")
        raise typer.Exit(130) from None
    if as_json:
        console.print(
            plain(json.dumps(report.as_json(), indent=2, allow_nan=False)), soft_wrap=True
        )
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(1)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _tell_task(seen: TaskSeen) -> None:
    if seen.rc != "OK":
        what = f"failed with {seen.rc}"
    elif seen.refusal:
        what = f"the server would refuse it with {seen.refusal_code}"
    else:
        what = f"OK, {seen.kind or 'no DXO'}"
    errors.print(plain(f"{seen.title}: {what} after {seen.seconds:.1f} s"), soft_wrap=True)


def _show(report: TrialReport) -> None:
    table = table_of("round", "task", "result", "arrays", "size", "weight", "seconds", "memory")
    for seen in report.tasks:
        add_texts(
            table,
            *(str(seen.round + 1), seen.name, seen.outcome, str(len(seen.tensors))),
            *(_size(seen.bytes), "none" if seen.weight is None else f"{seen.weight:g}"),
            *(f"{seen.seconds:.2f}", _size(seen.peak_bytes)),
        )
    print_table(table)
    if report.joined_seconds is not None:
        _say(f"the script joined after {report.joined_seconds:.1f} s")
    arrays = next((seen.tensors for seen in reversed(report.tasks) if seen.tensors), ())
    _list(
        "the arrays of the last result:",
        (f"{part.name}  {list(part.shape)}  {part.dtype}" for part in arrays[:_ARRAYS_SHOWN]),
    )
    if len(arrays) > _ARRAYS_SHOWN:
        _say(f"  and {len(arrays) - _ARRAYS_SHOWN} more")
    _list(
        "metrics in the results:",
        (f"{seen.title}: {seen.values}" for seen in report.tasks if seen.values),
    )
    _list(
        "metrics that were logged:",
        (f"{seen.tag}  {seen.count} times, last {seen.last}" for seen in report.metrics.values()),
    )
    _say(f"its end: {report.end}")
    problems = report.problems()
    for text in problems:
        console.print("[bold red]wrong[/bold red]", end=" ")
        console.print(plain(text.rstrip()), soft_wrap=True)
    for text in report.advice():
        console.print("[yellow]note[/yellow]", end=" ")
        console.print(plain(text), soft_wrap=True)
    if problems and (lines := report.untold_lines()):
        _say(lines)
    if not problems:
        console.print("[bold green]all is well[/bold green]")


def _list(title: str, lines: Iterable[str]) -> None:
    found = list(lines)
    if found:
        _say("\n".join([title, *(f"  {line}" for line in found)]))


def _say(text: str) -> None:
    console.print(plain(text), soft_wrap=True)


def _size(count: int) -> str:
    for size, unit in _SIZES:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
